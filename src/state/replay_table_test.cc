#include "state/replay_table.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace merlon::state {
namespace {

using Seen = ReplayTable::Seen;

/// Digests that fall into the same set, told apart by `n`.
std::array<unsigned char, 32> digest(unsigned char n) {
  std::array<unsigned char, 32> bytes{};
  bytes[15] = n;
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

}  // namespace
}  // namespace merlon::state
