#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Frames of HTTP/2 written and read byte by byte, for tests: none of it knows nghttp2.
namespace merlon::http::h2wire {

enum Type : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
  kUnknown = 0x42,
};
inline constexpr std::uint8_t kEndStream = 1;
inline constexpr std::uint8_t kAck = 1;
inline constexpr std::uint8_t kEndHeaders = 4;
inline constexpr std::uint8_t kPadded = 8;
inline constexpr std::uint8_t kPriorityFlag = 0x20;

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

inline std::string u32(std::uint32_t value) {
  return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U),
          static_cast<char>(value >> 8U), static_cast<char>(value)};
}

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id,
                         std::string_view payload) {
  std::string bytes = u32(static_cast<std::uint32_t>(payload.size())).substr(1);
  bytes += static_cast<char>(type);
  bytes += static_cast<char>(flags);
  return bytes.append(u32(id)).append(payload);
}

/// An HPACK string without Huffman coding (RFC 7541 §5.2).
inline std::string hpack_string(std::string_view text) {
  std::string out;
  std::size_t size = text.size();
  if (size < 127) {
    out += static_cast<char>(size);
  } else {
    out += '\x7f';
    for (size -= 127; size >= 128; size /= 128) out += static_cast<char>(0x80U | (size & 0x7fU));
    out += static_cast<char>(size);
  }
  return out.append(text);
}

/// A literal without indexing with a new name (RFC 7541 §6.2.2).
inline std::string literal(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + hpack_string(name) + hpack_string(value);
}

using Lines = std::vector<std::pair<std::string_view, std::string_view>>;

inline std::string block(const Lines& lines) {
  std::string out;
  for (const auto& [name, value] : lines) out += literal(name, value);
  return out;
}

inline Lines get() {
  return {{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a.example"}};
}
inline Lines post() {
  return {{":method", "POST"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a.example"}};
}
inline Lines operator+(Lines lines, const Lines& more) {
  lines.insert(lines.end(), more.begin(), more.end());
  return lines;
}

inline std::string headers(std::uint32_t id, const Lines& lines,
                           std::uint8_t flags = kEndStream | kEndHeaders) {
  return frame(kHeaders, flags, id, block(lines));
}
inline std::string data(std::uint32_t id, std::string_view bytes, std::uint8_t flags = 0) {
  return frame(kData, flags, id, bytes);
}
inline std::string rst(std::uint32_t id, std::uint32_t code = 8) {
  return frame(kRstStream, 0, id, u32(code));
}
inline std::string window_update(std::uint32_t id, std::uint32_t by) {
  return frame(kWindowUpdate, 0, id, u32(by));
}
inline std::string settings(const std::vector<std::pair<std::uint16_t, std::uint32_t>>& entries) {
  std::string payload;
  for (const auto& [id, value] : entries) payload += u32(id).substr(2) + u32(value);
  return frame(kSettings, 0, 0, payload);
}

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t id = 0;
  std::string payload;

  [[nodiscard]] std::uint32_t number(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = at; i < at + 4 && i < payload.size(); ++i)
      value = value << 8U | static_cast<unsigned char>(payload[i]);
    return value;
  }
};

/// The frames in `bytes`; what is left of them stays there.
inline std::vector<Frame> read_frames(std::string& bytes) {
  std::vector<Frame> frames;
  while (bytes.size() >= 9) {
    const auto at = [&](std::size_t i) {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]));
    };
    const std::size_t size = at(0) << 16U | at(1) << 8U | at(2);
    if (bytes.size() < 9 + size) break;
    const std::uint32_t id = (at(5) << 24U | at(6) << 16U | at(7) << 8U | at(8)) & 0x7fffffffU;
    frames.push_back({.type = static_cast<std::uint8_t>(at(3)),
                      .flags = static_cast<std::uint8_t>(at(4)),
                      .id = id,
                      .payload = bytes.substr(9, size)});
    bytes.erase(0, 9 + size);
  }
  return frames;
}

}  // namespace merlon::http::h2wire
