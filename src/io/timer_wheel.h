#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace merlon::io {

class TimerWheel;

/// A timer that can be in a wheel. Lives inside what it belongs to; leaves the wheel when it dies.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { disarm(); }

  [[nodiscard]] bool armed() const noexcept { return next_ != nullptr; }
  /// When it fires at the earliest; meaningful while armed.
  [[nodiscard]] Instant expires() const noexcept { return Instant{milliseconds{tick_}}; }
  void disarm() noexcept;

 protected:
  /// Called on the wheel's thread, disarmed; may arm it again or destroy it.
  using Fire = void (*)(Timer&) noexcept;
  explicit Timer(Fire fire) noexcept : fire_(fire) {}

 private:
  friend class TimerWheel;
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  std::int64_t tick_ = 0;
  Fire fire_ = nullptr;
};

/// Hierarchical timing wheel: ticks of 1 ms, four levels of 64 slots, so 4.6 hours ahead; what lies
/// further waits in the last slot and is filed again. Arming and disarming are constant time and
/// allocate nothing. A timer fires up to one tick late, never early. One thread.
class TimerWheel {
 public:
  explicit TimerWheel(Instant now) noexcept;
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  void arm(Timer& timer, Instant expires) noexcept;
  /// Fires what is due at `now`; returns how many fired.
  std::size_t advance(Instant now) noexcept;
  /// No timer fires before this instant; Instant::max() when none is armed. A lower bound, to sleep
  /// by.
  [[nodiscard]] Instant next_expiry() noexcept;

 private:
  static constexpr unsigned kLevels = 4;
  static constexpr unsigned kSlotBits = 6;
  static constexpr std::int64_t kSlots = 1 << kSlotBits;

  struct Slot : Timer {};
  friend class Timer;

  void insert(Timer& timer) noexcept;
  void cascade(unsigned level) noexcept;
  std::size_t fire_slot(Slot& slot) noexcept;

  std::array<std::array<Slot, kSlots>, kLevels> slots_;
  std::array<std::uint64_t, kLevels> occupied_{};  ///< a bit may outlive the slot's last timer
  std::int64_t tick_;                              ///< everything up to and including it has fired
};

}  // namespace merlon::io
