#include "policy/value_types.h"

#include <expected>
#include <utility>

#include "base/ascii.h"
#include "http/message.h"
#include "http/request_rules.h"

namespace merlon::policy {
namespace {

constexpr std::size_t kFieldNameBytesMax = 64;
constexpr std::size_t kFieldValueBytesMax = 4096;

std::string problem_of_method(std::string_view text) {
  if (!ascii::is_token(text)) return "a method is made of letters, digits and a few signs";
  if (text == "*") return "`*` is not a method: list the methods";
  if (text.size() > http::kMethodBytesMax) return "no method is that long";
  std::string upper(text);
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - ('a' - 'A'));
  }
  const bool known = http::method_of(upper) != http::Method::kOther;
  if (upper != text && known) return "methods are case-sensitive: write `" + upper + "`";
  return {};
}

std::string problem_of_field_name(std::string_view text) {
  if (!ascii::is_token(text)) return "a field name is made of letters, digits and a few signs";
  return text.size() <= kFieldNameBytesMax ? "" : "it is longer than 64 bytes";
}

}  // namespace

config::Type<std::string> judged(std::string name, std::string example,
                                 std::string (*problem)(std::string_view)) {
  using Parsed = std::expected<std::string, std::string>;
  return config::custom<std::string>(
      {.name = std::move(name),
       .example = std::move(example),
       .parse = [problem](std::string_view text) -> Parsed {
         const std::string wrong = problem(text);
         if (!wrong.empty()) return std::unexpected(wrong);
         return std::string(text);
       },
       .format = [](const std::string& v) { return config::detail::yaml_scalar(v); }});
}

config::Type<std::string> field_name() {
  return judged("the name of a field", "X-Debug", problem_of_field_name);
}

config::Type<std::string> method() { return judged("a method", "GET", problem_of_method); }

std::string problem_of_field_value(std::string_view text) {
  if (text.empty()) return "it is empty";
  if (text.size() > kFieldValueBytesMax) return "it is longer than 4096 bytes";
  if (text.front() == ' ' || text.back() == ' ') return "it has a space at its end";
  for (const char c : text) {
    if (c < 0x20 || c > 0x7e) return "it has a character that is not printable ASCII";
  }
  return {};
}

}  // namespace merlon::policy
