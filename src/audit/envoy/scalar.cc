#include "audit/envoy/scalar.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <span>
#include <string_view>

#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

using config::Node;

template <class T>
std::optional<T> parsed(std::string_view text, int base = 10) noexcept {
  T out{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

/// What is inside of a wrapper such as google.protobuf.BoolValue, when it is written out.
const Node& unwrapped(const Node& node) noexcept {
  const Node* inside = node.members().size() == 1 ? node.find("value") : nullptr;
  return inside == nullptr ? node : *inside;
}

/// A plain scalar that yaml-cpp takes for a whole number.
template <class T>
std::optional<T> plain_number(std::string_view text) noexcept {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with("0x") || text.starts_with("0X")) return parsed<T>(text.substr(2), 16);
  return parsed<T>(text, text.starts_with('0') ? 8 : 10);
}

template <class T>
std::optional<T> whole_number(const Node& wrapper) noexcept {
  const Node& node = unwrapped(wrapper);
  if (!node.quoted()) {
    if (const auto plain = plain_number<T>(node.text())) return plain;
  }
  return parsed<T>(node.text());
}

/// yes, YES and Yes, but not yEs.
bool is_word(std::string_view text, std::string_view word) noexcept {
  if (!ascii::iequals(text, word)) return false;
  const auto lower = [](char c) { return ascii::lower(c) == c; };
  const std::string_view rest = text.substr(1);
  return std::ranges::all_of(rest, lower) || std::ranges::none_of(text, lower);
}

/// A plain scalar that yaml-cpp takes for a boolean.
std::optional<bool> plain_flag(std::string_view text) noexcept {
  for (const std::string_view word : {"y", "yes", "true", "on"}) {
    if (is_word(text, word)) return true;
  }
  for (const std::string_view word : {"n", "no", "false", "off"}) {
    if (is_word(text, word)) return false;
  }
  return std::nullopt;
}

/// A text that a field of protocol buffers takes for a boolean.
std::optional<bool> text_flag(std::string_view text) noexcept {
  for (const std::string_view word : {"true", "t", "yes", "y", "1"}) {
    if (ascii::iequals(text, word)) return true;
  }
  for (const std::string_view word : {"false", "f", "no", "n", "0"}) {
    if (ascii::iequals(text, word)) return false;
  }
  return std::nullopt;
}

std::optional<std::int64_t> milliseconds(std::uint64_t seconds,
                                         std::string_view decimals) noexcept {
  constexpr std::uint64_t kSecondsMax = 315'576'000'000;  // of google.protobuf.Duration
  if (seconds > kSecondsMax || !std::ranges::all_of(decimals, ascii::is_digit)) return {};
  std::int64_t ms = static_cast<std::int64_t>(seconds) * 1000;
  std::int64_t scale = 100;
  for (const char c : decimals) {
    ms += scale * (c - '0');
    scale /= 10;
  }
  // A millionth of a second is little, but it is not the zero that means "never".
  const bool tiny = ms == 0 && decimals.find_first_of("123456789") != std::string_view::npos;
  return tiny ? 1 : ms;
}

/// `{ seconds: 5, nanos: 250000000 }`
std::optional<std::int64_t> written_out_ms(const Node& node) noexcept {
  constexpr std::uint64_t kNanosPerMs = 1'000'000;
  const Node* seconds = node.find("seconds");
  const Node* nanos = node.find("nanos");
  const auto whole = seconds == nullptr ? std::optional<std::uint64_t>(0) : as_unsigned(*seconds);
  const auto part = nanos == nullptr ? std::optional<std::uint64_t>(0) : as_unsigned(*nanos);
  if (!whole || !part) return std::nullopt;
  const auto ms = milliseconds(*whole, {});
  if (!ms || *part == 0) return ms;
  return std::max<std::int64_t>(1, *ms + static_cast<std::int64_t>(*part / kNanosPerMs));
}

}  // namespace

std::optional<bool> as_flag(const Node& wrapper) noexcept {
  const Node& node = unwrapped(wrapper);
  if (node.quoted()) return text_flag(node.text());
  if (const auto plain = plain_flag(node.text())) return plain;
  return as_integer(node) ? std::nullopt : text_flag(node.text());
}

std::optional<std::int64_t> as_integer(const Node& node) noexcept {
  return whole_number<std::int64_t>(node);
}

std::optional<std::uint64_t> as_unsigned(const Node& node) noexcept {
  return whole_number<std::uint64_t>(node);
}

bool is_float(const Node& wrapper) noexcept {
  const Node& node = unwrapped(wrapper);
  if (as_integer(node) || as_unsigned(node)) return true;
  std::string_view text = node.text();
  if (text.starts_with('+')) text.remove_prefix(1);
  double out{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<std::int64_t> as_duration_ms(const Node& node) noexcept {
  if (node.is_mapping()) return written_out_ms(node);
  std::string_view text = node.text();
  if (!text.ends_with('s')) return std::nullopt;
  text.remove_suffix(1);
  const std::size_t dot = text.find('.');
  const auto seconds = parsed<std::uint64_t>(text.substr(0, dot));
  if (!seconds) return std::nullopt;
  return milliseconds(*seconds,
                      dot == std::string_view::npos ? std::string_view{} : text.substr(dot + 1));
}

bool is_duration(const Node& node) noexcept {
  const std::string_view text = node.text();
  return as_duration_ms(node) || (text.starts_with('-') && text.ends_with('s'));
}

bool is_text(const Node& node) noexcept {
  if (!node.is_scalar()) return false;
  if (node.quoted()) return true;
  const auto number = plain_number<std::int64_t>(node.text());
  // Larger numbers are handed on as text.
  const bool small = number && *number >= std::numeric_limits<std::int32_t>::min() &&
                     *number <= std::numeric_limits<std::int32_t>::max();
  return !small && !plain_flag(node.text());
}

}  // namespace merlon::audit::envoy
