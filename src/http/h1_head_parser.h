#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "http/message.h"

namespace merlon::http {

/// What requests and responses share: a start line and field lines (RFC 9112 §2.1, §5), read line
/// by line as they arrive. Each byte is looked at a constant number of times however the input is
/// cut, and a byte that can never be right is refused when it comes, not when the line ends. Not
/// for use by itself: RequestParser and ResponseParser derive from it.
class HeadParser {
 protected:
  HeadParser(const HeadLimits& limits, Blame blame) noexcept;

  /// Where a field line's value was cut and what it is called.
  struct Line {
    std::string_view text;     ///< without CRLF
    std::uint32_t offset = 0;  ///< of its first byte in the head
  };
  enum class Step : std::uint8_t { kNeedMore, kLine, kEnd };

  [[nodiscard]] std::unexpected<Error> bad(std::uint16_t code, const char* what,
                                           std::size_t offset) const noexcept;
  /// Finds the next whole line of `data`, from where the last one ended.
  [[nodiscard]] Result<bool> next_line(std::string_view data, Line& line) noexcept;
  /// Checks the bytes of an unfinished line that were not checked before.
  [[nodiscard]] Result<void> check_partial(std::string_view data) noexcept;
  /// Splits, checks and adds one field line.
  [[nodiscard]] Result<void> add_field(const Line& line, Fields& fields) noexcept;
  void restart() noexcept;

  HeadLimits limits_;
  Blame blame_;
  bool in_fields_ = false;          ///< the start line is read
  bool partial_delimiter_ = false;  ///< the unfinished line has its first SP or ':' already
  std::size_t line_start_ = 0;
  std::size_t scanned_ = 0;  ///< bytes of `data` that need not be looked at again
};

}  // namespace merlon::http
