#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "audit/nginx/syntax.h"

namespace merlon::audit::nginx {

/// The condition of an `if` about a variable.
struct Condition {
  enum class Test : std::uint8_t { kTrue, kEqual, kNotEqual, kMatch, kNotMatch };
  std::string_view variable;  ///< without its "$"
  Test test = Test::kTrue;
  std::string_view value;    ///< text or pattern that it is held against; "" of kTrue
  bool ignore_case = false;  ///< of a pattern
};

/// Reads `if ($variable = value)`, whose parentheses may stand apart or be glued on; nullopt for
/// other blocks, and for tests of files.
[[nodiscard]] std::optional<Condition> condition_of(const Directive& block);

/// True when it holds for a variable with this text. What it compares with is taken as it is
/// written; a pattern that is not understood matches nothing.
[[nodiscard]] bool holds_for(const Condition& condition, std::string_view text);

}  // namespace merlon::audit::nginx
