#include "audit/nginx/regex_syntax.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace merlon::audit::nginx {

std::string refused_regex(std::string_view pattern) {
  // PCRE and PCRE2 know other escapes and limits; these mistakes are mistakes to both.
  constexpr std::array kSaid = {
      std::pair{PCRE2_ERROR_END_BACKSLASH, "it ends in a backslash"},
      std::pair{PCRE2_ERROR_MISSING_SQUARE_BRACKET, "\"]\" is missing"},
      std::pair{PCRE2_ERROR_CLASS_RANGE_ORDER, "a range of characters ends before it starts"},
      std::pair{PCRE2_ERROR_QUANTIFIER_INVALID, "there is nothing to repeat"},
      std::pair{PCRE2_ERROR_MISSING_CLOSING_PARENTHESIS, "\")\" is missing"},
      std::pair{PCRE2_ERROR_UNMATCHED_CLOSING_PARENTHESIS, "\")\" closes nothing"}};
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), 0,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);  // takes nullptr
  const auto said = std::ranges::find(kSaid, error, [](const auto& one) { return one.first; });
  return code != nullptr || said == kSaid.end() ? std::string{} : std::string(said->second);
}

std::optional<std::string> captured(std::string_view pattern, bool ignore_case,
                                    std::string_view text, std::size_t number) {
  constexpr std::uint32_t kStepsMax = 100'000;
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    ignore_case ? PCRE2_CASELESS : 0, &error, &offset, nullptr),
      pcre2_code_free);
  if (code == nullptr) return std::nullopt;
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> found(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> bound(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(bound.get(), kStepsMax);
  const int groups = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                 0, 0, found.get(), bound.get());
  if (groups <= 0 || number >= static_cast<std::size_t>(groups)) return std::nullopt;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(found.get());
  if (ends[2 * number] == PCRE2_UNSET) return std::nullopt;
  return std::string(text.substr(ends[2 * number], ends[2 * number + 1] - ends[2 * number]));
}

std::size_t start_of_group(std::string_view regex, std::size_t number) {
  bool in_class = false;
  for (std::size_t i = 0; i < regex.size(); ++i) {
    if (regex[i] == '\\') {
      ++i;
    } else if (in_class) {
      in_class = regex[i] != ']';
    } else if (regex[i] == '[') {
      in_class = true;
    } else if (regex[i] == '(') {
      const std::string_view rest = regex.substr(i + 1);
      const bool named = (rest.starts_with("?<") || rest.starts_with("?P<")) &&
                         !rest.starts_with("?<=") && !rest.starts_with("?<!");
      const bool captures = !rest.starts_with('?') || rest.starts_with("?'") || named;
      if (captures && --number == 0) return i;
    }
  }
  return std::string_view::npos;
}

}  // namespace merlon::audit::nginx
