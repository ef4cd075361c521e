#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <chrono>

#include "state/entry_hash.h"
#include "state/limit_table.h"

namespace {

using merlon::Instant;
using merlon::IpAddress;
using merlon::nanoseconds;
using merlon::seconds;
using merlon::state::Gcra;
using merlon::state::LimitTable;

constexpr Instant kStart{std::chrono::hours{1}};

/// Visits all of a power of two in an order that no prefetcher guesses.
std::uint32_t scatter(std::uint32_t i, std::uint32_t count) {
  return (i * 2'654'435'761U) & (count - 1);
}

/// Processor time of this thread: a pause of ours, not of a scheduler that gave the core away.
double thread_us() {
  timespec time{};
  static_cast<void>(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time));
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

LimitTable& shared_table() {
  static LimitTable table;
  return table;
}

// Budget: 1.5 us for all policies of a request, so 300 ns for a limit whose entry is not in cache.
void BM_Admit(benchmark::State& state) {
  LimitTable& table = shared_table();
  const auto clients = static_cast<std::uint32_t>(state.range(0));
  const Gcra limit = Gcra::of({.events = 1'000'000, .per = seconds{1}}, 1'000'000);
  const std::uint64_t scope = merlon::state::scope_of("admit");
  std::uint32_t i = static_cast<std::uint32_t>(state.thread_index()) * 7919;
  for (auto _ : state) {
    const IpAddress client = IpAddress::v4(scatter(++i, clients));
    auto taken = table.take(scope, client, limit, kStart + nanoseconds{i * 100ULL});
    benchmark::DoNotOptimize(taken);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Admit)->Arg(1)->Arg(1 << 10)->Arg(1 << 20)->ArgName("clients")->Threads(1)->Threads(2);

// What a flood costs here: each decision is a refusal.
void BM_Refuse(benchmark::State& state) {
  LimitTable& table = shared_table();
  const auto clients = static_cast<std::uint32_t>(state.range(0));
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{3600}}, 1);
  const std::uint64_t scope = merlon::state::scope_of("refuse");
  for (std::uint32_t c = 0; c < clients; ++c)
    static_cast<void>(table.take(scope, IpAddress::v4(c), limit, kStart));
  std::uint32_t i = 0;
  for (auto _ : state) {
    auto taken = table.take(scope, IpAddress::v4(scatter(++i, clients)), limit, kStart);
    benchmark::DoNotOptimize(taken);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Refuse)->Arg(1)->Arg(1 << 20)->ArgName("clients")->Threads(1)->Threads(2);

// 1,000,000 clients are seen for the first time: the longest single decision is the pause.
void BM_MillionNewClients(benchmark::State& state) {
  constexpr std::uint32_t kClients = 1'000'000;
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{60}}, 10);
  double longest_us = 0;
  double coarse = 0;
  double bytes = 0;
  for (auto _ : state) {
    LimitTable table;
    for (std::uint32_t i = 0; i < kClients; ++i) {
      const double from = thread_us();
      auto taken = table.take(1, IpAddress::v4(i * 16), limit, kStart);
      benchmark::DoNotOptimize(taken);
      longest_us = std::max(longest_us, thread_us() - from);
    }
    coarse = static_cast<double>(table.coarse_total());
    bytes = static_cast<double>(table.bytes());
  }
  state.SetItemsProcessed(state.iterations() * kClients);
  state.counters["longest_us"] = longest_us;
  state.counters["counted_with_neighbours"] = coarse;
  state.counters["table_bytes"] = bytes;
}
BENCHMARK(BM_MillionNewClients)->Unit(benchmark::kMillisecond);

}  // namespace
