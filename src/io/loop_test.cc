#include "io/loop.h"

#include <gtest/gtest.h>

#include "io/simulation.h"

namespace merlon::io {
namespace {

class LoopTurns : public testing::Test {
 protected:
  LoopTurns() {
    clock_.advance(seconds{100});
    loop_.turn(milliseconds{1});
    static_cast<void>(loop_.take_longest_turn());
  }
  /// One turn that takes this long and looks at the loop after `look` of it.
  template <class Look>
  void turn(nanoseconds look_after, nanoseconds rest, Look look) {
    loop_.send([&, look_after, rest] {
      clock_.advance(look_after);
      look();
      clock_.advance(rest);
    });
    loop_.turn(milliseconds{1});
  }
  void end_turn() { loop_.turn(milliseconds{1}); }

  ManualClock clock_;
  Loop loop_{clock_, std::make_unique<SimulatedPoller>(clock_)};
};

TEST_F(LoopTurns, TheOneThatGoesOnCounts) {
  const nanoseconds before = loop_.busy();
  turn(seconds{5}, seconds{0}, [&] {
    EXPECT_EQ(loop_.take_longest_turn(), seconds{5});
    EXPECT_EQ(loop_.busy() - before, seconds{5});
  });
  end_turn();
  EXPECT_EQ(loop_.busy() - before, seconds{5}) << "once, not twice";
}

TEST_F(LoopTurns, OneThatWasToldOfIsNotAnother) {
  turn(seconds{1}, milliseconds{200}, [&] { EXPECT_EQ(loop_.take_longest_turn(), seconds{1}); });
  end_turn();
  EXPECT_EQ(loop_.take_longest_turn(), nanoseconds{0});
  turn(nanoseconds{0}, seconds{2}, [] {});
  end_turn();
  EXPECT_EQ(loop_.take_longest_turn(), seconds{2});
}

}  // namespace
}  // namespace merlon::io
