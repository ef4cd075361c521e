#include "identity/date.h"

#include <fmt/format.h>

#include <chrono>

#include "config/waivers.h"

namespace merlon::identity {
namespace {

/// Two digits at `at`, or -1.
int two_digits(std::string_view text, std::size_t at) noexcept {
  const unsigned tens = static_cast<unsigned char>(text[at]) - unsigned{'0'};
  const unsigned ones = static_cast<unsigned char>(text[at + 1]) - unsigned{'0'};
  return tens > 9 || ones > 9 ? -1 : static_cast<int>(tens * 10 + ones);
}

}  // namespace

std::optional<TokenTime> parse_date(std::string_view text) noexcept {
  constexpr std::size_t kDay = 10;
  const auto day = config::parse_date(text.substr(0, kDay));
  if (!day.has_value()) return std::nullopt;
  const TokenTime begin = TokenTime{day->time_since_epoch().count()} * 86'400;
  if (text.size() == kDay) return begin;
  const std::string_view time = text.substr(kDay);
  if (time.size() != 10 || time[0] != 'T' || time[3] != ':' || time[6] != ':' || time[9] != 'Z') {
    return std::nullopt;
  }
  const int hour = two_digits(time, 1);
  const int minute = two_digits(time, 4);
  const int second = two_digits(time, 7);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) {
    return std::nullopt;
  }
  return begin + TokenTime{hour} * 3600 + TokenTime{minute} * 60 + second;
}

std::string format_date(TokenTime time) {
  const TokenTime day = time >= 0 ? time / 86'400 : (time - 86'399) / 86'400;
  const TokenTime rest = time - day * 86'400;
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{day}}};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     rest / 3600, rest / 60 % 60, rest % 60);
}

config::Type<TokenTime> date() {
  return config::custom<TokenTime>(
      {.name = "a date, or a date and time in UTC",
       .example = "2027-01-31",
       .parse = [](std::string_view text) -> std::expected<TokenTime, std::string> {
         if (const auto time = parse_date(text)) return *time;
         return std::unexpected("write 2027-01-31 or 2027-01-31T12:30:00Z");
       },
       .format = [](const TokenTime& time) { return format_date(time); }});
}

}  // namespace merlon::identity
