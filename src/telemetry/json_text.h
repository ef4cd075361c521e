#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/time.h"

/// JSON written into a buffer of fixed size: what the access log and the process log are made of.
/// Nothing here allocates, throws or depends on the locale.
namespace merlon::telemetry {

/// One JSON object on one line, written into memory of the caller.
///
/// A member that does not fit is left out and the line ends with `"truncated":true`, so that the
/// line is valid JSON whatever the members are. Keys must be plain ASCII that needs no escape.
/// Texts are escaped, made valid UTF-8 (other bytes become U+FFFD) and cut, with "..." at the end,
/// so that their escaped form takes at most the given number of bytes.
class JsonLine {
 public:
  /// Room that the end of a line may need.
  static constexpr std::size_t kTailBytes = 24;

  /// `buffer` must hold more than `kTailBytes` and outlive this object.
  JsonLine(char* buffer, std::size_t bytes) noexcept;

  void text(std::string_view key, std::string_view value, std::size_t escaped_bytes_max) noexcept;
  void number(std::string_view key, std::uint64_t value) noexcept;
  void signed_number(std::string_view key, std::int64_t value) noexcept;
  void boolean(std::string_view key, bool value) noexcept;
  /// "2026-11-23T20:15:04.123456Z". The date is formatted anew only when the second changes.
  class Timestamp;
  void time(std::string_view key, WallTime value, Timestamp& cache) noexcept;
  /// An object inside: members that follow belong to it until `close`.
  void open(std::string_view key) noexcept;
  void close() noexcept;

  /// Ends the object and the line. The view points into the buffer.
  [[nodiscard]] std::string_view finish() noexcept;

 private:
  bool begin(std::string_view key, std::size_t value_bytes) noexcept;

  char* begin_;
  char* out_;
  char* end_;  ///< before the room for the tail
  unsigned depth_ = 0;
  unsigned skipped_depth_ = 0;  ///< objects opened that did not fit
  bool first_ = true;
  bool truncated_ = false;
};

/// The text of the last second that was formatted. One per thread.
class JsonLine::Timestamp {
 public:
  static constexpr std::size_t kBytes = 27;
  /// Writes `kBytes` characters.
  void write(char* out, WallTime time) noexcept;

 private:
  std::int64_t second_ = INT64_MIN;
  char text_[20] = {};  ///< "2026-11-23T20:15:04."
};

/// Writes `text` as the inside of a JSON string into at most `bytes_max` bytes and returns the end.
/// See JsonLine for what happens to other bytes and to text that is too long.
[[nodiscard]] char* write_escaped(char* out, std::string_view text, std::size_t bytes_max) noexcept;

/// Writes a decimal number, at most 20 characters, and returns the end.
[[nodiscard]] char* write_decimal(char* out, std::uint64_t value) noexcept;

}  // namespace merlon::telemetry
