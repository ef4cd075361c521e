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

  struct Line {
    std::string_view text;   ///< without CRLF
    std::size_t offset = 0;  ///< of its first byte in the head
  };

  /// What Connection says (RFC 9110 §7.6.1).
  struct ConnectionOptions {
    bool close = false;
    bool keep_alive = false;
    bool upgrade = false;
  };

  [[nodiscard]] std::unexpected<Error> bad(std::uint16_t code, const char* what,
                                           std::size_t offset) const noexcept;

  /// Takes the next whole line of `data`. False when there is none yet.
  [[nodiscard]] Result<bool> next_line(std::string_view data, Line& line) noexcept;
  /// Checks the bytes of an unfinished line that no call has seen yet: in the start line they are
  /// visible ASCII, SP and obs-text, in a field line a token, ':' and a value.
  [[nodiscard]] Result<void> check_unfinished(std::string_view data) noexcept;
  /// Adds one field line, with its syntax checked (RFC 9112 §5.1, §5.2).
  [[nodiscard]] Result<void> add_field(const Line& line, Fields& fields) noexcept;
  /// Reads every Connection line and drops the fields that it nominates. Refuses the nomination of
  /// fields that later stages rely on: a stage that obeyed would lose them (Traefik
  /// CVE-2024-45410).
  [[nodiscard]] Result<ConnectionOptions> read_connection(Fields& fields) const noexcept;
  /// Reads the only Content-Length and the only Transfer-Encoding of a head, which never come
  /// together (RFC 9112 §6.3 lets them; too many smuggle with it).
  [[nodiscard]] Result<void> read_framing(const Fields& fields, std::uint8_t minor_version,
                                          Framing& framing, std::uint64_t& length) const noexcept;
  /// True once the head, which ends at `end_bytes` or is not complete, is longer than it may be.
  [[nodiscard]] bool too_long(std::size_t end_bytes) const noexcept {
    return end_bytes > limits_.head_bytes_max;
  }
  void restart() noexcept;

  HeadLimits limits_;
  Blame blame_;
  bool in_fields_ = false;   ///< the start line is read
  bool after_name_ = false;  ///< the unfinished line has its first SP or ':' already
  std::size_t line_start_ = 0;
  std::size_t scanned_ = 0;  ///< bytes of `data` that need not be looked at again

 private:
  /// Of the name that a field line begins with; what is wrong when it does not.
  [[nodiscard]] Result<std::size_t> name_size(const Line& line) const noexcept;
  [[nodiscard]] Result<void> judge_nominated(std::string_view token, Fields& fields) const noexcept;
  [[nodiscard]] std::size_t offset_of(std::string_view part) const noexcept;

  const char* base_ = nullptr;  ///< of `data`, to say where an error is
};

/// Parses a Content-Length value (RFC 9110 §8.6): 1*DIGIT, nothing else. Signs, spaces, lists and
/// overflow are errors: each is a known smuggling vector. Blame and offset are the caller's to set.
[[nodiscard]] Result<std::uint64_t> parse_content_length(std::string_view value) noexcept;

}  // namespace merlon::http
