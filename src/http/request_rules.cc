#include "http/request_rules.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace merlon::http {
namespace {

/// Everything visible but '#': a fragment is never sent. path.h and check_query() judge the rest.
constexpr ascii::CharSet kTargetChars = ascii::CharSet("!\"").add_range('$', '~');

std::unexpected<Error> bad(std::uint16_t code, const char* what, std::size_t offset) noexcept {
  return fail(code, Blame::kClient, what, static_cast<std::uint32_t>(offset));
}

void split_query(std::string_view text, Target& out) noexcept {
  const std::size_t mark = text.find('?');
  out.path = text.substr(0, mark);
  out.has_query = mark != std::string_view::npos;
  if (out.has_query) out.query = text.substr(mark + 1);
}

Result<void> parse_absolute(std::string_view target, Method method, Target& out) noexcept {
  const std::size_t colon = target.find("://");
  const std::string_view scheme = target.substr(0, std::min(colon, target.size()));
  const bool is_http = ascii::iequals(scheme, "http") || ascii::iequals(scheme, "https");
  if (!is_http || colon == std::string_view::npos) {
    return bad(code::kBadTarget, "request target is neither a path nor an http URI", 0);
  }
  const std::size_t start = colon + 3;
  const std::size_t end = std::min(target.find_first_of("/?", start), target.size());
  out.form = TargetForm::kAbsolute;
  out.scheme = scheme;
  out.authority = target.substr(start, end - start);
  if (out.authority.empty() || out.authority.find('@') != std::string_view::npos) {
    return bad(code::kBadHost, "target has no host, or user information", start);
  }
  split_query(target.substr(end), out);
  if (!out.path.empty()) return {};
  const bool whole_server = method == Method::kOptions && !out.has_query;
  out.path = whole_server ? "*" : "/";
  if (whole_server) out.form = TargetForm::kAsterisk;
  return {};
}

/// FNV-1a over the name as CGI-like software folds it, so that pairs need not be compared in full.
std::uint64_t folded_hash(std::string_view name) noexcept {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : name) {
    const char folded = c == '_' || c == '.' ? '-' : ascii::lower(c);
    hash = (hash ^ static_cast<unsigned char>(folded)) * 1099511628211ULL;
  }
  return hash;
}

bool lists_trailers(std::string_view te) noexcept {
  while (!te.empty()) {
    const std::size_t end = std::min(te.find(','), te.size());
    if (ascii::iequals(ascii::trim_ows(te.substr(0, end)), "trailers")) return true;
    te.remove_prefix(std::min(end + 1, te.size()));
  }
  return false;
}

}  // namespace

Result<void> parse_target(std::string_view target, Method method, Target& out) noexcept {
  out = {};
  if (target.empty()) return bad(code::kBadTarget, "request target is empty", 0);
  for (std::size_t i = 0; i < target.size(); ++i) {
    if (!kTargetChars.contains(target[i])) {
      return bad(code::kBadTarget, "request target has a forbidden character", i);
    }
  }
  if (target == "*") {
    if (method != Method::kOptions) {
      return bad(code::kBadTarget, "asterisk target without OPTIONS", 0);
    }
    out.form = TargetForm::kAsterisk;
    out.path = target;
    return {};
  }
  if (target.front() != '/') return parse_absolute(target, method, out);
  split_query(target, out);
  return {};
}

bool is_aliasable(std::string_view name) noexcept {
  bool any = false;  // without an early exit, so that it runs on vectors
  for (const char c : name) any |= c == '_' || c == '.';
  return any;
}

Result<void> judge_last_field(const Fields& fields) noexcept {
  const Field& field = fields[fields.size() - 1];
  if (field.id == FieldId::kOther) {
    if (!is_aliasable(field.name) || aliased_field(field.name) == FieldId::kOther) return {};
    return bad(code::kAliasedField, "field name can be taken for a managed one", 0);
  }
  if (has_trait(field.id, FieldTrait::kOnceInRequest) && fields.count(field.id) > 1) {
    return bad(code::kDuplicateField, "field that may come once came twice", 0);
  }
  return {};
}

Result<void> judge_aliases(const Fields& fields) noexcept {
  bool any = false;
  for (std::size_t i = 0; i < fields.size() && !any; ++i) {
    any = fields[i].id == FieldId::kOther && is_aliasable(fields[i].name);
  }
  if (!any) return {};
  std::array<std::uint64_t, Fields::kCapacity> hashes;
  for (std::size_t i = 0; i < fields.size(); ++i) hashes[i] = folded_hash(fields[i].name);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!is_aliasable(fields[i].name)) continue;
    for (std::size_t j = 0; j < fields.size(); ++j) {
      const bool alias = hashes[i] == hashes[j] &&
                         same_when_aliased(fields[i].name, fields[j].name) &&
                         !ascii::iequals(fields[i].name, fields[j].name);
      if (alias) return bad(code::kAliasedField, "two field names read as one", 0);
    }
  }
  return {};
}

bool accepts_trailers(const Fields& fields) noexcept {
  return std::ranges::any_of(fields.begin(), fields.end(), [](const Field& field) {
    return field.id == FieldId::kTe && lists_trailers(field.value);
  });
}

}  // namespace merlon::http
