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

}  // namespace merlon::audit::nginx
