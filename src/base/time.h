#pragma once

#include <chrono>

namespace merlon {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// Monotonic time: for deadlines and durations, unaffected by changes of the wall clock.
using Instant = std::chrono::time_point<std::chrono::steady_clock, nanoseconds>;

/// Wall-clock time: for dates in logs, certificates and waivers only; it may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, nanoseconds>;

/// Where time comes from. Real in the program; set by hand in tests. Callable from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant now() const noexcept = 0;
  [[nodiscard]] virtual WallTime wall_now() const noexcept = 0;
};

/// The clock of the operating system.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const noexcept override { return std::chrono::steady_clock::now(); }
  [[nodiscard]] WallTime wall_now() const noexcept override {
    return std::chrono::system_clock::now();
  }
};

/// A clock that stands still until it is moved. Not for concurrent use with `advance`.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start = WallTime{}) : wall_(start) {}
  [[nodiscard]] Instant now() const noexcept override { return now_; }
  [[nodiscard]] WallTime wall_now() const noexcept override { return wall_; }
  void advance(nanoseconds by) noexcept {
    now_ += by;
    wall_ += by;
  }

 private:
  Instant now_{seconds{1}};
  WallTime wall_;
};

}  // namespace merlon
