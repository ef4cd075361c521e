#include "audit/nginx/regex_syntax.h"

#include <algorithm>
#include <array>
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

}  // namespace merlon::audit::nginx
