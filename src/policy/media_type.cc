#include "policy/media_type.h"

#include "base/ascii.h"

namespace merlon::policy {
namespace {

/// Takes `name=value` off the front of `rest`; false when it is not there.
bool take_parameter(std::string_view& rest, std::string_view& name,
                    std::string_view& value) noexcept {
  const std::size_t equals = rest.find('=');
  if (equals == std::string_view::npos) return false;
  name = rest.substr(0, equals);
  rest.remove_prefix(equals + 1);
  if (!rest.starts_with('"')) {
    const std::size_t end = rest.find_first_of("; \t");
    value = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end);
    return ascii::is_token(name) && ascii::is_token(value);
  }
  const std::size_t end = rest.find_first_of("\"\\", 1);
  if (end == std::string_view::npos || rest[end] == '\\') return false;
  value = rest.substr(1, end - 1);
  rest.remove_prefix(end + 1);
  return ascii::is_token(name);
}

bool is_essence(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  return slash != std::string_view::npos && ascii::is_token(text.substr(0, slash)) &&
         ascii::is_token(text.substr(slash + 1));
}

}  // namespace

bool parse_media_type(std::string_view value, MediaType& out) noexcept {
  const std::size_t end = value.find(';');
  out.essence = ascii::trim_ows(value.substr(0, end));
  out.charset = {};
  if (!is_essence(out.essence)) return false;
  std::string_view rest = end == std::string_view::npos ? std::string_view{} : value.substr(end);
  bool has_charset = false;
  while (!rest.empty()) {
    if (rest.front() != ';') return false;
    rest = ascii::trim_ows(rest.substr(1));
    std::string_view name;
    std::string_view text;
    if (!take_parameter(rest, name, text)) return false;
    rest = ascii::trim_ows(rest);
    if (!ascii::iequals(name, "charset")) continue;
    if (has_charset) return false;
    has_charset = true;
    out.charset = text;
  }
  return true;
}

bool is_json(std::string_view essence) noexcept {
  return ascii::iequals(essence, "application/json") ||
         (essence.size() > 5 && ascii::iequals(essence.substr(essence.size() - 5), "+json"));
}

std::string problem_of_essence(std::string_view text) {
  if (!is_essence(text)) return "a media type is a type, `/` and a subtype, without parameters";
  if (text.find('*') != std::string_view::npos) return "media types are exact: list each";
  for (const char c : text) {
    if (c != ascii::lower(c)) return "media types are written in lower case";
  }
  return text.size() <= 128 ? "" : "no media type is that long";
}

}  // namespace merlon::policy
