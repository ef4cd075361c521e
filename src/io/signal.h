#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "io/loop.h"

namespace merlon::io {

/// Lets coroutines of one worker wait for something that another one does. Every waiter has a
/// deadline. The signal outlives its waiters, or is closed before it goes.
class Signal {
 public:
  explicit Signal(Loop& loop) noexcept : loop_(loop) {}
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;
  ~Signal() { notify_all(code::kCancelled); }

  class Wait : private Timer {
   public:
    Wait(Signal& signal, Instant deadline, std::uint64_t order) noexcept
        : Timer(&Wait::fire), signal_(signal), deadline_(deadline), order_(order) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    /// Ends this wait alone with kCancelled, if it has begun and not ended.
    void cancel() noexcept {
      if (waiting_) signal_.wake(*this, code::kCancelled);
    }
    void await_suspend(std::coroutine_handle<> waiting) noexcept {
      waiting_ = waiting;
      signal_.insert(*this);
      if (deadline_ != Instant::max()) signal_.loop_.timers().arm(*this, deadline_);
    }
    /// kTimedOut at the deadline, kCancelled when the signal was closed.
    [[nodiscard]] Result<void> await_resume() const noexcept {
      if (outcome_ == 0) return {};
      return fail(outcome_, Blame::kInternal, "waited in vain");
    }

   private:
    friend class Signal;
    static void fire(Timer& timer) noexcept {
      auto& self = static_cast<Wait&>(timer);
      self.signal_.remove(self);
      self.outcome_ = code::kTimedOut;
      std::exchange(self.waiting_, nullptr).resume();
    }
    Signal& signal_;
    Instant deadline_;
    std::uint64_t order_;
    std::coroutine_handle<> waiting_;  ///< null: it has ended
    Wait* previous_ = nullptr;
    Wait* next_ = nullptr;
    std::uint16_t outcome_ = 0;
  };

  /// Waits for the next notification after this call. Comes before those with a higher `order`, and
  /// behind all others: whoever was woken in vain keeps its place by it.
  [[nodiscard]] Wait wait(Instant deadline, std::uint64_t order = 0) noexcept {
    return {*this, deadline, order};
  }
  /// Wakes the first one; false when nobody waits. It runs later in this turn.
  bool notify_one() noexcept { return wake_first(0); }
  void notify_all() noexcept { notify_all(0); }
  /// Ends every wait with kCancelled.
  void cancel() noexcept { notify_all(code::kCancelled); }
  [[nodiscard]] bool has_waiters() const noexcept { return first_ != nullptr; }

 private:
  void notify_all(std::uint16_t outcome) noexcept {
    while (wake_first(outcome)) {
    }
  }
  bool wake_first(std::uint16_t outcome) noexcept {
    if (first_ == nullptr) return false;
    wake(*first_, outcome);
    return true;
  }
  void wake(Wait& wait, std::uint16_t outcome) noexcept {
    remove(wait);
    wait.disarm();
    wait.outcome_ = outcome;
    loop_.post(std::exchange(wait.waiting_, nullptr));
  }
  void insert(Wait& wait) noexcept {
    Wait* next = nullptr;
    if (last_ != nullptr && last_->order_ > wait.order_) {
      for (next = first_; next->order_ <= wait.order_;) next = next->next_;
    }
    wait.next_ = next;
    wait.previous_ = next == nullptr ? last_ : next->previous_;
    (wait.previous_ == nullptr ? first_ : wait.previous_->next_) = &wait;
    (next == nullptr ? last_ : next->previous_) = &wait;
  }
  void remove(Wait& wait) noexcept {
    (wait.previous_ == nullptr ? first_ : wait.previous_->next_) = wait.next_;
    (wait.next_ == nullptr ? last_ : wait.next_->previous_) = wait.previous_;
    wait.previous_ = wait.next_ = nullptr;
  }

  Loop& loop_;
  Wait* first_ = nullptr;
  Wait* last_ = nullptr;
};

}  // namespace merlon::io
