#include "io/work_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>

namespace merlon::io {
namespace {

TEST(WorkPool, DoesAllThatIsGivenFromAnyThread) {
  constexpr int kEach = 1000;
  std::atomic<int> sum{0};
  std::latch all(2L * kEach);
  WorkPool pool(3);
  const auto give = [&] {
    for (int i = 0; i < kEach; ++i) {
      pool.run([&] {
        ++sum;
        all.count_down();
      });
    }
  };
  std::thread other(give);
  give();
  other.join();
  all.wait();
  EXPECT_EQ(sum, 2 * kEach);
}

TEST(WorkPool, IsServedInTheOrderItCame) {
  std::vector<int> order;
  std::latch all(100);
  WorkPool pool(1);
  for (int i = 0; i < 100; ++i) {
    pool.run([&, i] {
      order.push_back(i);
      all.count_down();
    });
  }
  all.wait();
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(WorkPool, EndsWhatHasBegunAndLetsTheRestGo) {
  const auto held = std::make_shared<int>(0);
  std::atomic<int> ended{0};
  std::latch begun(1);
  {
    WorkPool pool(1);
    pool.run([&, held] {
      begun.count_down();
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      ++ended;
    });
    begun.wait();
    pool.run([&, held] { ++ended; });
  }
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace merlon::io
