#pragma once

#include <cstddef>
#include <string_view>

#include "base/error.h"
#include "http/h1_head_parser.h"
#include "http/message.h"

namespace merlon::http {

/// What of a request decides how its response is framed (RFC 9112 §6.3).
struct ResponseContext {
  Method method = Method::kGet;  ///< an answer to HEAD has no body
  bool upgrade_asked = false;    ///< only then may a 101 come
};

/// Reads the heads of one HTTP/1.1 or 1.0 response as strictly as RequestParser reads requests. The
/// upstream is not trusted: what it splits or smuggles would reach the client.
///
/// Interim heads (1xx) are returned like others: call reset() with the same context and go on with
/// the bytes after them. How many to bear is the caller's to bound.
class ResponseParser : private HeadParser {
 public:
  explicit ResponseParser(const ResponseContext& context = {},
                          const HeadLimits& limits = {.head_bytes_max = 32 * 1024}) noexcept;

  /// As RequestParser::parse(). Errors have upstream blame: status_for() says 502. An empty line
  /// before the status line is an error.
  [[nodiscard]] Result<std::size_t> parse(std::string_view data) noexcept;

  [[nodiscard]] const ResponseHead& head() const noexcept { return head_; }
  [[nodiscard]] ResponseHead& head() noexcept { return head_; }
  /// True when some byte of a head has been read.
  [[nodiscard]] bool started() const noexcept { return scanned_ > 0; }

  /// Ready for the next head, of the same request after an interim one or of another.
  void reset(const ResponseContext& context) noexcept;

 private:
  [[nodiscard]] Result<void> parse_status_line(const Line& line) noexcept;
  [[nodiscard]] Result<void> judge_last_field(const Line& line) noexcept;
  [[nodiscard]] Result<void> judge_framing(std::size_t offset) noexcept;
  [[nodiscard]] Result<void> judge_upgrade(bool upgrade_option, std::size_t offset) noexcept;
  [[nodiscard]] Result<void> finish(std::size_t offset) noexcept;

  ResponseContext context_;
  ResponseHead head_;
};

}  // namespace merlon::http
