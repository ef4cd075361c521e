#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

/// When the gateway has more to do than it can: what it measures, and what it sheds.
namespace merlon::gateway {

/// What is not served while there is too much of it, the cheapest to refuse first.
enum class Shed : std::uint8_t {
  kNothing = 0,
  kConnections = 1,  ///< new connections are closed at accept, before a handshake costs anything
  kRequests = 2,     ///< requests on open connections are answered 503, too
};

/// How much of what is bounded is in use: 1 is the bound.
struct Pressure {
  double memory = 0;       ///< resident memory beyond that of the start, of `limits.memory`
  double descriptors = 0;  ///< open file descriptors, of RLIMIT_NOFILE
  double lag = 0;          ///< the longest turn of an event loop, of kLagMax
};

/// A turn of an event loop that takes this long keeps every other connection of its worker waiting.
inline constexpr milliseconds kLagMax{1'000};

/// Decides what is shed, with hysteresis: shedding begins at 90 % of a bound (connections) and at
/// 97 % (requests), and ends once everything has stayed 10 % below that for four samples.
/// A single long turn may be the host's doing (a machine that was paused) and is over when it is
/// seen: lag counts once a second one follows within eight samples, or the same turn still goes on
/// at the next.
class OverloadGuard {
 public:
  /// One sample, taken every half second or so.
  [[nodiscard]] Shed judge(const Pressure& pressure) noexcept;
  /// What made it shed: "memory", "file descriptors" or "event loop lag".
  [[nodiscard]] std::string_view cause() const noexcept { return cause_; }

 private:
  static constexpr int kLagForgotten = 8;  // samples

  [[nodiscard]] double lasting_lag(double lag) noexcept;

  Shed shed_ = Shed::kNothing;
  std::string_view cause_;
  int calm_samples_ = 0;
  int samples_since_lag_ = kLagForgotten;
};

/// Says when the workers have had little time to spare for long: before anything is shed.
class HeadroomWatch {
 public:
  static constexpr double kLow = 0.30;     ///< free share of the workers' time
  static constexpr double kEnough = 0.40;  ///< from here on it is fine again
  static constexpr seconds kLowFor{30};    ///< without a break, before it is said

  enum class Says : std::uint8_t { kNothing, kLow, kFineAgain };
  [[nodiscard]] Says judge(double free_share, Instant now) noexcept;

 private:
  Instant low_since_{};
  bool below_ = false;
  bool said_ = false;
};

}  // namespace merlon::gateway
