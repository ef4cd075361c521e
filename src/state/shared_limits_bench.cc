#include <benchmark/benchmark.h>

#include <charconv>
#include <cstdlib>
#include <memory>
#include <string>

#include "state/entry_hash.h"
#include "state/shared_limits.h"

// A leased shared limit may cost 0.5 us a request over a local one: compare BM_Leased, which takes
// its leases and has them renewed, with BM_Local; BM_Lease is a lease in hand alone. BM_Redis
// drives the limiter without HTTP; 60,000 decisions a second and core are wanted. BM_Leased and
// BM_Redis ask a server on loopback whose port is in MERLON_BENCH_REDIS. Their own processor time
// is CPU; that of Redis is not in it.
namespace {

using merlon::Instant;
using merlon::IpAddress;
using merlon::nanoseconds;
using merlon::seconds;
using namespace merlon::state;

constexpr Instant kStart{std::chrono::hours{1}};

void BM_Local(benchmark::State& state) {
  LimitTable table;
  const IpAddress client = *IpAddress::parse("192.0.2.1");
  const Gcra limit{.interval = nanoseconds{1'000}, .burst = 1'000'000};
  Instant now = kStart;
  for (auto _ : state) {
    now += nanoseconds{1'000};
    benchmark::DoNotOptimize(table.take(7, client, limit, now));
  }
}
BENCHMARK(BM_Local);

void BM_Lease(benchmark::State& state) {
  SharedNode node;
  const IpAddress client = *IpAddress::parse("192.0.2.1");
  std::uint32_t left = 0;
  for (auto _ : state) {
    const std::uint64_t hash = entry_hash(node.hash(), 7, client);
    if (left-- == 0) {
      node.leases().grant(hash, 1'000, kStart + seconds{1}, 5'000);
      left = 1'000;
    }
    benchmark::DoNotOptimize(node.leases().spend(hash, kStart));
  }
}
BENCHMARK(BM_Lease);

/// A worker's limiter with a loop of its own.
struct Bench {
  explicit Bench(std::uint16_t port) {
    auto redis = std::make_shared<redis::Settings>();
    redis->endpoints = {{.address = *IpAddress::parse("127.0.0.1"), .port = port}};
    redis->timeout = seconds{2};
    auto settings = std::make_shared<SharedSettings>();
    settings->redis = redis;
    limits =
        std::make_unique<SharedLimits>(loop, *broker, settings, node, local, *events, counters);
    limits->start();
  }
  ~Bench() {
    limits->close();
    while (!limits->is_closed()) loop.turn(merlon::milliseconds{10});
  }

  merlon::SystemClock clock;
  merlon::io::Loop loop{clock};
  std::unique_ptr<merlon::io::Broker> broker = merlon::io::make_local_broker();
  std::unique_ptr<merlon::telemetry::EventLog> events =
      std::move(*merlon::telemetry::EventLog::open(*broker, clock, {.target = "-"}));
  SharedNode node;
  LimitTable local;
  merlon::telemetry::SharedCounters counters;
  std::unique_ptr<SharedLimits> limits;
  std::uint64_t decided = 0;
};

merlon::io::Task<void> decide(Bench& bench, const SharedRule& rule, LimitedParty party) {
  const SharedAnswer answer = co_await bench.limits->take(rule, party);
  bench.decided += answer.by == SharedAnswer::By::kRedis && answer.admitted ? 1 : 0;
}

/// 0, and the benchmark is skipped, when the environment names none.
std::uint16_t redis_port(benchmark::State& state) {
  const char* text = std::getenv("MERLON_BENCH_REDIS");
  if (text == nullptr) state.SkipWithError("MERLON_BENCH_REDIS names no port");
  return text == nullptr ? std::uint16_t{0} : static_cast<std::uint16_t>(std::atoi(text));
}

/// A thousand clients that three nodes share a limit for; each has its lease, of 51 requests.
void BM_Leased(benchmark::State& state) {
  const std::uint16_t port = redis_port(state);
  if (port == 0) return;
  Bench bench(port);
  SharedRule rule;
  rule.gcra = {.interval = nanoseconds{10'000}, .burst = 1'200};
  rule.lease = lease_of(rule.gcra.burst, 3);
  rule.on_failure = OnFailure::kClosed;
  merlon::io::TaskSet tasks;
  std::uint32_t next = 0;
  std::uint64_t spent = 0;
  const auto settle = [&] {
    bench.loop.turn(merlon::milliseconds{0});
    // Waits asleep: what is counted is work.
    while (!tasks.empty()) bench.loop.turn(merlon::milliseconds{10});
  };
  for (auto _ : state) {
    const LimitedParty party{.scope = 1,
                             .by_name = false,
                             .client = IpAddress::v4(0xc6120000U + next++ % 1'000),
                             .name = {}};
    if (bench.limits->spend(rule, party, bench.loop.now())) {
      ++spent;
    } else {
      tasks.spawn(decide(bench, rule, party));
    }
    if (next % 64 == 0) settle();
  }
  settle();
  state.counters["of_leases"] = static_cast<double>(spent) / next;
  state.counters["admitted"] = static_cast<double>(spent + bench.decided) / next;
}
BENCHMARK(BM_Leased);

void BM_Redis(benchmark::State& state) {
  const std::uint16_t port = redis_port(state);
  if (port == 0) return;
  Bench bench(port);
  SharedRule rule;
  rule.gcra = {.interval = nanoseconds{100'000}, .burst = 1'000};
  rule.on_failure = OnFailure::kClosed;
  merlon::io::TaskSet tasks;
  std::uint64_t next = 0;
  for (auto _ : state) {
    // As many as a busy worker has under way at a time.
    for (int i = 0; i < 64; ++i) {
      const auto client = static_cast<std::uint32_t>(0xc6130000U + next++ % 10'000);
      tasks.spawn(
          decide(bench, rule,
                 {.scope = 1, .by_name = false, .client = IpAddress::v4(client), .name = {}}));
    }
    while (!tasks.empty()) bench.loop.turn(merlon::milliseconds{10});
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(bench.decided));
}
BENCHMARK(BM_Redis)->UseRealTime();

}  // namespace
