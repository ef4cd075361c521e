#include "config/text_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace merlon::config {
namespace {

constexpr std::size_t kCheckpointChars = 64;

bool is_continuation(char c) noexcept { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// One decoded character. `bytes` is 0 when the text is not UTF-8 there.
struct Decoded {
  std::uint32_t code = 0;
  std::size_t bytes = 0;
};

/// Decodes a character of two bytes or more (RFC 3629 §4: no overlong forms, no surrogates).
Decoded decode(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0xFFU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!is_continuation(text[i])) return {};
    code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  constexpr std::uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLowest[bytes] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return {};
  return {.code = code, .bytes = bytes};
}

/// What the characters of YAML leave out above ASCII: C1 controls, and noncharacters. A byte order
/// mark is allowed as the first character only, and the caller removes that one.
bool is_allowed(std::uint32_t code) {
  return code >= 0xA0 && code != 0xFEFF && code != 0xFFFE && code != 0xFFFF;
}

/// Where YAML 1.1, and so libyaml, begins another line, and YAML 1.2 (§5.4) and editors do not:
/// what they show as the rest of a comment would be in force.
bool ends_a_hidden_line(std::uint32_t code) {
  return code == 0x85 || code == 0x2028 || code == 0x2029;
}

BadByte hidden_line(std::size_t at, std::uint32_t code) {
  return {at, fmt::format("character U+{:04X} ends a line, which editors do not show", code)};
}

}  // namespace

std::optional<BadByte> find_bad_byte(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      const bool blank = byte == '\t' || byte == '\n' || byte == '\r';
      if ((byte < 0x20 && !blank) || byte == 0x7F) {
        return BadByte{at, fmt::format("control character U+{:04X}", byte)};
      }
      if (byte == '\r' && (at + 1 == text.size() || text[at + 1] != '\n')) {
        return hidden_line(at, byte);
      }
      ++at;
      continue;
    }
    const Decoded decoded = decode(text.substr(at));
    if (decoded.bytes == 0) return BadByte{at, fmt::format("byte 0x{:02x} is not UTF-8", byte)};
    if (ends_a_hidden_line(decoded.code)) return hidden_line(at, decoded.code);
    if (!is_allowed(decoded.code)) {
      return BadByte{at, fmt::format("character U+{:04X} is not allowed", decoded.code)};
    }
    at += decoded.bytes;
  }
  return std::nullopt;
}

Positions::Positions(std::string_view text) : text_(text) {
  for (std::size_t i = 0; i < text.size() && simple_; ++i) {
    const bool lone_return = text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n');
    simple_ = static_cast<unsigned char>(text[i]) < 0x80 && !lone_return;
  }
  if (simple_) return;
  line_starts_.push_back(0);
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') line_starts_.push_back(static_cast<std::uint32_t>(i + 1));
    if (is_continuation(text[i])) continue;
    if (characters % kCheckpointChars == 0) checkpoints_.push_back(static_cast<std::uint32_t>(i));
    ++characters;
  }
}

std::size_t Positions::byte_of(std::size_t index) const {
  const std::size_t checkpoint = index / kCheckpointChars;
  if (checkpoint >= checkpoints_.size()) return text_.size();
  std::size_t at = checkpoints_[checkpoint];
  for (std::size_t left = index % kCheckpointChars; left > 0 && at < text_.size(); --left) {
    ++at;
    while (at < text_.size() && is_continuation(text_[at])) ++at;
  }
  return at;
}

Position Positions::of_byte(std::size_t offset_bytes) const {
  const std::size_t at = std::min(offset_bytes, text_.size());
  if (simple_) {
    const std::string_view before = text_.substr(0, at);
    const auto line = static_cast<std::uint32_t>(std::ranges::count(before, '\n'));
    const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0: the first line
    return {.line = line + 1, .column = static_cast<std::uint32_t>(at - start + 1)};
  }
  const auto next = std::ranges::upper_bound(line_starts_, at);
  const auto line = static_cast<std::uint32_t>(std::distance(line_starts_.begin(), next));
  return {.line = line, .column = static_cast<std::uint32_t>(at - *std::prev(next) + 1)};
}

Position Positions::locate(std::size_t index, std::size_t line, std::size_t column) const {
  if (simple_) {
    return {.line = static_cast<std::uint32_t>(line + 1),
            .column = static_cast<std::uint32_t>(column + 1)};
  }
  return of_byte(byte_of(index));
}

}  // namespace merlon::config
