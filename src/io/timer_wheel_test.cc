#include "io/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

namespace merlon::io {
namespace {

class Probe : public Timer {
 public:
  explicit Probe(std::vector<int>& log, int id) : Timer(&Probe::fire), log_(log), id_(id) {}

 private:
  static void fire(Timer& timer) noexcept {
    auto& self = static_cast<Probe&>(timer);
    self.log_.push_back(self.id_);
  }
  std::vector<int>& log_;
  int id_;
};

Instant at(std::int64_t ms) { return Instant{milliseconds{ms}}; }

TEST(TimerWheel, FiresInOrderNeverEarly) {
  std::vector<int> log;
  TimerWheel wheel(at(1000));
  Probe a(log, 1);
  Probe b(log, 2);
  Probe c(log, 3);
  wheel.arm(a, at(1010));
  wheel.arm(b, at(1005));
  wheel.arm(c, at(1000 + 300'000));
  EXPECT_EQ(wheel.next_expiry(), at(1005));
  wheel.advance(at(1004));
  EXPECT_TRUE(log.empty());
  wheel.advance(at(1005));
  EXPECT_EQ(log, (std::vector{2}));
  wheel.advance(at(1100));
  EXPECT_EQ(log, (std::vector{2, 1}));
  wheel.advance(at(1000 + 299'999));
  EXPECT_EQ(log.size(), 2U);
  wheel.advance(at(1000 + 300'000));
  EXPECT_EQ(log, (std::vector{2, 1, 3}));
  EXPECT_EQ(wheel.next_expiry(), Instant::max());
}

TEST(TimerWheel, ADisarmedTimerDoesNotFire) {
  std::vector<int> log;
  TimerWheel wheel(at(0));
  {
    Probe gone(log, 1);
    wheel.arm(gone, at(5));
  }
  Probe off(log, 2);
  wheel.arm(off, at(6));
  off.disarm();
  wheel.advance(at(100));
  EXPECT_TRUE(log.empty());
}

TEST(TimerWheel, AgreesWithASortedMapOverRandomUse) {
  std::mt19937_64 random(7);
  std::vector<int> log;
  std::int64_t now = 123'456;
  TimerWheel wheel(at(now));
  std::vector<std::unique_ptr<Probe>> timers;
  std::map<int, std::int64_t> due;
  for (int i = 0; i < 200; ++i) timers.push_back(std::make_unique<Probe>(log, i));
  for (int step = 0; step < 20'000; ++step) {
    const int id = static_cast<int>(random() % timers.size());
    const auto index = static_cast<std::size_t>(id);
    switch (random() % 4) {
      case 0: {
        const std::int64_t spans[] = {1, 63, 64, 65, 4095, 4096, 300'000, 20'000'000};
        const std::int64_t ahead =
            1 +
            static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(spans[random() % 8]));
        wheel.arm(*timers[index], at(now + ahead));
        due[id] = now + ahead;
        break;
      }
      case 1:
        timers[index]->disarm();
        due.erase(id);
        break;
      default: {
        ASSERT_LE(now, 1LL << 60);
        const Instant bound = wheel.next_expiry();
        for (const auto& [_, when] : due) ASSERT_LE(bound, at(when));
        now += static_cast<std::int64_t>(random() % (random() % 50 == 0 ? 30'000'000 : 200));
        log.clear();
        wheel.advance(at(now));
        for (const int f : log) {
          ASSERT_TRUE(due.contains(f));
          ASSERT_LE(due[f], now);
          due.erase(f);
        }
        for (const auto& [_, when] : due) ASSERT_GT(when, now);
      }
    }
  }
}

}  // namespace
}  // namespace merlon::io
