#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "base/ascii.h"

namespace merlon {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array kByteUnits = {Unit{"B", 1}, Unit{"KiB", 1ULL << 10}, Unit{"MiB", 1ULL << 20},
                                   Unit{"GiB", 1ULL << 30}};
constexpr std::array kTimeUnits = {Unit{"ms", 1}, Unit{"s", 1000}, Unit{"min", 60'000},
                                   Unit{"h", 3'600'000}, Unit{"d", 86'400'000}};
constexpr std::array kRateUnits = {Unit{"s", 1}, Unit{"min", 60}, Unit{"h", 3600},
                                   Unit{"day", 86'400}, Unit{"month", 2'592'000}};

template <std::size_t N>
std::string names(const std::array<Unit, N>& units) {
  std::string out;
  for (const Unit& unit : units) {
    if (!out.empty()) out += ", ";
    out += unit.name;
  }
  return out;
}

/// `digits`, which are nothing else, without a needless leading zero; or what is wrong with
/// `whole`.
std::expected<std::uint64_t, std::string> parse_count(std::string_view digits,
                                                      std::string_view whole) {
  if (digits.empty())
    return std::unexpected(fmt::format("`{}` does not start with a number", whole));
  if (digits.size() > 1 && digits.front() == '0')
    return std::unexpected(fmt::format("`{}` has a leading zero", whole));
  std::uint64_t value = 0;
  for (const char c : digits) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (std::numeric_limits<std::int64_t>::max() - digit) / 10)
      return std::unexpected(fmt::format("`{}` is too large", whole));
    value = value * 10 + digit;
  }
  return value;
}

template <std::size_t N>
std::expected<std::uint64_t, std::string> parse_with_unit(std::string_view text,
                                                          const std::array<Unit, N>& units,
                                                          std::string_view example) {
  std::size_t digits = 0;
  while (digits < text.size() && ascii::is_digit(text[digits])) ++digits;
  const auto count = parse_count(text.substr(0, digits), text);
  if (!count) return std::unexpected(count.error());
  const std::string_view name = text.substr(digits);
  if (name.empty())
    return std::unexpected(
        fmt::format("`{}` needs a unit ({}), such as {}", text, names(units), example));
  for (const Unit& unit : units) {
    if (unit.name != name) continue;
    if (*count > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / unit.factor)
      return std::unexpected(fmt::format("`{}` is too large", text));
    return *count * unit.factor;
  }
  return std::unexpected(fmt::format("`{}` is not a unit here; use one of {}, such as {}", name,
                                     names(units), example));
}

template <std::size_t N>
std::string format_with_unit(std::uint64_t value, const std::array<Unit, N>& units) {
  for (std::size_t i = N; i-- > 1;) {
    if (value != 0 && value % units[i].factor == 0)
      return fmt::format("{}{}", value / units[i].factor, units[i].name);
  }
  return fmt::format("{}{}", value, units[0].name);
}

}  // namespace

std::expected<std::uint64_t, std::string> parse_bytes(std::string_view text) {
  return parse_with_unit(text, kByteUnits, "1MiB");
}

std::expected<milliseconds, std::string> parse_duration(std::string_view text) {
  const auto value = parse_with_unit(text, kTimeUnits, "5s");
  if (!value) return std::unexpected(value.error());
  // A century: beyond it, sums with nanosecond time points would overflow.
  constexpr std::uint64_t kMax = 36'500ULL * 86'400'000;
  if (*value > kMax) return std::unexpected(fmt::format("`{}` is too large", text));
  return milliseconds{static_cast<std::int64_t>(*value)};
}

std::expected<Rate, std::string> parse_rate(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    return std::unexpected(
        fmt::format("`{}` is not a rate; write one such as 10/s or 1000/min", text));
  for (const char c : text.substr(0, slash)) {
    if (!ascii::is_digit(c))
      return std::unexpected(
          fmt::format("`{}` is not a whole number of events", text.substr(0, slash)));
  }
  const auto count = parse_count(text.substr(0, slash), text);
  if (!count) return std::unexpected(count.error());
  if (*count == 0)
    return std::unexpected(
        std::string("a rate of zero is not a limit: list no method, or remove the route"));
  const std::string_view name = text.substr(slash + 1);
  for (const Unit& unit : kRateUnits) {
    if (unit.name == name)
      return Rate{.events = *count, .per = seconds{static_cast<std::int64_t>(unit.factor)}};
  }
  return std::unexpected(fmt::format("`{}` is not a unit of time here; use one of {}, such as 10/s",
                                     name, names(kRateUnits)));
}

std::expected<std::uint32_t, std::string> parse_percent(std::string_view text) {
  if (!text.ends_with('%'))
    return std::unexpected(fmt::format("`{}` needs a percent sign, such as 20%", text));
  const std::string_view digits = text.substr(0, text.size() - 1);
  for (const char c : digits) {
    if (!ascii::is_digit(c))
      return std::unexpected(fmt::format("`{}` is not a whole percentage", text));
  }
  const auto value = parse_count(digits, text);
  if (!value) return std::unexpected(value.error());
  if (*value > 100) return std::unexpected(fmt::format("`{}` is above 100%", text));
  return static_cast<std::uint32_t>(*value);
}

std::string format_bytes(std::uint64_t bytes) { return format_with_unit(bytes, kByteUnits); }

std::string format_duration(milliseconds duration) {
  return format_with_unit(static_cast<std::uint64_t>(duration.count()), kTimeUnits);
}

std::string format_rate(const Rate& rate) {
  const auto span =
      static_cast<std::uint64_t>(std::chrono::duration_cast<seconds>(rate.per).count());
  for (const Unit& unit : kRateUnits) {
    if (unit.factor == span) return fmt::format("{}/{}", rate.events, unit.name);
  }
  return fmt::format("{} per {}s", rate.events, span);
}

}  // namespace merlon
