#include "state/limit_table.h"

#include <gtest/gtest.h>

#include <barrier>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "state/auth_budget.h"
#include "state/entry_hash.h"

namespace merlon::state {
namespace {

constexpr Instant kStart{std::chrono::hours{1}};

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

/// A table of 15 clients and as few coarse slots as the test wants.
LimitTableSize tiny(std::size_t coarse_slots = 64) {
  return {.client_sets = 1, .name_sets = 1, .coarse_slots = coarse_slots};
}

std::size_t admitted_of(LimitTable& table, std::uint64_t scope, const IpAddress& client,
                        const Gcra& limit, Instant now, std::size_t attempts) {
  std::size_t admitted = 0;
  for (std::size_t i = 0; i < attempts; ++i)
    admitted += table.take(scope, client, limit, now).admitted ? 1 : 0;
  return admitted;
}

TEST(Gcra, RoundsTheIntervalUp) {
  EXPECT_EQ(Gcra::of({.events = 10, .per = seconds{1}}, 5).interval, milliseconds{100});
  EXPECT_EQ(Gcra::of({.events = 3, .per = seconds{1}}, 5).interval, nanoseconds{333'333'334});
  EXPECT_EQ(Gcra::of({.events = 1, .per = seconds{60}}, 5).tolerance(), seconds{300});
}

TEST(LimitTable, AdmitsTheBurstAtOnceAndThenTheRate) {
  LimitTable table(tiny());
  const Gcra limit = Gcra::of({.events = 10, .per = seconds{1}}, 20);
  const std::uint64_t scope = scope_of("orders");
  for (unsigned i = 0; i < 20; ++i) {
    const Taken taken = table.take(scope, ip("192.0.2.1"), limit, kStart);
    ASSERT_TRUE(taken.admitted) << i;
    EXPECT_EQ(taken.remaining(limit), 19 - i);
    EXPECT_EQ(taken.wait, milliseconds{100} * i) << "a limit that delays lets one out each 100 ms";
  }
  const Taken refused = table.take(scope, ip("192.0.2.1"), limit, kStart);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.retry_after, milliseconds{100});
  EXPECT_EQ(refused.remaining(limit), 0U);
  // A refused request costs the client nothing, or it would never get in again.
  EXPECT_FALSE(
      table.take(scope, ip("192.0.2.1"), limit, kStart + milliseconds{100} - nanoseconds{1})
          .admitted);
  EXPECT_TRUE(table.take(scope, ip("192.0.2.1"), limit, kStart + milliseconds{100}).admitted);
  EXPECT_FALSE(table.take(scope, ip("192.0.2.1"), limit, kStart + milliseconds{100}).admitted);
}

TEST(LimitTable, PeekTellsWhatTakeWouldAndCountsNothing) {
  LimitTable table(tiny());
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{1}}, 2);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(table.peek(7, ip("192.0.2.1"), limit, kStart).admitted);
  ASSERT_EQ(admitted_of(table, 7, ip("192.0.2.1"), limit, kStart, 3), 2U);
  const Taken seen = table.peek(7, ip("192.0.2.1"), limit, kStart);
  EXPECT_FALSE(seen.admitted);
  EXPECT_EQ(seen.retry_after, seconds{1});
}

TEST(LimitTable, A72_AnIpv6ClientIsItsSlash64) {
  LimitTable table;
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{1}}, 5);
  std::size_t admitted = 0;
  for (std::uint8_t i = 0; i < 100; ++i) {
    std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1};
    bytes[15] = i;
    bytes[8] = static_cast<std::uint8_t>(i * 7);
    admitted += table.take(1, IpAddress::v6(bytes), limit, kStart).admitted ? 1 : 0;
  }
  EXPECT_EQ(admitted, 5U);
  EXPECT_TRUE(table.take(1, ip("2001:db8:0:2::1"), limit, kStart).admitted) << "another /64";
}

