#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "io/broker.h"
#include "io/loop.h"
#include "io/task.h"
#include "telemetry/events.h"
#include "telemetry/health_families.h"
#include "telemetry/metrics.h"
#include "upstream/endpoint_checks.h"
#include "upstream/health.h"
#include "upstream/upstream.h"

namespace merlon::upstream {

/// The thread that asks upstreams how they are, once for the process, whatever the number of
/// workers. Its connections are its own: they take no place of requests. Everything but the
/// destructor and `adopt` may be called from any thread.
class HealthChecks {
 public:
  /// Checks in progress at once.
  static constexpr std::size_t kInProgressMax = 128;

  /// `broker`, `clock` and `events` outlive it. The thread is there from the beginning: a reload
  /// that is the first to check something may come when descriptors are short.
  HealthChecks(io::Broker& broker, const Clock& clock, telemetry::EventLog& events);
  /// Ends the checks in progress.
  ~HealthChecks();
  HealthChecks(const HealthChecks&) = delete;
  HealthChecks& operator=(const HealthChecks&) = delete;

  /// Checks these from now on, and no others. What is known of an endpoint stays as long as its
  /// upstream's name and HealthCheck::identity do. Returns, for each of them, where what is found
  /// stands; null for one that is not checked. One thread at a time.
  [[nodiscard]] std::vector<std::shared_ptr<const UpstreamHealth>> adopt(
      const std::vector<std::shared_ptr<const Upstream>>& upstreams);

  /// For metrics: endpoints that are checked now.
  [[nodiscard]] std::vector<telemetry::EndpointHealth> endpoints() const;
  /// For metrics: checks made so far, by upstream.
  [[nodiscard]] std::vector<telemetry::HealthFigures> figures() const;
  /// Names of upstreams of which every endpoint is out of use.
  [[nodiscard]] std::vector<std::string> without_endpoint() const;

 private:
  class Thread;
  /// One endpoint under one check.
  struct Target {
    std::string key;
    std::shared_ptr<const Upstream> upstream;
    std::shared_ptr<CheckedEndpoint> endpoint;
  };
  struct Known {
    std::string upstream;
    std::shared_ptr<const UpstreamHealth> health;
  };
  struct Counts {
    std::array<std::atomic<std::uint64_t>, ProbeResult::kOutcomes> by_outcome{};
  };
  [[nodiscard]] std::shared_ptr<const UpstreamHealth> known_endpoints(
      const std::shared_ptr<const Upstream>& upstream, std::vector<Target>& targets);
  void note(const EndpointChecks& checks, const ProbeResult& found, HealthCount::Change change);
  void tell(const EndpointChecks& checks, const ProbeResult& found, bool healthy);
  [[nodiscard]] Counts& counts_of(const std::string& upstream);

  io::Broker& broker_;
  const Clock& clock_;
  telemetry::EventLog& events_;
  std::map<std::string, std::shared_ptr<CheckedEndpoint>> endpoints_;  ///< by Target::key
  mutable std::mutex mutex_;                                           ///< of the next two
  std::vector<Known> known_;
  std::map<std::string, Counts> counts_;  ///< by upstream; never forgotten
  std::unique_ptr<Thread> thread_;
};

}  // namespace merlon::upstream
