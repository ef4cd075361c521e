#include "state/lease_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "state/shared_rule.h"

namespace merlon::state {
namespace {

constexpr Instant kStart{std::chrono::hours{1}};
constexpr std::uint64_t kHash = 0x1234'5678'9abc'def0;

TEST(LeaseTable, LeasesOnlyWhoComesAgain) {
  LeaseTable table(16);
  EXPECT_FALSE(table.begin(kHash, kStart));                     // seen for the first time
  EXPECT_TRUE(table.begin(kHash, kStart + milliseconds{10}));   // and again
  EXPECT_FALSE(table.begin(kHash, kStart + milliseconds{10}));  // one lease at a time
  table.abandon(kHash, kStart + milliseconds{20});
  EXPECT_TRUE(table.begin(kHash, kStart + milliseconds{30}));
  table.abandon(kHash, kStart + milliseconds{30});
  EXPECT_FALSE(table.begin(kHash, kStart + seconds{5}));  // a stranger by now
}

TEST(LeaseTable, WhoseLeaseMayBeLostGetsNoneForAWhile) {
  LeaseTable table(16);
  EXPECT_FALSE(table.begin(kHash, kStart));
  EXPECT_TRUE(table.begin(kHash, kStart));
  const Instant until = kStart + std::chrono::hours{1};
  table.distrust(kHash, kStart, until);
  EXPECT_FALSE(table.begin(kHash, kStart + seconds{5}));
  EXPECT_FALSE(table.spend(kHash, kStart + seconds{5}).admitted);
  EXPECT_FALSE(table.begin(kHash, until - milliseconds{1}));
  EXPECT_FALSE(table.begin(kHash, until));  // a stranger by now
  EXPECT_TRUE(table.begin(kHash, until));
  table.grant(kHash, 3, until + seconds{1}, 0);
  table.distrust(kHash, until, until + seconds{9});
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(table.spend(kHash, until).admitted) << "tokens in hand are good";
  EXPECT_FALSE(table.begin(kHash, until + milliseconds{1})) << "and are followed by none";
  EXPECT_FALSE(table.begin(kHash, until + seconds{8}));
  EXPECT_FALSE(table.begin(kHash, until + seconds{9}));  // a stranger by now
  EXPECT_TRUE(table.begin(kHash, until + seconds{9}));
}

TEST(LeaseTable, SpendsWhatItHasAndUntilItEnds) {
  LeaseTable table(16);
  const Instant ends = kStart + seconds{1};
  table.grant(kHash, 3, ends, 40);
  const LeaseTable::Spent first = table.spend(kHash, kStart);
  EXPECT_TRUE(first.admitted);
  EXPECT_EQ(first.left, 42U);
  EXPECT_TRUE(table.spend(kHash, ends - milliseconds{1}).admitted);
  EXPECT_FALSE(table.spend(kHash, ends).admitted);
  EXPECT_FALSE(table.spend(kHash + 1, kStart).admitted);
  EXPECT_EQ(table.close(kHash, ends), 1U);
  EXPECT_EQ(table.close(kHash, ends), 0U);
}

TEST(LeaseTable, ALeaseThatEndedKeepsItsTokensUntilTheyAreGivenBack) {
  LeaseTable table(16);
  const Instant ends = kStart + seconds{1};
  table.grant(kHash, 9, ends, 0);
  EXPECT_TRUE(table.spend(kHash, kStart).admitted);
  for (const int late_ms : {0, 1, 250, 5'000}) {
    const Instant late = ends + milliseconds{late_ms};
    EXPECT_FALSE(table.spend(kHash, late).admitted);
    EXPECT_FALSE(table.begin(kHash, late)) << "it would be forgotten";
  }
  EXPECT_EQ(table.close(kHash, ends), 8U);
  EXPECT_EQ(table.close(kHash, ends), 0U);
  for (int i = 0; i < 2; ++i)
    EXPECT_FALSE(table.begin(kHash, ends + seconds{5})) << "they may be lost on their way";
  table.returned(kHash, ends + seconds{6});
  EXPECT_FALSE(table.begin(kHash, ends + seconds{6}));  // a stranger by now
  EXPECT_TRUE(table.begin(kHash, ends + seconds{6}));
}

TEST(LeaseTable, ALeaseThatWasFollowedByAnotherHasNothingToGiveBack) {
  LeaseTable table(16);
  table.grant(kHash, 1, kStart + seconds{1}, 0);
  EXPECT_TRUE(table.spend(kHash, kStart).admitted);
  EXPECT_TRUE(table.begin(kHash, kStart + milliseconds{500}));
  table.grant(kHash, 5, kStart + milliseconds{1'500}, 0);
  EXPECT_EQ(table.close(kHash, kStart + seconds{1}), 0U);
  EXPECT_EQ(table.close(kHash, kStart + milliseconds{1'500}), 5U);
}

TEST(LeaseTable, IsExactOverThreads) {
  LeaseTable table(16);
  table.grant(kHash, 10'000, kStart + seconds{1}, 0);
  std::atomic<int> admitted{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5'000; ++n) admitted += table.spend(kHash, kStart).admitted ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(admitted, 10'000);
}

TEST(LeaseOf, KeepsToTheBound) {
  for (std::uint64_t burst = 1; burst < 5'000; burst += 7) {
    for (std::uint32_t nodes = 1; nodes < 9; ++nodes) {
      const std::uint64_t bound = burst / (4 * nodes);
      const std::uint64_t lease = lease_of(burst, nodes);
      EXPECT_GE(lease, 1U);
      // What is held and what was spent unknown to Redis: a lease less one, each.
      EXPECT_LE(2 * (lease - 1), bound);
    }
  }
  EXPECT_EQ(lease_of(7, 1), 1U);
}

TEST(ShareOf, AddsUpToTheLimit) {
  const Gcra limit{.interval = milliseconds{10}, .burst = 31};
  const Gcra share = share_of(limit, 3);
  EXPECT_EQ(share.interval, milliseconds{30});
  EXPECT_EQ(share.burst, 10U);
  EXPECT_EQ(share_of(limit, 100).burst, 1U);
}

}  // namespace
}  // namespace merlon::state