TEST(LimitTable, ScopesClientsAndNamesAreApart) {
  LimitTable table;
  const Gcra one = Gcra::of({.events = 1, .per = seconds{60}}, 1);
  EXPECT_TRUE(table.take(scope_of("a"), ip("192.0.2.1"), one, kStart).admitted);
  EXPECT_FALSE(table.take(scope_of("a"), ip("192.0.2.1"), one, kStart).admitted);
  EXPECT_TRUE(table.take(scope_of("b"), ip("192.0.2.1"), one, kStart).admitted);
  EXPECT_TRUE(table.take(scope_of("a"), ip("192.0.2.2"), one, kStart).admitted);
  EXPECT_TRUE(table.take(scope_of("a"), "route", one, kStart).admitted);
  EXPECT_FALSE(table.take(scope_of("a"), "route", one, kStart).admitted);
  const std::string long_name(5000, 'x');
  EXPECT_TRUE(table.take(scope_of("a"), long_name, one, kStart).admitted);
  EXPECT_FALSE(table.take(scope_of("a"), long_name, one, kStart).admitted);
  EXPECT_TRUE(table.take(scope_of("a"), long_name + "y", one, kStart).admitted);
}

TEST(LimitTable, AClockThatLooksBackOnlyJudgesMoreStrictly) {
  LimitTable table(tiny());
  const Gcra limit = Gcra::of({.events = 10, .per = seconds{1}}, 3);
  ASSERT_EQ(admitted_of(table, 1, ip("192.0.2.1"), limit, kStart, 9), 3U);
  EXPECT_EQ(admitted_of(table, 1, ip("192.0.2.1"), limit, kStart - seconds{1}, 9), 0U);
  EXPECT_EQ(admitted_of(table, 1, ip("192.0.2.1"), limit, kStart + milliseconds{100}, 9), 1U);
}

// ---- A set that is full. ----

TEST(LimitTable, LiveEntriesAreNeverEvicted) {
  LimitTable table(tiny());
  const std::size_t bytes = table.bytes();
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{60}}, 1);
  for (std::uint32_t i = 0; i < 15; ++i)
    ASSERT_TRUE(table.take(1, IpAddress::v4(0xc0000200 + (i << 8)), limit, kStart).admitted);
  // An attacker with a million addresses tries to wash the others' counts out.
  for (std::uint32_t i = 0; i < 1'000'000; ++i)
    static_cast<void>(table.take(1, IpAddress::v4(0x0a000000 + i * 3), limit, kStart));
  for (std::uint32_t i = 0; i < 15; ++i)
    EXPECT_FALSE(table.take(1, IpAddress::v4(0xc0000200 + (i << 8)), limit, kStart).admitted) << i;
  EXPECT_EQ(table.live(kStart), 15U);
  EXPECT_EQ(table.bytes(), bytes);
  EXPECT_GE(table.coarse_total(), 1'000'000U);
}

TEST(LimitTable, AFullSetCountsNeighboursTogether) {
  LimitTable table(tiny(1U << 16));
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{60}}, 4);
  for (std::uint32_t i = 0; i < 15; ++i)
    static_cast<void>(table.take(1, IpAddress::v4(0x0a000000 + (i << 16)), limit, kStart));
  std::size_t admitted = 0;
  for (std::uint32_t i = 0; i < 256; ++i)
    admitted += table.take(1, IpAddress::v4(0xc6336400 + i), limit, kStart).admitted ? 1 : 0;
  EXPECT_EQ(admitted, 4U) << "198.51.100.0/24 is one client now";
  EXPECT_TRUE(table.take(1, ip("203.0.113.1"), limit, kStart).coarse);
  EXPECT_TRUE(table.take(1, ip("203.0.113.1"), limit, kStart).admitted) << "another /24";
  admitted = 0;
  for (std::uint32_t i = 0; i < 64; ++i) {
    std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8};
    bytes[7] = static_cast<std::uint8_t>(i);
    admitted += table.take(1, IpAddress::v6(bytes), limit, kStart).admitted ? 1 : 0;
  }
  EXPECT_EQ(admitted, 4U) << "2001:db8::/48 is one client now";
  EXPECT_FALSE(table.peek(1, ip("198.51.100.7"), limit, kStart).admitted);
}

