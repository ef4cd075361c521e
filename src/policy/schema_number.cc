#include "policy/schema_number.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/ascii.h"

namespace merlon::policy {
namespace {

constexpr double kWholeEnd = 9223372036854775808.0;  // 2^63

std::partial_ordering compare(std::int64_t whole, double real) noexcept {
  if (real >= kWholeEnd) return std::partial_ordering::less;
  if (real < -kWholeEnd) return std::partial_ordering::greater;
  const auto cut = static_cast<std::int64_t>(real);
  if (whole != cut) return whole <=> cut;
  return 0.0 <=> real - static_cast<double>(cut);
}

}  // namespace

std::partial_ordering SchemaNumber::operator<=>(const SchemaNumber& other) const noexcept {
  if (is_whole_ && other.is_whole_) return whole_ <=> other.whole_;
  if (is_whole_) return compare(whole_, other.real_);
  if (other.is_whole_) return 0 <=> compare(other.whole_, real_);
  return real_ <=> other.real_;
}

bool SchemaNumber::is_multiple_of(const SchemaNumber& unit) const noexcept {
  if (is_whole_ && unit.is_whole_) return whole_ % unit.whole_ == 0;
  const double times = real_ / unit.real_;
  // Both are rounded to the nearest double, and so is their quotient.
  const double rounding = 2 * std::numeric_limits<double>::epsilon() * std::abs(times);
  return std::abs(times - std::round(times)) <= rounding;
}

bool integers_fit(std::string_view json) noexcept {
  static constexpr auto kOfNumbers = ascii::CharSet("+-.eE").add_range('0', '9');
  const char* at = json.data();
  const char* const end = at + json.size();
  while (at != end) {
    if (*at == '"') {
      for (++at; *at != '"'; ++at) at += *at == '\\' ? 1 : 0;
      ++at;
    } else if (*at == '-' || ascii::is_digit(*at)) {
      std::int64_t value = 0;
      const auto [behind, error] = std::from_chars(at, end, value);
      const bool is_whole = behind == end || !kOfNumbers.contains(*behind);
      if (is_whole && error != std::errc()) return false;
      for (at = behind; at != end && kOfNumbers.contains(*at);) ++at;
    } else {
      ++at;
    }
  }
  return true;
}

}  // namespace merlon::policy
