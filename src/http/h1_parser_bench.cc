#include <benchmark/benchmark.h>

#include <array>
#include <string>
#include <string_view>

#include "http/client_address.h"
#include "http/h1_body.h"
#include "http/h1_request_parser.h"
#include "http/h1_response_parser.h"
#include "http/h1_write.h"
#include "http/host.h"
#include "http/path.h"

namespace merlon::http {
namespace {

// Budget: a head of 200 to 400 bytes is parsed in well under 500 ns.
constexpr std::string_view kSmall =
    "GET /api/v1/orders/4711?expand=items HTTP/1.1\r\nHost: api.example.com\r\n"
    "User-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n"
    "X-Request-Id: 0123456789abcdef\r\n\r\n";
constexpr std::string_view kBrowser =
    "GET /api/v1/orders HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
    "AppleWebKit/537.36\r\n"
    "Accept: application/json, text/plain, */*\r\nOrigin: https://app.example.com\r\n"
    "Referer: https://app.example.com/\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n\r\n";
constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 10 Oct 2026 10:00:00 GMT\r\n"
    "Content-Type: application/json\r\nContent-Length: 128\r\nConnection: keep-alive\r\n"
    "Cache-Control: no-store\r\nETag: \"abc\"\r\n\r\n";

void parse_request(benchmark::State& state, std::string_view raw) {
  RequestParser parser;
  for (auto _ : state) {
    parser.reset();
    benchmark::DoNotOptimize(raw.data());
    auto length = parser.parse(raw);
    benchmark::DoNotOptimize(length);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(raw.size()));
}
BENCHMARK_CAPTURE(parse_request, small, kSmall);
BENCHMARK_CAPTURE(parse_request, browser, kBrowser);

// The worst cutting must stay linear: time per byte does not grow with the head.
void parse_request_bytewise(benchmark::State& state) {
  const std::string raw = "GET / HTTP/1.1\r\nHost: a\r\nX: " +
                          std::string(static_cast<std::size_t>(state.range(0)), 'y') + "\r\n\r\n";
  RequestParser parser;
  for (auto _ : state) {
    parser.reset();
    for (std::size_t n = 1; n <= raw.size(); ++n) {
      auto length = parser.parse(std::string_view(raw).substr(0, n));
      benchmark::DoNotOptimize(length);
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(raw.size()));
}
BENCHMARK(parse_request_bytewise)->Arg(1000)->Arg(15000)->ArgName("bytes");

void parse_response(benchmark::State& state) {
  ResponseParser parser;
  for (auto _ : state) {
    parser.reset({});
    auto length = parser.parse(kAnswer);
    benchmark::DoNotOptimize(length);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kAnswer.size()));
}
BENCHMARK(parse_response);

void read_path(benchmark::State& state, std::string_view raw) {
  std::array<char, 256> scratch;
  for (auto _ : state) {
    benchmark::DoNotOptimize(raw.data());
    auto path = canonical_path(raw, scratch);
    benchmark::DoNotOptimize(path);
  }
}
BENCHMARK_CAPTURE(read_path, plain, std::string_view("/api/v1/orders/4711"));
BENCHMARK_CAPTURE(read_path, encoded, std::string_view("/api/v1/%6frders/a%20b"));

void read_host(benchmark::State& state) {
  std::array<char, kHostBytesMax> scratch;
  std::string_view raw = "api.example.com";
  for (auto _ : state) {
    benchmark::DoNotOptimize(raw.data());
    auto host = canonical_host(raw, scratch);
    benchmark::DoNotOptimize(host);
  }
}
BENCHMARK(read_host);

void write_request(benchmark::State& state) {
  RequestParser parser;
  if (!parser.parse(kBrowser)) state.SkipWithError("head does not parse");
  std::array<char, 4096> out;
  for (auto _ : state) {
    HeadWriter writer(out);
    writer.request_line("GET", parser.head().target.path, {}, false);
    for (const Field& field : parser.head().fields) writer.field(field.name, field.value);
    writer.end();
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(write_request);

void decode_chunks(benchmark::State& state) {
  std::string raw;
  for (int i = 0; i < 16; ++i) raw += "400\r\n" + std::string(1024, 'x') + "\r\n";
  raw += kLastChunk;
  ChunkedDecoder decoder;
  for (auto _ : state) {
    decoder.reset(Blame::kClient);
    for (std::string_view rest = raw; !decoder.done();) {
      auto step = decoder.next(rest);
      benchmark::DoNotOptimize(step);
      if (!step) break;
      rest.remove_prefix(step->consumed);
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(raw.size()));
}
BENCHMARK(decode_chunks);

}  // namespace
}  // namespace merlon::http