TEST(LimitTable, AFloodOfIpv6CannotTouchIpv4OrNames) {
  LimitTable table({.client_sets = 1, .name_sets = 1, .coarse_slots = 16});
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{60}}, 1);
  for (std::uint32_t i = 0; i < 4000; ++i) {
    std::array<std::uint8_t, 16> bytes{0x20, 0x01, 0x0d, 0xb8};
    bytes[4] = static_cast<std::uint8_t>(i >> 8);
    bytes[5] = static_cast<std::uint8_t>(i);
    static_cast<void>(table.take(1, IpAddress::v6(bytes), limit, kStart));
  }
  EXPECT_FALSE(table.take(1, ip("2001:db9::1"), limit, kStart).admitted) << "v6 is exhausted";
  EXPECT_TRUE(table.take(1, ip("192.0.2.1"), limit, kStart).admitted);
  EXPECT_TRUE(table.take(1, "route", limit, kStart).admitted);
}

TEST(LimitTable, EntriesWhoseTimeHasPassedMakeRoom) {
  LimitTable table(tiny());
  const Gcra limit = Gcra::of({.events = 1, .per = seconds{1}}, 1);
  for (std::uint32_t round = 0; round < 50; ++round) {
    const Instant now = kStart + seconds{round};
    for (std::uint32_t i = 0; i < 15; ++i) {
      const Taken taken = table.take(1, IpAddress::v4(0x0a000000 + round * 256 + i), limit, now);
      EXPECT_TRUE(taken.admitted);
      EXPECT_FALSE(taken.coarse);
    }
    EXPECT_TRUE(table.take(1, ip("198.51.100.1"), limit, now).coarse);
  }
}

// ---- Against an oracle. ----

/// The same algorithm over a map that keeps everything.
class Oracle {
 public:
  bool take(std::uint32_t client, const Gcra& limit, Instant now) {
    Instant& arrival = arrivals_[client];
    const Instant next = std::max(arrival, now) + limit.interval;
    if (next - now > limit.tolerance()) return false;
    arrival = next;
    return true;
  }

 private:
  std::map<std::uint32_t, Instant> arrivals_;
};

