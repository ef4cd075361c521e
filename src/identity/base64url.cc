#include "identity/base64url.h"

#include <array>
#include <cstdint>

namespace merlon::identity {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::uint8_t kNone = 0xff;

constexpr std::array<std::uint8_t, 256> kValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNone);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}();

std::uint32_t value_of(char c) noexcept { return kValues[static_cast<unsigned char>(c)]; }

/// The last 2 or 3 characters. Their spare bits must be zero: otherwise several texts would mean
/// the same bytes, and a token could be changed without changing what was signed.
std::optional<std::size_t> decode_tail(std::string_view tail, char* out) noexcept {
  if (tail.empty()) return 0;
  if (tail.size() == 1) return std::nullopt;
  const std::uint32_t a = value_of(tail[0]);
  const std::uint32_t b = value_of(tail[1]);
  if ((a | b) > 63) return std::nullopt;
  out[0] = static_cast<char>(a << 2U | b >> 4U);
  if (tail.size() == 2) {
    return (b & 15U) == 0 ? std::optional<std::size_t>(1) : std::nullopt;
  }
  const std::uint32_t c = value_of(tail[2]);
  if (c > 63 || (c & 3U) != 0) return std::nullopt;
  out[1] = static_cast<char>((b & 15U) << 4U | c >> 2U);
  return 2;
}

}  // namespace

std::optional<std::size_t> base64url_decode(std::string_view text, std::span<char> out) noexcept {
  if (out.size() < base64url_decoded_max(text.size())) return std::nullopt;
  const std::size_t whole = text.size() / 4;
  const char* in = text.data();
  char* to = out.data();
  for (std::size_t i = 0; i < whole; ++i, in += 4, to += 3) {
    const std::uint32_t a = value_of(in[0]);
    const std::uint32_t b = value_of(in[1]);
    const std::uint32_t c = value_of(in[2]);
    const std::uint32_t d = value_of(in[3]);
    if ((a | b | c | d) > 63) return std::nullopt;
    const std::uint32_t bits = a << 18U | b << 12U | c << 6U | d;
    to[0] = static_cast<char>(bits >> 16U);
    to[1] = static_cast<char>(bits >> 8U);
    to[2] = static_cast<char>(bits);
  }
  const auto tail = decode_tail(text.substr(whole * 4), to);
  if (!tail.has_value()) return std::nullopt;
  return whole * 3 + *tail;
}

std::optional<std::string> base64url_decode(std::string_view text) {
  std::string out(base64url_decoded_max(text.size()), '\0');
  const auto size = base64url_decode(text, out);
  if (!size.has_value()) return std::nullopt;
  out.resize(*size);
  return out;
}

std::string base64url_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char c : bytes) {
    bits = bits << 8U | static_cast<unsigned char>(c);
    held += 8;
    for (; held >= 6; held -= 6) out += kAlphabet[bits >> (held - 6) & 63U];
  }
  if (held != 0) out += kAlphabet[bits << (6 - held) & 63U];
  return out;
}

}  // namespace merlon::identity
