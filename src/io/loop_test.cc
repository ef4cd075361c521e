#include "io/loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "io/simulation.h"
#include "io/task.h"

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

TEST_F(LoopTurns, WhoWaitsForItsEndComesAfterAllElse) {
  std::string order;
  const auto note = [](Loop& loop, std::string& text, char c) -> Task<void> {
    co_await loop.yield();
    text += c;
  };
  const auto write = [](Loop& loop, std::string& text) -> Task<void> {
    for (int turn = 0; turn < 2; ++turn) {
      co_await loop.end_of_turn();
      text += 'w';
    }
  };
  TaskSet tasks;
  tasks.spawn(write(loop_, order));
  tasks.spawn(note(loop_, order, 'a'));
  loop_.send([&] { order += 'm'; });
  loop_.turn(seconds{600});
  EXPECT_EQ(order, "amw");
  tasks.spawn(note(loop_, order, 'b'));
  loop_.turn(seconds{600});  // does not wait: there is one for the end
  EXPECT_EQ(order, "amwbw");
  EXPECT_TRUE(tasks.empty());
}

/// Many connections of which each has something to tell, on the real poller.
class LoopEvents : public testing::Test {
 protected:
  LoopEvents() { loop_.turn(milliseconds{0}); }  // the loop's own descriptor tells that it is there
  class Told final : public Watch {
   public:
    Told(LoopEvents& test, std::uint8_t begins) : test_(test) {
      std::array<int, 2> pair{};
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair.data()), 0);
      ours_ = Fd(pair[0]);
      theirs_ = Fd(pair[1]);
      EXPECT_EQ(::send(theirs_.get(), "x", 1, 0), 1);
      let_wait(begins);
      EXPECT_TRUE(test_.loop_.poller().add(ours_.get(), *this));
    }
    ~Told() override { test_.loop_.poller().remove(ours_.get(), *this); }
    void on_events(std::uint32_t events) noexcept override {
      events_ = events;
      test_.told_.push_back(this);
    }
    void close_other_end() { theirs_.reset(); }
    std::uint32_t events_ = 0;

   private:
    LoopEvents& test_;
    Fd ours_;
    Fd theirs_;
  };
  Told* add(std::uint8_t begins) {
    all_.push_back(std::make_unique<Told>(*this, begins));
    return all_.back().get();
  }
  void add_waiting(std::size_t count, std::uint8_t begins = 1) {
    for (std::size_t i = 0; i < count; ++i) add(begins);
  }
  /// However long it may wait, there is something to do.
  std::size_t turn() {
    const std::size_t before = told_.size();
    loop_.turn(seconds{600});
    return told_.size() - before;
  }

  static constexpr std::size_t kTogether = CallBatch::kCallsMax;
  SystemClock clock_;
  Loop loop_{clock_};
  std::vector<Told*> told_;
  std::vector<std::unique_ptr<Told>> all_;
};

TEST_F(LoopEvents, WorkThatHasBegunGoesFirst) {
  add_waiting(kTogether + 8);
  const Told* const begun = add(0);
  EXPECT_EQ(turn(), kTogether + 1);
  EXPECT_EQ(told_.front(), begun);
  const Told* const later = add(0);
  EXPECT_EQ(turn(), 9U);
  EXPECT_EQ(told_[kTogether + 1], later);
  EXPECT_FALSE(loop_.poller().has_put_off());
}

TEST_F(LoopEvents, FewThatBeginMuchWaitToo) {
  add_waiting(10, kTogether / 4);
  const Told* const begun = add(0);
  EXPECT_EQ(turn(), 5U);
  EXPECT_EQ(told_.front(), begun);
  EXPECT_EQ(turn(), 4U);
  EXPECT_EQ(turn(), 2U);
  EXPECT_FALSE(loop_.poller().has_put_off());
}

TEST_F(LoopEvents, ThoseThatWaitKeepTheirOrder) {
  add_waiting(3 * kTogether);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(turn(), kTogether);
  for (std::size_t i = 0; i < all_.size(); ++i) EXPECT_EQ(told_[i], all_[i].get());
}

TEST_F(LoopEvents, AsManyAsOneBatchTakesComeInTheirOrder) {
  add_waiting(kTogether - 1);
  const Told* const begun = add(0);
  EXPECT_EQ(turn(), kTogether);
  EXPECT_EQ(told_.back(), begun);
}

TEST_F(LoopEvents, OneThatWaitsIsToldOnceOfAllThatHappened) {
  add_waiting(kTogether + 1);
  Told* const last = all_.back().get();
  EXPECT_EQ(turn(), kTogether);
  EXPECT_TRUE(last->waits());
  last->close_other_end();
  EXPECT_EQ(turn(), 1U);
  EXPECT_FALSE(last->waits());
  EXPECT_EQ(last->events_ & (EPOLLIN | EPOLLRDHUP), EPOLLIN | EPOLLRDHUP);
}

TEST_F(LoopEvents, OneThatWentWhileItWaitedIsNotTold) {
  add_waiting(kTogether + 2);
  EXPECT_EQ(turn(), kTogether);
  const Told* const left = all_.back().get();
  all_.erase(all_.end() - 2);
  EXPECT_EQ(turn(), 1U);
  EXPECT_EQ(told_.back(), left);
}

}  // namespace
}  // namespace merlon::io