TEST(LimitTable, AgreesWithAnOracleThatForgetsNothing) {
  std::mt19937_64 random(20240611);
  for (int run = 0; run < 40; ++run) {
    LimitTable table({.client_sets = 64, .name_sets = 1, .coarse_slots = 64});
    Oracle oracle;
    const Gcra limit =
        Gcra::of({.events = 1 + random() % 50, .per = seconds{1}}, 1 + random() % 12);
    Instant now = kStart;
    std::size_t compared = 0;
    for (int i = 0; i < 20'000; ++i) {
      now += nanoseconds{static_cast<std::int64_t>(random() % 2'000'000)};
      const auto client = static_cast<std::uint32_t>(random() % 200);
      const Taken taken = table.take(3, IpAddress::v4(client), limit, now);
      ASSERT_FALSE(taken.coarse);
      ASSERT_EQ(taken.admitted, oracle.take(client, limit, now)) << "run " << run << " at " << i;
      ++compared;
    }
    EXPECT_EQ(compared, 20'000U);
  }
}

TEST(LimitTable, A78_NoSpanAdmitsMoreThanBurstAndRate) {
  std::mt19937_64 random(78);
  const Gcra limit = Gcra::of({.events = 10, .per = seconds{1}}, 5);
  LimitTable table(tiny());
  std::vector<Instant> admitted;
  Instant now = kStart;
  for (int i = 0; i < 4000; ++i) {
    // Long pauses and volleys, as someone would send who knows where windows end.
    now += nanoseconds{static_cast<std::int64_t>(random() % 8 == 0 ? random() % 1'500'000'000
                                                                   : random() % 3'000'000)};
    if (table.take(1, ip("192.0.2.1"), limit, now).admitted) admitted.push_back(now);
  }
  ASSERT_GT(admitted.size(), 300U);
  for (std::size_t from = 0; from < admitted.size(); ++from) {
    for (std::size_t to = from; to < admitted.size(); ++to) {
      const nanoseconds span = admitted[to] - admitted[from];
      ASSERT_LE(to - from + 1, static_cast<std::size_t>(5 + span / limit.interval));
    }
  }
}

// ---- Under contention. ----

constexpr std::size_t kThreads = 4;

TEST(LimitTable, IsExactUnderContention) {
  constexpr std::uint32_t kClients = 24;
  constexpr std::size_t kRounds = 60;
  const Gcra limit = Gcra::of({.events = 1, .per = milliseconds{1}}, 10);
  // Two sets: new clients are put in beside each other all the time, with dead entries to take.
  LimitTable table({.client_sets = 2, .name_sets = 1, .coarse_slots = 1024}, KeyedHash(1, 2));
  std::array<std::array<std::atomic<std::size_t>, kClients>, kRounds> admitted{};
  std::array<std::atomic<std::size_t>, kRounds> on_route{};
  std::barrier rounds(static_cast<std::ptrdiff_t>(kThreads));
  const auto work = [&](std::size_t thread) {
    for (std::size_t round = 0; round < kRounds; ++round) {
      rounds.arrive_and_wait();
      // Each round refills 3 of the 10; every tenth all of it, and then entries are dead.
      const Instant now = kStart + milliseconds{3 * round} + milliseconds{50 * (round / 10)};
      for (std::uint32_t i = 0; i < kClients * 15; ++i) {
        const auto client = static_cast<std::uint32_t>((i + thread * 7) % kClients);
        if (table.take(1, IpAddress::v4(client << 8), limit, now).admitted)
          admitted[round][client].fetch_add(1);
        if (table.take(1, "route", limit, now).admitted) on_route[round].fetch_add(1);
      }
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  threads.clear();
  ASSERT_EQ(table.coarse_total(), 0U);
  for (std::size_t round = 0; round < kRounds; ++round) {
    const std::size_t want = round % 10 == 0 ? 10U : 3U;
    for (std::size_t client = 0; client < kClients; ++client)
      EXPECT_EQ(admitted[round][client].load(), want) << "round " << round << " of " << client;
    EXPECT_EQ(on_route[round].load(), want) << "round " << round;
  }
}

TEST(LimitTable, NewClientsAreCountedOnceHoweverManyThreadsSeeThemFirst) {
  constexpr std::uint32_t kClients = 20'000;
  const Gcra once = Gcra::of({.events = 1, .per = milliseconds{1}}, 1);
  LimitTable table({.client_sets = 4, .name_sets = 1, .coarse_slots = 64});
  std::vector<std::atomic<std::uint32_t>> admitted(kClients);
  std::barrier step(static_cast<std::ptrdiff_t>(kThreads));
  const auto work = [&] {
    for (std::uint32_t client = 0; client < kClients; ++client) {
      if (client % 32 == 0) step.arrive_and_wait();
      // 32 clients a millisecond into 60 slots: the former ones are dead and are put out.
      const Instant now = kStart + milliseconds{client / 32 * 2};
      if (table.take(1, IpAddress::v4(client << 8), once, now).admitted)
        admitted[client].fetch_add(1);
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) threads.emplace_back(work);
  threads.clear();
  std::uint32_t wrong = 0;
  for (const auto& count : admitted) wrong += count.load() == 1 ? 0 : 1;
  // Clients that met a full set share a coarse slot and may be refused; none is admitted twice.
  for (const auto& count : admitted) ASSERT_LE(count.load(), 1U);
  EXPECT_LE(wrong, table.coarse_total());
}

// ---- The budget of failed authentications. ----

TEST(AuthBudget, IsSpentByFailuresAndComesBack) {
  LimitTable table;
  AuthBudget budget(table);
  const IpAddress client = ip("192.0.2.1");
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(budget.check(client, kStart).admitted) << i;
    budget.failed(client, kStart);
  }
  const Taken spent = budget.check(client, kStart);
  EXPECT_FALSE(spent.admitted);
  EXPECT_EQ(spent.retry_after, seconds{6});
  EXPECT_TRUE(budget.check(ip("192.0.2.2"), kStart).admitted);
  EXPECT_TRUE(budget.check(client, kStart + seconds{6}).admitted);
}

}  // namespace
}  // namespace merlon::state
