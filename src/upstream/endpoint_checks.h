#pragma once

#include <functional>
#include <memory>

#include "io/loop.h"
#include "io/signal.h"
#include "io/task.h"
#include "upstream/health.h"
#include "upstream/health_probe.h"

namespace merlon::upstream {

/// How many checks are in progress at once: a bound on descriptors and memory. The others wait.
class CheckSlots {
 public:
  CheckSlots(io::Loop& loop, std::size_t max) noexcept : max_(max), freed_(loop) {}
  /// False once `close` was called.
  [[nodiscard]] io::Task<bool> take();
  void give_back() noexcept;
  void close() noexcept;

 private:
  const std::size_t max_;
  std::size_t taken_ = 0;
  bool closed_ = false;
  io::Signal freed_;
};

/// Checks one endpoint again and again, and decides whether it is in use. On one loop.
class EndpointChecks {
 public:
  using Change = HealthCount::Change;
  /// What the parts stand on; all of it outlives them.
  struct Ground {
    io::Loop& loop;
    CheckSlots& slots;
    /// At least 0 and less than 1: so that checks of several endpoints and nodes do not come
    /// together.
    std::function<double()> random;
    /// Told of each check, after what it changed is in force.
    std::function<void(const EndpointChecks&, const ProbeResult&, Change)> told;
  };

  EndpointChecks(const Ground& ground, std::shared_ptr<const Upstream> upstream,
                 std::shared_ptr<CheckedEndpoint> endpoint, std::unique_ptr<Prober> prober);
  EndpointChecks(const EndpointChecks&) = delete;
  EndpointChecks& operator=(const EndpointChecks&) = delete;

  /// Runs until `stop`. The first check is made at once; the second at a moment of the interval
  /// after it that chance chooses; each later one an interval after the last, one tenth more or
  /// less.
  [[nodiscard]] io::Task<void> run();
  void stop() noexcept;
  /// A reload: new times and thresholds for the same question.
  void update(std::shared_ptr<const Upstream> upstream) noexcept {
    upstream_ = std::move(upstream);
  }

  [[nodiscard]] const Upstream& upstream() const noexcept { return *upstream_; }
  [[nodiscard]] const CheckedEndpoint& endpoint() const noexcept { return *endpoint_; }
  [[nodiscard]] const HealthCount& count() const noexcept { return count_; }

 private:
  [[nodiscard]] io::Task<bool> check();
  [[nodiscard]] milliseconds pause() noexcept;

  const Ground& ground_;
  std::shared_ptr<const Upstream> upstream_;
  const std::shared_ptr<CheckedEndpoint> endpoint_;
  const std::unique_ptr<Prober> prober_;
  HealthCount count_;
  io::Signal wake_;
  bool first_ = true;
  bool stopping_ = false;
};

}  // namespace merlon::upstream
