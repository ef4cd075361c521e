#include "state/concurrency_table.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "state/entry_hash.h"

namespace merlon::state {
namespace {

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

TEST(ConcurrencyTable, GivesAsManyPlacesAsTheLimit) {
  ConcurrencyTable table(16, 16);
  std::vector<Hold> holds;
  for (int i = 0; i < 3; ++i) {
    auto hold = table.enter(1, ip("192.0.2.1"), 3);
    ASSERT_TRUE(hold.has_value()) << i;
    holds.push_back(std::move(*hold));
  }
  EXPECT_FALSE(table.enter(1, ip("192.0.2.1"), 3).has_value());
  EXPECT_TRUE(table.enter(1, ip("192.0.2.2"), 3).has_value()) << "another client";
  EXPECT_TRUE(table.enter(2, ip("192.0.2.1"), 3).has_value()) << "another limit";
  EXPECT_TRUE(table.enter(1, "route", 3).has_value());
  holds.pop_back();
  EXPECT_TRUE(table.enter(1, ip("192.0.2.1"), 3).has_value());
  holds.clear();
  EXPECT_EQ(table.live(), 0U);
}

TEST(ConcurrencyTable, HoldsMoveAndAreGivenBackOnce) {
  ConcurrencyTable table(16, 16);
  Holds holds;
  {
    auto hold = table.enter(1, ip("192.0.2.1"), 1);
    ASSERT_TRUE(hold.has_value());
    EXPECT_TRUE(holds.add(std::move(*hold)));
  }
  EXPECT_FALSE(table.enter(1, ip("192.0.2.1"), 1).has_value());
  holds.release();
  holds.release();
  EXPECT_EQ(holds.size(), 0U);
  EXPECT_EQ(table.live(), 0U);
  EXPECT_TRUE(table.enter(1, ip("192.0.2.1"), 1).has_value());
}

TEST(ConcurrencyTable, WhatDoesNotFitIsGivenBack) {
  ConcurrencyTable table(16, 16);
  Holds holds;
  for (std::uint64_t i = 0; i < Holds::kMax; ++i)
    ASSERT_TRUE(holds.add(std::move(*table.enter(i, ip("192.0.2.1"), 1))));
  EXPECT_FALSE(holds.add(std::move(*table.enter(99, ip("192.0.2.1"), 1))));
  EXPECT_TRUE(table.enter(99, ip("192.0.2.1"), 1).has_value());
}

TEST(ConcurrencyTable, AFullSetCountsNeighboursTogetherAndForgetsNothing) {
  ConcurrencyTable table(1, 16);
  std::vector<Hold> holds;
  for (std::uint32_t i = 0; i < 15; ++i)
    holds.push_back(std::move(*table.enter(1, IpAddress::v4(i << 8), 1)));
  auto first = table.enter(1, ip("198.51.100.1"), 1);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(table.enter(1, ip("198.51.100.2"), 1).has_value());
  first.reset();
  EXPECT_TRUE(table.enter(1, ip("198.51.100.2"), 1).has_value());
  EXPECT_FALSE(table.enter(1, IpAddress::v4(3U << 8), 1).has_value());
}

TEST(ConcurrencyTable, IsExactUnderContention) {
  constexpr std::uint32_t kLimit = 3;
  constexpr std::uint32_t kClients = 8;
  ConcurrencyTable table(4, 16);
  std::array<std::atomic<std::uint32_t>, kClients> inside{};
  std::atomic<std::uint32_t> most{0};
  std::atomic<std::uint64_t> entered{0};
  std::vector<std::jthread> threads;
  for (std::uint32_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < 20'000; ++i) {
        const std::uint32_t client = (i * 5 + t) % kClients;
        const auto hold = table.enter(1, IpAddress::v4(client << 8), kLimit);
        if (!hold) continue;
        entered.fetch_add(1);
        const std::uint32_t now = inside[client].fetch_add(1) + 1;
        std::uint32_t seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        inside[client].fetch_sub(1);
      }
    });
  }
  threads.clear();
  EXPECT_LE(most.load(), kLimit);
  EXPECT_GT(entered.load(), 20'000U);
  EXPECT_EQ(table.live(), 0U);
}

}  // namespace
}  // namespace merlon::state
