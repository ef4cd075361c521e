#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/overload.h"
#include "gateway/runtime.h"
#include "gateway/worker.h"
#include "telemetry/metrics.h"
#include "telemetry/process_stats.h"

namespace merlon::gateway {

/// Reads how often the kernel slowed a processor down for its heat. Where the kernel does not tell
/// (virtual machines, other architectures than x86) there is nothing to read.
class ThrottleReader {
 public:
  /// `root` is /sys/devices/system/cpu but in tests.
  ThrottleReader(io::Broker& broker, std::string root);
  [[nodiscard]] bool available() const noexcept { return !files_.empty(); }
  /// Times since boot, over all processors that are there: of a core for its own heat, and for that
  /// of its package, which each processor of it counts.
  [[nodiscard]] std::uint64_t total() const;

 private:
  io::Broker& broker_;
  std::vector<std::string> files_;
};

/// Watches the workers from the control thread: decides what is shed (Shared::shed), warns when
/// there is little headroom or the processor is throttled, and sums up who is refused by limits.
class Monitor {
 public:
  static constexpr milliseconds kInterval{500};
  /// What one summary line of a limited client covers.
  static constexpr seconds kWindow{10};

  /// `workers` are those that serve; all references outlive the monitor.
  Monitor(Shared& shared, std::vector<Worker*> workers, Instant now);

  /// Call every kInterval.
  void tick(Instant now, const Limits& limits);
  /// Writes what of the current window is not told yet; at the end.
  void flush();
  /// Whom limits refused in the window that is going on and in the last one.
  [[nodiscard]] state::LimitedWindow limited();
  /// Any thread.
  [[nodiscard]] telemetry::LoadGauges gauges() const noexcept;

 private:
  [[nodiscard]] double memory_pressure(std::uint64_t bound);
  void judge_overload(const Limits& limits);
  void judge_headroom(Instant now);
  void judge_throttling();
  void collect();

  Shared& shared_;
  std::vector<Worker*> workers_;
  telemetry::ProcessStats process_;
  ThrottleReader throttle_;
  OverloadGuard guard_;
  HeadroomWatch headroom_watch_;
  std::vector<nanoseconds> busy_;  ///< of each worker at the last sample
  Instant sampled_at_;
  Instant window_end_;
  Instant trim_again_{};
  state::LimitedWindow current_;  ///< what was collected of the current window
  state::LimitedWindow last_;
  std::uint64_t resident_at_start_ = 0;
  std::uint64_t throttled_at_start_ = 0;
  std::atomic<double> headroom_{1.0};
  std::atomic<std::uint64_t> throttled_{0};
};

}  // namespace merlon::gateway
