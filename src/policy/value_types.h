#pragma once

#include <string>
#include <string_view>

#include "config/schema.h"

/// Types of values that policies and routes have in common.
namespace merlon::policy {

/// A text that `problem` finds nothing wrong with; it returns what is wrong, or "".
[[nodiscard]] config::Type<std::string> judged(std::string name, std::string example,
                                               std::string (*problem)(std::string_view));

/// The name of a field (RFC 9110 §5.1), at most 64 bytes.
[[nodiscard]] config::Type<std::string> field_name();
/// A method (RFC 9110 §9.1). Well-known ones are written in capitals, since case tells.
[[nodiscard]] config::Type<std::string> method();

/// What is wrong with a field's value that the gateway is to send, or "": RFC 9110 §5.5 without the
/// characters that no sender should use, at most 4096 bytes.
[[nodiscard]] std::string problem_of_field_value(std::string_view text);

}  // namespace merlon::policy
