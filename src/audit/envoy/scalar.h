#pragma once

#include <cstdint>
#include <optional>

#include "config/tree.h"

/// Scalars as Envoy takes them: yaml-cpp says which plain ones are booleans and numbers, and the
/// JSON mapping of protocol buffers, in its lenient form, what a field makes of them. Booleans,
/// numbers and durations may also be written as the message that wraps them: `{ value: true }`.
namespace merlon::audit::envoy {

[[nodiscard]] std::optional<bool> as_flag(const config::Node& node) noexcept;
/// Plain scalars may be hexadecimal (0x1BB) or octal (0600).
[[nodiscard]] std::optional<std::int64_t> as_integer(const config::Node& node) noexcept;
[[nodiscard]] std::optional<std::uint64_t> as_unsigned(const config::Node& node) noexcept;
[[nodiscard]] bool is_float(const config::Node& node) noexcept;
/// "5s", "0.25s", `{ seconds: 5 }` in milliseconds; a smaller one than 1 ms that is not 0 is 1.
/// Negative ones are none.
[[nodiscard]] std::optional<std::int64_t> as_duration_ms(const config::Node& node) noexcept;
[[nodiscard]] bool is_duration(const config::Node& node) noexcept;
/// False for a list, a mapping, and a plain scalar that is a boolean or a number.
[[nodiscard]] bool is_text(const config::Node& node) noexcept;

}  // namespace merlon::audit::envoy
