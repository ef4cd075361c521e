#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "base/time.h"

/// What one worker counts. Each value is written by its worker only, with plain loads and stores
/// (relaxed atomics, no locked instruction), and read by any thread at any time.
namespace merlon::telemetry {

/// A number that only grows.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A number of things that are there now.
class Gauge {
 public:
  void up() noexcept { add(1); }
  void down() noexcept { add(-1); }
  void add(std::int64_t n) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::int64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// Times in fixed buckets from 1 ms to 10 s.
class LatencyHistogram {
 public:
  /// Upper bounds, inclusive; a last bucket holds everything above.
  static constexpr std::array<microseconds, 13> kBounds{
      milliseconds{1},   microseconds{2500}, milliseconds{5},    milliseconds{10},
      milliseconds{25},  milliseconds{50},   milliseconds{100},  milliseconds{250},
      milliseconds{500}, seconds{1},         milliseconds{2500}, seconds{5},
      seconds{10}};

  void observe(microseconds time) noexcept {
    std::size_t i = 0;
    while (i < kBounds.size() && time > kBounds[i]) ++i;
    buckets_[i].add();
    sum_us_.add(time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0);
  }
  /// Observations in bucket `i`, not cumulative; `kBounds.size()` is the last.
  [[nodiscard]] std::uint64_t bucket(std::size_t i) const noexcept { return buckets_[i].get(); }
  [[nodiscard]] std::uint64_t sum_us() const noexcept { return sum_us_.get(); }

 private:
  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter sum_us_;
};

/// Answers by class of status, 1xx to 5xx; 0 stands for none (the connection ended before).
class StatusCounters {
 public:
  static constexpr std::size_t kClasses = 6;
  void count(std::uint16_t status) noexcept {
    const std::size_t class_ = status / 100U;
    classes_[class_ < kClasses ? class_ : 0].add();
  }
  [[nodiscard]] std::uint64_t get(std::size_t class_) const noexcept {
    return classes_[class_].get();
  }

 private:
  std::array<Counter, kClasses> classes_;
};

/// Counts by error code (merlon::code::*).
class CodeCounters {
 public:
  static constexpr std::uint16_t kCodeMax = 1023;
  /// A code that is out of range counts as 0, which no error has.
  void count(std::uint16_t code) noexcept { codes_[code <= kCodeMax ? code : 0].add(); }
  [[nodiscard]] std::uint64_t get(std::uint16_t code) const noexcept {
    return code <= kCodeMax ? codes_[code].get() : 0;
  }

 private:
  std::array<Counter, kCodeMax + 1> codes_;
};

/// Counters of named things that come and go with the configuration: one T for each slot that
/// Metrics gave out. Grows by pages that never move, so that a worker counts while it grows.
template <class T>
class SlotArray {
 public:
  static constexpr std::size_t kPageSlots = 256;
  static constexpr std::size_t kSlotsMax = 256 * kPageSlots;  ///< 65,536, as many as routes

  /// Slot 0 is there from the start: it takes what has no slot of its own.
  SlotArray() { ensure(0); }
  SlotArray(const SlotArray&) = delete;
  SlotArray& operator=(const SlotArray&) = delete;
  ~SlotArray() {
    for (auto& page : pages_) delete page.load(std::memory_order_relaxed);
  }

  /// Worker. `slot` must have been given out; any other counts for slot 0, "other".
  [[nodiscard]] T& at(std::uint32_t slot) noexcept {
    Page* page = slot < kSlotsMax ? page_of(slot) : nullptr;
    return page != nullptr ? (*page)[slot % kPageSlots] : (*page_of(0))[0];
  }
  /// Any thread; nullptr when there is no such slot.
  [[nodiscard]] const T* find(std::uint32_t slot) const noexcept {
    const Page* page = slot < kSlotsMax ? page_of(slot) : nullptr;
    return page != nullptr ? &(*page)[slot % kPageSlots] : nullptr;
  }
  /// One thread at a time: makes room for slot `slot`.
  void ensure(std::uint32_t slot) {
    auto& page = pages_[slot / kPageSlots];
    if (page.load(std::memory_order_relaxed) == nullptr)
      page.store(new Page(), std::memory_order_release);
  }

 private:
  using Page = std::array<T, kPageSlots>;
  [[nodiscard]] Page* page_of(std::uint32_t slot) const noexcept {
    return pages_[slot / kPageSlots].load(std::memory_order_acquire);
  }
  std::array<std::atomic<Page*>, kSlotsMax / kPageSlots> pages_{};
};

/// Of one upstream.
struct UpstreamCounters {
  Counter connects;  ///< connections made
  Counter reuses;    ///< requests sent on a connection that was there already
  Counter failures;  ///< attempts that ended without an answer
  Counter retries;   ///< attempts after the first
};

/// Of limits that nodes share.
struct SharedCounters {
  Counter asked;          ///< questions to Redis, leases given back not among them
  Counter leased;         ///< requests admitted out of a lease in hand
  Counter returned;       ///< tokens of leases given back
  CodeCounters failures;  ///< questions that Redis did not answer in time or at all, by reason
  Counter local;          ///< judged by the node's own share in its place
  Counter closed;         ///< refused, since `on_failure` is `closed`
  Counter open;           ///< let through, since `on_failure` is `open`
};

/// Everything that one worker counts. Get it from Metrics::worker. About 20 KiB.
struct alignas(64) WorkerCounters {
  // Connections of clients.
  Counter connections_accepted;
  Gauge connections_active;
  Counter connections_shed;     ///< closed at accept for want of room
  Counter connections_refused;  ///< closed at accept by policy: network, per-client cap
  Counter handshakes;           ///< TLS handshakes that succeeded
  Counter handshakes_resumed;   ///< of these, resumed sessions
  CodeCounters handshake_failures;

  // Requests.
  StatusCounters requests;
  SlotArray<StatusCounters> requests_by_route;
  Gauge requests_in_flight;
  CodeCounters refusals;  ///< by the rule that refused
  CodeCounters observed;  ///< by the rule that would have refused, were it not only observed
  LatencyHistogram request_time;
  Counter tunnels_opened;
  Gauge tunnels_active;
  Counter received_bytes;  ///< from clients, bodies
  Counter sent_bytes;      ///< to clients, bodies

  // Upstreams.
  SlotArray<UpstreamCounters> upstreams;
  LatencyHistogram upstream_time;  ///< request sent to the head of the answer

  SlotArray<Counter> waiver_uses;
  SharedCounters shared;

  /// Counts an answer: in all, by route and by time.
  void count_request(std::uint32_t route_slot, std::uint16_t status, microseconds time) noexcept {
    requests.count(status);
    requests_by_route.at(route_slot).count(status);
    request_time.observe(time);
  }
};

}  // namespace merlon::telemetry
