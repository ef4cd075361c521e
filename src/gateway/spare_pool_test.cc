#include "gateway/spare_pool.h"

#include <gtest/gtest.h>

#include "io/simulation.h"

namespace merlon::gateway {
namespace {

class Spares : public testing::Test {
 protected:
  static constexpr std::size_t kKept = 2;

  void give_back(int count) {
    for (int i = 0; i < count; ++i) pool_.give_back(std::make_unique<int>(i), kKept);
  }
  /// One interval in which up to `most` are taken at a time.
  void pass_interval(int most) {
    std::vector<std::unique_ptr<int>> taken;
    for (int i = 0; i < most; ++i) taken.push_back(pool_.take());
    for (auto& object : taken) pool_.give_back(std::move(object), kKept);
    const Instant until = loop_.now() + SparePool<int>::kInterval + milliseconds{1};
    while (loop_.now() < until) loop_.turn(milliseconds{10});
  }

  ManualClock clock_;
  io::Loop loop_{clock_, std::make_unique<io::SimulatedPoller>(clock_)};
  SparePool<int> pool_{loop_};
};

TEST_F(Spares, TheLastOneGivenBackComesFirst) {
  EXPECT_EQ(pool_.take(), nullptr);
  give_back(2);
  EXPECT_EQ(*pool_.take(), 1);
  EXPECT_EQ(*pool_.take(), 0);
  EXPECT_EQ(pool_.take(), nullptr);
}

TEST_F(Spares, APeakIsKeptWhileItLastsAndGoesAfterwards) {
  give_back(10);
  pass_interval(10);
  pass_interval(10);
  EXPECT_EQ(pool_.size(), 10U);
  pass_interval(2);
  EXPECT_EQ(pool_.size(), 8U) << "a quarter of the eight that nobody took";
  pass_interval(7);
  EXPECT_EQ(pool_.size(), 7U);
  for (int i = 0; i < 5; ++i) pass_interval(0);
  EXPECT_EQ(pool_.size(), kKept);
  pass_interval(0);
  EXPECT_EQ(pool_.size(), kKept) << "these stay";
}

TEST_F(Spares, FewAreNeverFreed) {
  give_back(kKept);
  pass_interval(0);
  EXPECT_EQ(pool_.size(), kKept);
}

}  // namespace
}  // namespace merlon::gateway
