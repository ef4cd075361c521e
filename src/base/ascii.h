#pragma once

#include <array>
#include <cstdint>
#include <string_view>

/// Character classes of ASCII protocols. No locale, no Unicode: bytes above 0x7f are never letters.
namespace merlon::ascii {

[[nodiscard]] constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
[[nodiscard]] constexpr bool is_alpha(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
[[nodiscard]] constexpr bool is_alnum(char c) noexcept { return is_digit(c) || is_alpha(c); }

/// The value of a hexadecimal digit, or -1.
[[nodiscard]] constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/// Equality without regard to ASCII case.
[[nodiscard]] constexpr bool iequals(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

/// A space or a tab (OWS, RFC 9110 §5.6.3).
[[nodiscard]] constexpr bool is_ows(char c) noexcept { return c == ' ' || c == '\t'; }

/// Removes spaces and tabs at both ends.
[[nodiscard]] constexpr std::string_view trim_ows(std::string_view text) noexcept {
  while (!text.empty() && is_ows(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_ows(text.back())) text.remove_suffix(1);
  return text;
}

/// A set of bytes with a constant-time test, built at compile time.
class CharSet {
 public:
  constexpr explicit CharSet(std::string_view members) noexcept {
    for (const char c : members) add(c);
  }
  constexpr CharSet& add(char c) noexcept {
    bits_[static_cast<unsigned char>(c)] = true;
    return *this;
  }
  constexpr CharSet& add_range(char from, char to) noexcept {
    for (int c = static_cast<unsigned char>(from); c <= static_cast<unsigned char>(to); ++c) {
      bits_[static_cast<std::size_t>(c)] = true;
    }
    return *this;
  }
  [[nodiscard]] constexpr bool contains(char c) const noexcept {
    return bits_[static_cast<unsigned char>(c)];
  }
  [[nodiscard]] constexpr bool contains_all(std::string_view text) const noexcept {
    for (const char c : text) {
      if (!contains(c)) return false;
    }
    return true;
  }

 private:
  std::array<bool, 256> bits_{};
};

/// `tchar` of RFC 9110 §5.6.2: what methods and field names are made of.
inline constexpr CharSet kTokenChars =
    CharSet("!#$%&'*+-.^_`|~").add_range('0', '9').add_range('a', 'z').add_range('A', 'Z');

/// True for a non-empty `token` (RFC 9110 §5.6.2).
[[nodiscard]] constexpr bool is_token(std::string_view text) noexcept {
  return !text.empty() && kTokenChars.contains_all(text);
}

}  // namespace merlon::ascii
