#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "base/time.h"

/// Quantities as people write them in configuration. A unit is always required, fractions and signs
/// are refused, and so is overflow: the text either means one number or it is an error.
namespace merlon {

/// "512B", "16KiB", "1MiB", "2GiB" (powers of 1024 only). The error says what is wrong.
[[nodiscard]] std::expected<std::uint64_t, std::string> parse_bytes(std::string_view text);

/// "250ms", "5s", "10min", "24h", "30d".
[[nodiscard]] std::expected<milliseconds, std::string> parse_duration(std::string_view text);

/// A number of events in a span of time.
struct Rate {
  std::uint64_t events = 0;
  nanoseconds per{seconds{1}};
  bool operator==(const Rate&) const = default;
};

/// "10/s", "1000/min", "5000/h", "100000/day" or "/month" (30 days). At least 1 event.
[[nodiscard]] std::expected<Rate, std::string> parse_rate(std::string_view text);

/// "20%" as 20; 0 to 100.
[[nodiscard]] std::expected<std::uint32_t, std::string> parse_percent(std::string_view text);

/// The shortest exact form with a unit: 1048576 is "1MiB", 1500 is "1500B".
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// The shortest exact form with a unit: 90000 ms is "90s".
[[nodiscard]] std::string format_duration(milliseconds duration);
[[nodiscard]] std::string format_rate(const Rate& rate);

}  // namespace merlon
