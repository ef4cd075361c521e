#include "telemetry/access_log.h"

#include <unistd.h>

#include <cstdint>

namespace merlon::telemetry {
namespace {

// Bounds on the escaped form of each text. Names come from the configuration (64 bytes at most);
// what a peer chose is cut where it stops being useful. All together they fit kLineBytesMax.
constexpr std::size_t kIdBytes = 64;
constexpr std::size_t kAddressBytes = 64;
constexpr std::size_t kNameBytes = 128;
constexpr std::size_t kMethodBytes = 64;
constexpr std::size_t kHostBytes = 300;
constexpr std::size_t kPathBytes = 2048;
constexpr std::size_t kPlaceBytes = 512;

void put(JsonLine& line, std::string_view key, std::string_view value, std::size_t max) noexcept {
  if (!value.empty()) line.text(key, value, max);
}

void put(JsonLine& line, std::string_view key, microseconds value) noexcept {
  if (value.count() >= 0) line.number(key, static_cast<std::uint64_t>(value.count()));
}

/// The path is given without its query. Should that ever fail, the query must still not be logged:
/// it carries tokens and personal data.
std::string_view without_query(std::string_view path) noexcept {
  return path.substr(0, path.find('?'));
}

void put_upstream(JsonLine& line, const AccessOutcome& outcome) noexcept {
  if (outcome.upstream.empty()) return;
  line.open("upstream");
  line.text("name", outcome.upstream, kNameBytes);
  put(line, "endpoint", outcome.endpoint, kAddressBytes);
  line.number("attempts", outcome.upstream_attempts);
  put(line, "connect_us", outcome.upstream_connect);
  put(line, "first_byte_us", outcome.upstream_first_byte);
  line.close();
}

void put_tls(JsonLine& line, const AccessRecord& record) noexcept {
  if (record.tls_version.empty()) return;
  line.open("tls");
  line.text("version", record.tls_version, kNameBytes);
  put(line, "cipher", record.tls_cipher, kNameBytes);
  put(line, "server_name", record.tls_server_name, kHostBytes);
  line.boolean("resumed", record.tls_resumed);
  line.close();
}

void put_identity(JsonLine& line, const AccessRecord& record) noexcept {
  if (record.identity_method.empty()) return;
  line.open("identity");
  line.text("method", record.identity_method, kNameBytes);
  put(line, "provider", record.identity_provider, kNameBytes);
  put(line, "subject", record.identity_subject, kIdBytes);
  line.close();
}

void put_refusal(JsonLine& line, std::string_view key,
                 const std::optional<RefusalRecord>& refusal) noexcept {
  if (!refusal) return;
  line.open(key);
  put(line, "step", refusal->step, kNameBytes);
  line.text("rule", refusal->rule, kNameBytes);
  put(line, "line", refusal->line, kPlaceBytes);
  put(line, "class", refusal->limit_class, kNameBytes);
  line.close();
}

}  // namespace

AccessLogWriter::AccessLogWriter(std::size_t ring_bytes, int wakeup_fd)
    : ring_(ring_bytes), wakeup_fd_(wakeup_fd) {}

void AccessLogWriter::write(const AccessRecord& record) noexcept {
  const AccessOutcome& outcome = record.outcome;
  JsonLine line(line_, sizeof line_);
  line.time("time", record.time, timestamp_);
  line.text("kind", "request", kNameBytes);
  put(line, "request_id", record.request_id, kIdBytes);
  put(line, "trace_id", record.trace_id, kIdBytes);
  put(line, "client", record.client, kAddressBytes);
  put(line, "peer", record.peer, kAddressBytes);
  put(line, "listener", record.listener, kNameBytes);
  put(line, "route", record.route, kNameBytes);
  put(line, "method", record.method, kMethodBytes);
  put(line, "host", record.host, kHostBytes);
  put(line, "path", without_query(record.path), kPathBytes);
  put(line, "protocol", record.protocol, kNameBytes);
  put(line, "tunnel", outcome.tunnel, kNameBytes);
  line.number("status", outcome.status);
  if (outcome.grpc_status >= 0)
    line.number("grpc_status", static_cast<std::uint64_t>(outcome.grpc_status));
  line.number("request_body_bytes", record.request_body_bytes);
  line.number("response_body_bytes", record.response_body_bytes);
  put(line, "total_us", record.total);
  put_upstream(line, outcome);
  put_tls(line, record);
  put_identity(line, record);
  put_refusal(line, "refusal", outcome.refusal);
  put_refusal(line, "observed", outcome.observed);
  push(line.finish());
}

void AccessLogWriter::push(std::string_view line) noexcept {
  static_cast<void>(ring_.push(line));
  if (!ring_.wants_wakeup()) return;
  const std::uint64_t one = 1;
  // Full means that a wakeup is pending already; the log thread polls in any case.
  static_cast<void>(!::write(wakeup_fd_, &one, sizeof one));
}

}  // namespace merlon::telemetry
