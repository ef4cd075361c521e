#include "gateway/identity_fields.h"

namespace merlon::gateway {
namespace {

constexpr char kHex[] = "0123456789ABCDEF";

/// Visible ASCII as it is, the rest percent-encoded: no value can end a field or look like another.
void append_encoded(std::string_view text, std::string& out) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '%' && c != ',') {
      out += c;
      continue;
    }
    out += '%';
    out += kHex[byte >> 4U];
    out += kHex[byte & 15U];
  }
}

void append_value(const IdentityField& field, const identity::Identity& who, std::string& out) {
  switch (field.source) {
    case IdentityField::Source::kSubject:
      append_encoded(who.subject(), out);
      return;
    case IdentityField::Source::kClientId:
      append_encoded(who.client_id(), out);
      return;
    case IdentityField::Source::kScopes:
      append_encoded(who.scopes(), out);
      return;
    case IdentityField::Source::kClaim:
      break;
  }
  const std::size_t begin = out.size();
  who.for_each_value(field.claim, [&](std::string_view value) {
    if (out.size() != begin) out += ',';
    append_encoded(value, out);
  });
}

}  // namespace

void add_identity_fields(const Route& route, const identity::Identity& who, std::string& text,
                         http::Fields& fields) {
  text.clear();
  std::array<std::size_t, kIdentityFieldsMax> ends{};
  for (std::size_t i = 0; i < route.identity_fields.size(); ++i) {
    append_value(route.identity_fields[i], who, text);
    ends[i] = text.size();
  }
  // Only now: the text does not move any more.
  std::size_t begin = 0;
  for (std::size_t i = 0; i < route.identity_fields.size(); ++i) {
    const std::string_view value = std::string_view(text).substr(begin, ends[i] - begin);
    begin = ends[i];
    if (value.empty()) continue;
    static_cast<void>(
        fields.add(route.identity_fields[i].name, value, http::FieldId::kXMerlonOther));
  }
}

}  // namespace merlon::gateway
