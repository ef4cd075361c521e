#include "state/slot_table.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace merlon::state {
namespace {

using Outcome = SlotTable::Outcome;

constexpr auto add(std::uint64_t n) {
  return [n](std::uint64_t value) { return std::optional(value + n); };
}

TEST(SlotTable, KeepsAValueForEachHash) {
  SlotTable table(4);
  EXPECT_EQ(table.find(5, 0), 0U);
  EXPECT_EQ(table.update(5, 0, add(3)), Outcome::kChanged);
  EXPECT_EQ(table.update(5, 0, add(4)), Outcome::kChanged);
  EXPECT_EQ(table.update(9, 0, add(1)), Outcome::kChanged);  // the same set
  EXPECT_EQ(table.find(5, 0), 7U);
  EXPECT_EQ(table.find(9, 0), 1U);
  EXPECT_EQ(table.live(0), 2U);
  EXPECT_EQ(table.slots(), 60U);
  EXPECT_EQ(table.bytes(), 1024U);
}

TEST(SlotTable, TheHashZeroIsAKeyLikeOthers) {
  SlotTable table(1);
  EXPECT_EQ(table.update(0, 0, add(3)), Outcome::kChanged);
  EXPECT_EQ(table.find(0, 0), 3U);
}

TEST(SlotTable, LeavesWhatTheStepLeaves) {
  SlotTable table(1);
  const auto leave = [](std::uint64_t) -> std::optional<std::uint64_t> { return std::nullopt; };
  EXPECT_EQ(table.update(5, 0, leave), Outcome::kLeft);
  EXPECT_EQ(table.live(0), 0U);
  ASSERT_EQ(table.update(5, 0, add(3)), Outcome::kChanged);
  EXPECT_EQ(table.update(5, 0, leave), Outcome::kLeft);
  EXPECT_EQ(table.find(5, 0), 3U);
}

TEST(SlotTable, AFullSetRefusesUntilSomethingIsDead) {
  SlotTable table(1);
  for (std::uint64_t i = 0; i < SlotTable::kWays; ++i)
    ASSERT_EQ(table.update(100 + i, 0, add(10 + i)), Outcome::kChanged);
  EXPECT_EQ(table.update(7, 9, add(50)), Outcome::kFull);
  EXPECT_EQ(table.find(7, 9), std::nullopt);
  EXPECT_EQ(table.find(7, 10), 0U);
  EXPECT_EQ(table.update(7, 10, add(50)), Outcome::kChanged) << "the value 10 is dead now";
  EXPECT_EQ(table.find(100, 0), std::nullopt) << "it made room";
  EXPECT_EQ(table.find(101, 0), 11U);
}

TEST(SlotTable, CountsWhatManyThreadsCount) {
  constexpr std::size_t kThreads = 4;
  constexpr std::uint64_t kKeys = 40;
  constexpr std::uint64_t kRounds = 2000;
  SlotTable table(8);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table] {
      for (std::uint64_t i = 0; i < kKeys * kRounds; ++i)
        static_cast<void>(table.update(1 + i % kKeys, 0, add(1)));
    });
  }
  threads.clear();
  for (std::uint64_t key = 1; key <= kKeys; ++key)
    EXPECT_EQ(table.find(key, 0), kThreads * kRounds) << key;
  EXPECT_EQ(table.live(0), kKeys);
}

}  // namespace
}  // namespace merlon::state
