#include "identity/identity.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace merlon::identity {
namespace {

constexpr std::size_t kTextMax = UINT16_MAX;

void append_size(std::string& out, std::size_t size) {
  const auto small = static_cast<std::uint16_t>(size);
  out.append(reinterpret_cast<const char*>(&small), sizeof small);
}

}  // namespace

std::string_view name_of(Method method) noexcept {
  switch (method) {
    case Method::kJwt:
      return "jwt";
    case Method::kIntrospection:
      return "introspection";
    case Method::kApiKey:
      return "api_key";
    case Method::kClientCertificate:
      return "client_certificate";
  }
  return "";
}

TokenTime token_time(WallTime at) noexcept {
  return std::chrono::floor<std::chrono::seconds>(at).time_since_epoch().count();
}

std::shared_ptr<const Identity> Identity::make(const IdentityParts& parts) {
  std::string data;
  std::uint16_t ends[kTexts] = {};
  const std::string_view texts[kTexts] = {parts.subject,         parts.client_id,
                                          parts.token_id,        parts.scopes,
                                          parts.dpop_thumbprint, parts.certificate_thumbprint};
  for (std::size_t i = 0; i < kTexts; ++i) {
    if (data.size() + texts[i].size() > kTextMax) return nullptr;
    data += texts[i];
    ends[i] = static_cast<std::uint16_t>(data.size());
  }
  for (const auto& values : parts.claims) {
    if (values.size() > kTextMax) return nullptr;
    append_size(data, values.size());
    for (const std::string_view value : values) {
      if (value.size() > kTextMax) return nullptr;
      append_size(data, value.size());
      data += value;
    }
  }
  data.shrink_to_fit();
  auto made = std::make_shared<Identity>();
  made->method_ = parts.method;
  made->expires_ = parts.expires.value_or(kAbsent);
  made->not_before_ = parts.not_before.value_or(kAbsent);
  made->issued_ = parts.issued.value_or(kAbsent);
  made->data_ = std::move(data);
  std::memcpy(made->ends_, ends, sizeof ends);
  return made;
}

std::size_t Identity::read_size(std::string_view& in) noexcept {
  std::uint16_t size = 0;
  std::memcpy(&size, in.data(), sizeof size);
  in.remove_prefix(sizeof size);
  return size;
}

std::string_view Identity::text(Text which) const noexcept {
  const std::size_t begin = which == 0 ? 0 : ends_[which - 1];
  return std::string_view(data_).substr(begin, ends_[which] - begin);
}

bool Identity::has_scope(std::string_view scope) const noexcept {
  std::string_view all = scopes();
  while (!all.empty()) {
    const std::string_view one = all.substr(0, all.find(' '));
    if (one == scope) return true;
    all.remove_prefix(one.size() == all.size() ? all.size() : one.size() + 1);
  }
  return false;
}

bool Identity::claim_is(std::size_t claim, std::string_view value) const noexcept {
  return visit_claim(claim, [&](std::string_view one) { return one == value; });
}

std::string Identity::claim_text(std::size_t claim) const {
  std::string out;
  visit_claim(claim, [&](std::string_view one) {
    if (!out.empty()) out += ',';
    out += one;
    return false;
  });
  return out;
}

std::optional<std::string_view> Identity::claim_value(std::size_t claim) const noexcept {
  std::optional<std::string_view> found;
  const bool several = visit_claim(claim, [&](std::string_view one) {
    if (found.has_value()) return true;
    found = one;
    return false;
  });
  return several ? std::nullopt : found;
}

std::string_view pseudonym(std::string_view provider, const Identity& identity, Hasher& hasher,
                           std::span<char, kPseudonymBytes> out) noexcept {
  constexpr char kHex[] = "0123456789abcdef";
  char text[1024];
  std::size_t size = 0;
  const auto put = [&](std::string_view part) {
    const std::size_t n = std::min(part.size(), sizeof text - size);
    std::memcpy(text + size, part.data(), n);
    size += n;
  };
  put(provider);
  put("\n");
  put(identity.principal());
  bool hashed = false;
  const Sha256 digest = hasher.sha256({text, size}, hashed);
  if (!hashed) return {};
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = kHex[digest[i / 2] >> (i % 2 == 0 ? 4U : 0U) & 15U];
  }
  return {out.data(), out.size()};
}

}  // namespace merlon::identity
