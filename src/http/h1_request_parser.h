#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "http/h1_head_parser.h"
#include "http/message.h"

namespace merlon::http {

/// Reads the head of one HTTP/1.1 or 1.0 request strictly (RFC 9112 §2 to §6, RFC 9110 §5 to §7).
/// Whatever two implementations are known to read differently is refused. No I/O, no allocation.
///
/// One parser serves a connection: parse() until it returns non-zero, use head(), reset(). After an
/// error the connection cannot be used again: where the next request starts is unknown.
class RequestParser : private HeadParser {
 public:
  explicit RequestParser(const HeadLimits& limits = {}) noexcept;

  /// `data` is everything received since this head began. Between two calls it may grow but not
  /// move, since head() points into it. Bytes after the head are not looked at.
  /// Returns 0 when more is needed, else the length of the head in bytes, its empty line included
  /// (and one empty line before the request line, which RFC 9112 §2.2 lets clients send).
  /// Errors have client blame and the offset of the byte; status_for() gives the answer to send:
  /// 400, 405 (CONNECT), 414, 417, 431, 501 or 505. After one, parse() may not be called again
  /// before reset().
  [[nodiscard]] Result<std::size_t> parse(std::string_view data) noexcept;

  /// True when the client has begun a head (an empty line alone does not count): its timeout is a
  /// 408, and a close is an abort rather than the end of an idle connection.
  [[nodiscard]] bool started() const noexcept { return scanned_ > start_; }

  /// The head, complete once parse() returned non-zero.
  [[nodiscard]] const RequestHead& head() const noexcept { return head_; }
  [[nodiscard]] RequestHead& head() noexcept { return head_; }

  /// Ready for the next head. Views of the last one stay valid as long as its buffer.
  void reset() noexcept;

 private:
  /// An error of a rule, placed where its input stands in the head.
  [[nodiscard]] Result<void> at(const Error& error, std::size_t offset) const noexcept;
  [[nodiscard]] Result<void> skip_empty_line(std::string_view data) noexcept;
  [[nodiscard]] Result<void> check_start_length(std::string_view data) const noexcept;
  [[nodiscard]] Result<void> parse_request_line(const Line& line) noexcept;
  [[nodiscard]] Result<void> parse_version(std::string_view version, std::size_t offset) noexcept;
  [[nodiscard]] Result<void> read_field(const Line& line) noexcept;
  [[nodiscard]] Result<void> judge_host(std::size_t offset) noexcept;
  [[nodiscard]] Result<void> judge_options(std::size_t offset) noexcept;
  [[nodiscard]] Result<void> finish(std::size_t offset) noexcept;

  std::size_t start_ = 0;  ///< 2 after a leading empty line
  RequestHead head_;
};

}  // namespace merlon::http
