#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "telemetry/json_text.h"
#include "telemetry/line_ring.h"

namespace merlon::telemetry {

class LogSink;

/// Why a request was refused: what the log, the metric and `merlon explain` say alike.
struct RefusalRecord {
  std::string_view step{};         ///< of the request's way, such as "framing" or "rate_limit"
  std::string_view rule{};         ///< merlon::rule_name(code)
  std::string_view line{};         ///< "file:line" of the configuration; empty when no line decided
  std::string_view limit_class{};  ///< the class of a limit that applied; empty: none
};

/// What is noted of a request while it is on its way; the rest of its record is known at its end.
/// Small, since every request begins with a new one, which leaves what is optional unwritten.
struct AccessOutcome {
  /// Sent to the client; 0 when the connection ended before. Of a gRPC call that was refused, what
  /// it would be over plain HTTP.
  std::uint16_t status = 0;
  std::int16_t grpc_status = -1;  ///< of a gRPC call; negative: it is none, or none was seen
  std::uint32_t upstream_attempts = 0;
  microseconds upstream_connect{-1};     ///< negative: no connection was made for it
  microseconds upstream_first_byte{-1};  ///< request sent to the head of the answer
  std::string_view upstream{};
  std::string_view endpoint{};              ///< that answered, or was tried last
  std::string_view tunnel{};                ///< "websocket" once a tunnel opened; static
  std::optional<RefusalRecord> refusal{};   ///< empty: not refused
  std::optional<RefusalRecord> observed{};  ///< what a policy that only observes would have refused
};

/// One request, as it is logged. Views are read during `write` only. Empty texts, and times that
/// are negative, are left out of the line.
///
/// What must never be logged has no place here: no field values, no bodies, no query.
struct AccessRecord {
  WallTime time{};                ///< of the end of the request
  std::string_view request_id{};  ///< our own; of a trace that begins here, its id as well
  std::string_view trace_id{};    ///< of the client's trace; empty: it sent none
  std::string_view client{};      ///< address that policies used
  std::string_view peer{};        ///< address and port of the connection
  std::string_view listener{};
  std::string_view route{};
  std::string_view method{};
  std::string_view host{};
  std::string_view path{};      ///< without the query: whatever follows a '?' is not logged
  std::string_view protocol{};  ///< "HTTP/1.1", "HTTP/2"
  std::uint64_t request_body_bytes = 0;
  std::uint64_t response_body_bytes = 0;
  microseconds total{0};           ///< the head was complete to last byte of the answer
  std::string_view tls_version{};  ///< empty: the connection had no TLS
  std::string_view tls_cipher{};
  std::string_view tls_server_name{};
  bool tls_resumed = false;
  std::string_view identity_method{};    ///< empty: nobody is known
  std::string_view identity_provider{};  ///< name in the configuration
  std::string_view identity_subject{};   ///< a pseudonym, never the subject itself
  AccessOutcome outcome{};
};

/// One worker's end of the access log. Formats into the worker's ring: no allocation, no lock, no
/// system call but a wakeup when the ring becomes half full. Budget: 400 ns a line.
///
/// When the log thread cannot keep up (disk full, a stuck pipe), lines are dropped whole and
/// counted. Belongs to a LogSink; one thread.
class AccessLogWriter {
 public:
  AccessLogWriter(std::size_t ring_bytes, int wakeup_fd);

  void write(const AccessRecord& record) noexcept;

  /// Lines dropped since the start. Any thread.
  [[nodiscard]] std::uint64_t dropped() const noexcept { return ring_.dropped(); }

 private:
  friend class LogSink;
  void push(std::string_view line) noexcept;

  /// The longest line: all members at their bounds, with room to spare (a test holds it).
  static constexpr std::size_t kLineBytesMax = 8 * 1024;

  LineRing ring_;
  const int wakeup_fd_;
  JsonLine::Timestamp timestamp_;
  char line_[kLineBytesMax];
};

}  // namespace merlon::telemetry
