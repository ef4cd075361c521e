#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace merlon::telemetry {

/// A bounded queue of whole lines from one thread to another, without locks: one thread pushes, one
/// consumes. A line that does not fit is dropped and counted; nothing ever waits.
class LineRing {
 public:
  /// `bytes` is rounded up to a power of two, at least 4 KiB.
  explicit LineRing(std::size_t bytes);

  /// Producer. False when `line` did not fit: it is dropped whole and counted.
  bool push(std::string_view line) noexcept;
  /// Producer: true once for each time the ring becomes half full, until `allow_wakeup`.
  [[nodiscard]] bool wants_wakeup() noexcept;

  /// Consumer: the oldest bytes in one piece, empty when there are none. What is behind the wrap
  /// comes with the next call. Valid until `consume`.
  [[nodiscard]] std::string_view readable() const noexcept;
  /// Consumer: gives back the first `bytes` of `readable()`.
  void consume(std::size_t bytes) noexcept;
  /// Consumer: gives back everything up to and with the next line end, across the wrap.
  void consume_line() noexcept;
  /// Consumer: lets the producer ask for a wakeup again.
  void allow_wakeup() noexcept { wakeup_asked_.store(false, std::memory_order_relaxed); }

  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }
  /// Lines dropped since the start. Any thread.
  [[nodiscard]] std::uint64_t dropped() const noexcept {
    return dropped_.load(std::memory_order_relaxed);
  }

 private:
  const std::size_t mask_;
  const std::unique_ptr<char[]> data_;
  // Apart, so that the two threads do not fight for one cache line.
  alignas(64) std::atomic<std::size_t> written_{0};  ///< bytes ever pushed; wraps
  std::size_t consumed_seen_ = 0;                    ///< producer's last look at `consumed_`
  std::atomic<std::uint64_t> dropped_{0};
  alignas(64) std::atomic<std::size_t> consumed_{0};
  alignas(64) std::atomic<bool> wakeup_asked_{false};
};

}  // namespace merlon::telemetry
