#include "state/replay_table.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "state/proof_budget.h"

namespace merlon::state {
namespace {

using Seen = ReplayTable::Seen;

/// Digests that fall into the same set, told apart by `n`.
std::array<unsigned char, 32> digest(unsigned char n) {
  std::array<unsigned char, 32> bytes{};
  bytes[11] = n;
  return bytes;
}

TEST(ReplayTable, WhatWasShownIsKnownUntilItIsOver) {
  ReplayTable table;
  EXPECT_EQ(table.note(digest(1), 100, 50), Seen::kNever);
  EXPECT_EQ(table.note(digest(1), 100, 50), Seen::kBefore);
  EXPECT_EQ(table.note(digest(1), 100, 100), Seen::kBefore) << "good to its last second";
  EXPECT_EQ(table.note(digest(2), 100, 50), Seen::kNever);
  EXPECT_EQ(table.note(digest(1), 200, 101), Seen::kNever);
}

TEST(ReplayTable, AFullSetForgetsNothingThatIsAlive) {
  ReplayTable table;
  for (unsigned char n = 0; n < 16; ++n) EXPECT_EQ(table.note(digest(n), 100, 50), Seen::kNever);
  EXPECT_EQ(table.note(digest(99), 100, 50), Seen::kNoRoom);
  for (unsigned char n = 0; n < 16; ++n) EXPECT_EQ(table.note(digest(n), 100, 50), Seen::kBefore);
  EXPECT_EQ(table.note(digest(99), 200, 101), Seen::kNever) << "the others are over";
}

TEST(ReplayTable, OfManyThreadsOneIsFirst) {
  ReplayTable table;
  std::atomic<int> firsts{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (unsigned n = 0; n < 200; ++n) {
        auto bytes = digest(static_cast<unsigned char>(n));
        bytes[0] = static_cast<unsigned char>(n);  // spread over shards and sets
        if (table.note(bytes, 100, 50) == Seen::kNever) ++firsts;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(firsts, 200);
}

TEST(ReplayTable, FillsToFourFifthsBeforeAnySetIsFull) {
  ReplayTable table;
  std::mt19937_64 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same each time
  std::array<unsigned char, 32> bytes{};
  for (std::size_t n = 0; n < ReplayTable::kEntries / 5 * 4; ++n) {
    const std::uint64_t words[] = {random(), random()};
    std::memcpy(bytes.data(), words, sizeof words);
    ASSERT_EQ(table.note(bytes, 100, 50), Seen::kNever) << n;
  }
  EXPECT_EQ(table.note(bytes, 100, 50), Seen::kBefore);
}

TEST(ProofBudget, OneKeyCannotTakeMoreThanItsShare) {
  LimitTable limits;
  ProofBudget budget(limits);
  const seconds kept{80};
  Instant now{std::chrono::hours{1}};
  std::uint32_t taken = 0;
  // For as long as a proof is remembered, as often as it may.
  for (const Instant end = now + kept; now < end; now += milliseconds{1}) {
    while (budget.take("one", kept, now).admitted) ++taken;
  }
  EXPECT_LE(taken, ProofBudget::kProofsMax);
  EXPECT_GT(taken, ProofBudget::kProofsMax * 9 / 10);
  EXPECT_TRUE(budget.take("other", kept, now).admitted) << "each key has its own";
}

}  // namespace
}  // namespace merlon::state
