#include <benchmark/benchmark.h>

#include <array>
#include <thread>

#include "gateway/door.h"
#include "http/h1_write.h"
#include "http/ip_text.h"
#include "telemetry/access_log.h"
#include "telemetry/events.h"
#include "telemetry/log_sink.h"
#include "telemetry/request_id.h"

namespace merlon::gateway {
namespace {

using http::FieldId;

/// The fields of an ordinary JSON answer, as an upstream gives them.
void set_upstream_fields(http::ResponseHead& head) {
  head.status = 200;
  head.fields.clear();
  head.fields.add("Server", "upstream/1.0", FieldId::kServer);
  head.fields.add("Date", "Sun, 06 Nov 1994 08:49:37 GMT", FieldId::kDate);
  head.fields.add("Content-Type", "application/json", FieldId::kContentType);
  head.fields.add("Cache-Control", "no-store", FieldId::kCacheControl);
  head.fields.add("ETag", "\"5d8c72a5edda8\"");
}

std::size_t write_head(const http::ResponseHead& head, std::span<char> out) {
  http::HeadWriter writer(out);
  writer.status_line(head.status);
  for (const http::Field& field : head.fields) writer.field(field.name, field.value);
  writer.end();
  return writer.size();
}

telemetry::AccessRecord record_of(std::string_view id, std::string_view client) {
  return {.time = std::chrono::system_clock::now(),
          .request_id = id,
          .client = client,
          .peer = "198.51.100.7:50123",
          .listener = "public",
          .route = "orders",
          .method = "GET",
          .host = "api.example.com",
          .path = "/api/v1/orders/0123456789/items",
          .protocol = "HTTP/1.1",
          .response_body_bytes = 1009,
          .total = microseconds{150},
          .tls_version = "TLSv1.3",
          .tls_cipher = "TLS_AES_256_GCM_SHA384",
          .tls_server_name = "api.example.com",
          .outcome = {.status = 200,
                      .upstream_attempts = 1,
                      .upstream_first_byte = microseconds{90},
                      .upstream = "orders",
                      .endpoint = "10.0.0.11:8443"}};
}

/// An answer's head as the upstream gave it, written out: neither door nor log.
void BM_Answer_bare(benchmark::State& state) {
  http::ResponseHead head;
  std::array<char, 4096> out;
  for (auto _ : state) {
    set_upstream_fields(head);
    benchmark::DoNotOptimize(write_head(head, out));
  }
}
BENCHMARK(BM_Answer_bare)->Name("BM_Answer/bare")->MeasureProcessCPUTime();

// A worker writes lines at the pace of requests. Here they come without a pause, so there is one
// after a quarter of the ring, longer than the log thread's own: it sleeps, and costs no CPU time.
constexpr std::size_t kBurstLines = 8192;
constexpr milliseconds kPause{60};

// Budget: 1.5 us more than bare, the log thread's share included (CPU time of the process): request
// id, the door with all its fields, the longer head, and one line in the access log.
void BM_Answer_dressed_and_logged(benchmark::State& state) {
  const auto broker = io::make_local_broker();
  const SystemClock clock;
  auto events = *telemetry::EventLog::open(*broker, clock, {.target = "/dev/null"});
  auto sink =
      *telemetry::LogSink::open(*broker, *events, {.target = "/dev/null", .ring_bytes = 1U << 24U});
  telemetry::IdGenerator ids;
  const IpAddress client = *IpAddress::parse("198.51.100.7");
  http::ResponseHead head;
  std::array<char, 4096> out;
  std::size_t lines = 0;
  for (auto _ : state) {
    const auto id = ids.next();
    set_upstream_fields(head);
    dress(head, {.route = nullptr,
                 .secure = true,
                 .request_id = id.view(),
                 .date = "Sun, 06 Nov 1994 08:49:37 GMT"});
    benchmark::DoNotOptimize(write_head(head, out));
    const http::IpText address(client);
    sink->writer(0).write(record_of(id.view(), address.view()));
    if (++lines % kBurstLines == 0) std::this_thread::sleep_for(kPause);
  }
  // Lines that are dropped cost less: with any, the figure says too little.
  if (sink->dropped() > 0) state.SkipWithError("the log thread did not keep up");
}
BENCHMARK(BM_Answer_dressed_and_logged)
    ->Name("BM_Answer/dressed_and_logged")
    ->MeasureProcessCPUTime()
    ->Iterations(25 * kBurstLines);

}  // namespace
}  // namespace merlon::gateway
