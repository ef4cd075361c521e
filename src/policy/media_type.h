#pragma once

#include <string>
#include <string_view>

namespace merlon::policy {

/// A Content-Type as it was read (RFC 9110 §8.3.1). Views into its value.
struct MediaType {
  std::string_view essence;  ///< "application/json", as written
  std::string_view charset;  ///< without quotes; empty when there is none
};

/// Reads a whole value strictly: a type, then parameters of which each has a name and a token or a
/// quoted string without escapes, and charset at most once. False when it is anything else: what
/// two readers could take for different types.
[[nodiscard]] bool parse_media_type(std::string_view value, MediaType& out) noexcept;

/// application/json and the types that end in +json (RFC 6839 §3.1).
[[nodiscard]] bool is_json(std::string_view essence) noexcept;

/// What is wrong with a type and subtype as configured (`application/json`, no parameters), or "".
[[nodiscard]] std::string problem_of_essence(std::string_view text);

}  // namespace merlon::policy
