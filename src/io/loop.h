#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/time.h"
#include "io/call_batch.h"
#include "io/fd.h"
#include "io/timer_wheel.h"

namespace merlon::io {

class Loop;

/// Something that the poller tells of readiness: a socket, a listener, an event descriptor.
/// Leaves its loop when it dies, also while its own event is being handled.
class Watch {
 public:
  Watch() = default;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  virtual ~Watch() = default;

  /// Edge-triggered: called once for each change to readable, writable or closed, on the loop's
  /// thread. `events` are the bits of epoll_event::events. May destroy this object.
  virtual void on_events(std::uint32_t events) noexcept = 0;
  /// Before that, with others whose events are at hand: plans the receive that `events` will make
  /// it do, so that all of them cost one entry of the kernel.
  virtual void plan_receive(CallBatch& /*batch*/, std::uint32_t /*events*/) noexcept {}

  /// An event of it begins about so much work, such as one request on an idle connection: where
  /// much is at hand, it waits for events of work that has begun. Were all taken as they come,
  /// thousands of requests would be in progress before the first is answered, and their memory out
  /// of every cache. 0, as from the beginning: its events do not wait.
  void let_wait(std::uint8_t begins) noexcept { begins_ = begins; }
  [[nodiscard]] std::uint8_t begins() const noexcept { return begins_; }
  /// An event of it waits now.
  [[nodiscard]] bool waits() const noexcept { return put_off_ != 0; }
  /// For pollers. The first call for it since the last `take_put_off` returns true.
  bool put_off(std::uint32_t events) noexcept {
    return std::exchange(put_off_, put_off_ | events) == 0;
  }
  [[nodiscard]] std::uint32_t take_put_off() noexcept { return std::exchange(put_off_, 0); }

 private:
  std::uint8_t begins_ = 0;
  std::uint32_t put_off_ = 0;
};

/// Where readiness comes from: epoll in the program, a simulation in tests.
class Poller {
 public:
  virtual ~Poller() = default;
  /// Watches `fd` for reading and writing, edge-triggered. False when the kernel has no room.
  virtual bool add(int fd, Watch& watch) noexcept = 0;
  /// Forgets `watch`: no event of it is delivered any more, also not one fetched already.
  /// `fd` is closed next, and nobody else holds what it refers to.
  virtual void remove(int fd, Watch& watch) noexcept = 0;
  /// The same for a descriptor whose socket others may hold, too: closing it would not end the
  /// watching. Costs a system call.
  virtual void remove_shared(int fd, Watch& watch) noexcept { remove(fd, watch); }
  /// Waits at most `timeout_ms` (0 polls, -1 waits) and delivers what happened. Returns the number
  /// of events; `Loop::refresh_now` is called after the wait and before the first delivery.
  virtual std::size_t wait(int timeout_ms, Loop& loop) noexcept = 0;
  /// Events that were fetched wait for a later turn, so the next `wait` is to poll.
  [[nodiscard]] virtual bool has_put_off() const noexcept { return false; }
};

std::unique_ptr<Poller> make_epoll_poller();

/// What the loop did, for headroom and lag. Written by the loop's thread, read by any.
struct LoopCounters {
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> busy_ns{0};  ///< time not spent waiting in the poller
  std::atomic<std::uint64_t> longest_turn_ns{0};
  std::atomic<std::uint64_t> recent_turn_ns{0};  ///< the longest since it was last taken
};

/// One thread's event loop: readiness, timers, coroutines that yielded, and messages from other
/// threads. Everything but `stop`, `send`, `counters`, `busy` and `take_longest_turn` belongs to
/// the thread that runs it.
class Loop {
 public:
  /// `batch`: what joins the system calls of a turn; null has each made by itself.
  explicit Loop(const Clock& clock, std::unique_ptr<Poller> poller = make_epoll_poller(),
                std::unique_ptr<CallBatch> batch = nullptr);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  /// The time at the start of this turn: what deadlines count from. Costs no call of the clock.
  [[nodiscard]] Instant now() const noexcept { return now_; }
  [[nodiscard]] const Clock& clock() const noexcept { return clock_; }
  [[nodiscard]] TimerWheel& timers() noexcept { return timers_; }
  [[nodiscard]] Poller& poller() noexcept { return *poller_; }
  [[nodiscard]] const LoopCounters& counters() const noexcept { return counters_; }
  /// The longest turn since the last call, the one that is going on among them: how long others had
  /// to wait. Any thread, one caller.
  [[nodiscard]] nanoseconds take_longest_turn() noexcept;
  /// Time not spent waiting in the poller, up to now. Any thread; may go back by what a turn took
  /// while that turn ends.
  [[nodiscard]] nanoseconds busy() const noexcept;

