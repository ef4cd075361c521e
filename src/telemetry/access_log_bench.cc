#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include <filesystem>

#include "telemetry/access_log.h"
#include "telemetry/events.h"
#include "telemetry/log_sink.h"
#include "telemetry/request_id.h"

namespace merlon::telemetry {
namespace {

AccessRecord typical_record(std::string_view path) {
  return {.time = std::chrono::system_clock::now(),
          .request_id = "0123456789abcdef0123456789abcdef",
          .trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
          .client = "198.51.100.7",
          .peer = "198.51.100.7:50123",
          .listener = "public",
          .route = "orders",
          .method = "GET",
          .host = "api.example.com",
          .path = path,
          .protocol = "HTTP/1.1",
          .response_body_bytes = 12'345,
          .total = microseconds{1500},
          .tls_version = "TLSv1.3",
          .tls_cipher = "TLS_AES_256_GCM_SHA384",
          .tls_server_name = "api.example.com",
          .tls_resumed = true,
          .outcome = {.status = 200,
                      .upstream_attempts = 1,
                      .upstream_first_byte = microseconds{900},
                      .upstream = "orders",
                      .endpoint = "10.0.0.11:8443"}};
}

// Budget: 400 ns a line, with the log thread writing what is formatted.
void BM_AccessLogLine(benchmark::State& state, std::string_view path) {
  const auto broker = io::make_local_broker();
  const SystemClock clock;
  auto events = *EventLog::open(*broker, clock, {.target = "/dev/null"});
  auto sink = *LogSink::open(*broker, *events, {.target = "/dev/null", .ring_bytes = 1U << 24U});
  AccessRecord record = typical_record(path);
  for (auto _ : state) {
    record.time += microseconds{13};
    sink->writer(0).write(record);
  }
  state.counters["dropped"] = static_cast<double>(sink->dropped());
}
BENCHMARK_CAPTURE(BM_AccessLogLine, clean, "/api/v1/orders/0123456789/items");
BENCHMARK_CAPTURE(BM_AccessLogLine, hostile, "/api/\x01\xff\"v1\"/\xc3\xbc/0123456789/items");

// Budget: 50 ns, since each request takes one.
void BM_RequestId(benchmark::State& state) {
  IdGenerator ids;
  for (auto _ : state) benchmark::DoNotOptimize(ids.next());
}
BENCHMARK(BM_RequestId);

}  // namespace
}  // namespace merlon::telemetry
