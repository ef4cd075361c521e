#include "io/signal.h"

#include <gtest/gtest.h>

#include <vector>

#include "io/simulation.h"
#include "io/task.h"

namespace merlon::io {
namespace {

class SignalOrder : public testing::Test {
 protected:
  Task<void> waiter(std::uint64_t order) {
    const Result<void> woken = co_await signal_.wait(Instant::max(), order);
    if (woken) woken_.push_back(order);
  }
  void wait(std::uint64_t order) { tasks_.spawn(waiter(order)); }
  void wake_each() {
    while (signal_.notify_one()) loop_.turn(milliseconds{0});
  }

  ManualClock clock_;
  Loop loop_{clock_, std::make_unique<SimulatedPoller>(clock_)};
  std::vector<std::uint64_t> woken_;
  Signal signal_{loop_};
  TaskSet tasks_;
};

TEST_F(SignalOrder, FirstComeFirstServed) {
  for (int i = 0; i < 3; ++i) wait(0);
  EXPECT_TRUE(signal_.has_waiters());
  wake_each();
  EXPECT_EQ(woken_.size(), 3U);
  EXPECT_FALSE(signal_.has_waiters());
}

TEST_F(SignalOrder, WhoComesAgainHasThePlaceOfItsNumber) {
  for (const unsigned order : {4U, 6U, 8U, 5U, 3U, 9U, 7U}) wait(order);
  wake_each();
  EXPECT_EQ(woken_, (std::vector<std::uint64_t>{3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(SignalOrder, CancelEndsAll) {
  for (const unsigned order : {2U, 1U, 3U}) wait(order);
  signal_.cancel();
  loop_.turn(milliseconds{0});
  EXPECT_TRUE(woken_.empty());
  EXPECT_FALSE(signal_.has_waiters());
}

}  // namespace
}  // namespace merlon::io