  /// Where sockets put their calls; null between turns, and where there is none.
  [[nodiscard]] CallBatch* batch() const noexcept { return in_turn_ ? batch_.get() : nullptr; }
  /// Sends what sockets have put there: before work that takes long, so that nobody waits for it.
  void send_batch() noexcept;

  /// Runs until `stop`.
  void run();
  /// One turn: waits at most `wait_max`, then delivers events, timers and what was posted.
  void turn(milliseconds wait_max);
  /// Makes `run` return after the current turn. Any thread.
  void stop() noexcept;
  /// Runs `message` on the loop's thread in a later turn. Any thread; allocates.
  void send(std::function<void()> message);

  /// Resumes `handle` later in this turn or in the next.
  void post(std::coroutine_handle<> handle) { ready_.push_back(handle); }
  /// Gives way to everything else that is ready: `co_await loop.yield();`
  struct Yield {
    Loop& loop;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { loop.post(waiting); }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] Yield yield() noexcept { return {*this}; }

  /// Waits for the end of this turn, when everything else that is ready has run: for whoever writes
  /// what many have to say, so that one write carries all of it. `co_await loop.end_of_turn();`
  struct EndOfTurn {
    Loop& loop;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { loop.last_.push_back(waiting); }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] EndOfTurn end_of_turn() noexcept { return {*this}; }

  /// Waits until `when`: `co_await loop.sleep_until(t);` Not cancellable; for background tasks use
  /// a Signal, which is.
  class Sleep : private Timer {
   public:
    Sleep(Loop& loop, Instant when) noexcept : Timer(&Sleep::fire), loop_(loop), when_(when) {}
    [[nodiscard]] bool await_ready() const noexcept { return when_ <= loop_.now(); }
    void await_suspend(std::coroutine_handle<> waiting) noexcept {
      waiting_ = waiting;
      loop_.timers().arm(*this, when_);
    }
    void await_resume() const noexcept {}

   private:
    static void fire(Timer& timer) noexcept { static_cast<Sleep&>(timer).waiting_.resume(); }
    Loop& loop_;
    Instant when_;
    std::coroutine_handle<> waiting_;
  };
  [[nodiscard]] Sleep sleep_until(Instant when) noexcept { return {*this, when}; }

  /// For pollers: the wait is over, time goes on.
  void refresh_now() noexcept {
    now_ = clock_.now();
    busy_since_.store(now_, std::memory_order_relaxed);
  }

 private:
  static constexpr Instant kWaiting{};
  class Wakeup;
  [[nodiscard]] int wait_ms(milliseconds wait_max) noexcept;
  [[nodiscard]] std::size_t warm_next(std::size_t left) noexcept;
  void run_ready();
  void run_last();
  void run_messages();
  void account(Instant waited_from, Instant waited_to) noexcept;
  [[nodiscard]] nanoseconds running() const noexcept;

  const Clock& clock_;
  std::unique_ptr<Poller> poller_;
  std::unique_ptr<CallBatch> batch_;
  bool in_turn_ = false;
  Instant now_;
  Instant swept_{};
  bool sweeping_ = false;  ///< frames of a burst are still to be given back
  TimerWheel timers_;
  std::deque<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> last_;          ///< that wait for the end of the turn
  std::vector<std::coroutine_handle<>> running_last_;  ///< run_last's: kept for its room
  std::unique_ptr<Wakeup> wakeup_;
  std::mutex messages_mutex_;
  std::vector<std::function<void()>> messages_;
  std::atomic<bool> stopping_{false};
  LoopCounters counters_;
  /// Since when the turn goes on, for those who watch; kWaiting: it waits in the poller.
  std::atomic<Instant> busy_since_{kWaiting};
  std::atomic<Instant> told_since_{kWaiting};  ///< of the turn that was told of while it went on
};

}  // namespace merlon::io
