#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

/// Byte checks that every parser of field lines shares.
namespace merlon::http {

/// What may stand in a field value (RFC 9110 §5.5): visible ASCII, SP, HTAB and obs-text.
[[nodiscard]] constexpr bool is_value_byte(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7f) || c == '\t';
}

/// A byte of `word` may be none of a field value, or a tab.
[[nodiscard]] constexpr bool has_suspicious_byte(std::uint64_t word) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101ULL;
  constexpr std::uint64_t kHigh = 0x8080808080808080ULL;
  const std::uint64_t del = word ^ (kOnes * 0x7f);
  const std::uint64_t controls = (word - kOnes * 0x20) & ~word;
  const std::uint64_t deletes = (del - kOnes) & ~del;
  return ((controls | deletes) & kHigh) != 0;
}

/// The position of the first byte that may not stand in a field value, or `text.size()`.
/// Eight bytes at a time: values are most of a head.
[[nodiscard]] inline std::size_t first_bad_value_byte(std::string_view text) noexcept {
  const auto suspicious = [&](std::size_t at) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    return has_suspicious_byte(word);
  };
  std::size_t i = 0;
  while (i + 8 <= text.size()) {
    if (suspicious(i)) {
      // A tab, or the end of the search.
      for (const std::size_t end = i + 8; i < end; ++i) {
        if (!is_value_byte(text[i])) return i;
      }
    } else {
      i += 8;
    }
  }
  // What is left once more with bytes that are known, as a whole word.
  if (text.size() >= 8 && !suspicious(text.size() - 8)) return text.size();
  if (text.size() >= 4 && text.size() < 8) {
    std::uint32_t first;
    std::uint32_t last;
    std::memcpy(&first, text.data(), 4);
    std::memcpy(&last, text.data() + text.size() - 4, 4);
    if (!has_suspicious_byte(std::uint64_t{first} << 32U | last)) return text.size();
  }
  while (i < text.size() && is_value_byte(text[i])) ++i;
  return i;
}

}  // namespace merlon::http
