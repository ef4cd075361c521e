#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "io/loop.h"
#include "telemetry/counters.h"
#include "telemetry/process_stats.h"

namespace merlon::telemetry {

/// When a certificate in use ends.
struct CertificateExpiry {
  std::string listener;
  std::string name;      ///< the first of its names
  std::string key_type;  ///< as of CertificatePair
  WallTime not_after{};
};

/// An exception in force.
struct WaiverExpiry {
  std::string rule;
  std::string on;
  bool counted = false;  ///< its uses are counted; otherwise it is of the configuration
  WallTime ends{};
};

/// Whether an endpoint of an upstream is used.
struct EndpointHealth {
  std::string upstream;
  std::string endpoint;
  bool healthy = false;
};

/// How much the gateway can still take, and what it does about it.
struct LoadGauges {
  double headroom = 1;  ///< free share of the workers' time
  unsigned shed = 0;    ///< 0 nothing, 1 new connections, 2 requests too
  std::uint64_t cpu_throttles = 0;
  std::uint64_t limits_coarse = 0;      ///< decisions of limits that counted neighbours together
  std::uint64_t shared_outages = 0;     ///< times that some server of the shared state was lost
  std::uint64_t shared_recoveries = 0;  ///< times that one was reached again
  std::uint64_t shared_down = 0;        ///< servers that are not reached now
};

/// All metrics of the process: one block of counters for each worker, summed when they are asked
/// for, and gauges of the process. `docs/metrics.md` lists them; a test holds the two together.
///
/// Workers touch their own block only. Everything else may be called from any thread.
class Metrics final : public prometheus::Collectable {
 public:
  /// Slot of what has no name or came after the table was full.
  static constexpr std::uint32_t kOther = 0;

  explicit Metrics(std::size_t workers, const Clock& clock);
  ~Metrics() override;

  /// The block of worker `index`, to be written by that worker only.
  [[nodiscard]] WorkerCounters& worker(std::size_t index) noexcept { return *workers_[index]; }
  [[nodiscard]] std::size_t workers() const noexcept { return workers_.size(); }

  /// The slot of a name, given out on first use and kept for good, so that counters survive
  /// reloads. Call these while a Plan is compiled, never for a request. `kOther` once 65,536 are
  /// given out.
  [[nodiscard]] std::uint32_t route_slot(std::string_view route);
  [[nodiscard]] std::uint32_t upstream_slot(std::string_view upstream);
  [[nodiscard]] std::uint32_t waiver_slot(std::string_view rule, std::string_view on);

  /// After a configuration took effect: its hash, as /readyz shows it, and how much of it bad TLS
  /// files closed.
  void set_config(std::string_view hash, WallTime loaded_at, std::size_t closed_parts = 0);
  /// After one was refused.
  void count_reload_failure();
  /// How many files that the configuration names cannot be used as they are on disk.
  void set_bad_files(std::size_t count);
  void set_certificates(std::vector<CertificateExpiry> certificates);
  void set_waivers(std::vector<WaiverExpiry> waivers);
  /// Asked at each scrape, on the scraping thread.
  void set_endpoint_source(std::function<std::vector<EndpointHealth>()> source);
  /// Access log lines dropped so far: asked at each scrape.
  void set_access_log_drops(std::function<std::uint64_t()> source);
  /// Events over their budget or not written so far: asked at each scrape.
  void set_event_drops(std::function<std::uint64_t()> source);
  /// Asked at each scrape, on the scraping thread.
  void set_load(std::function<LoadGauges()> source);
  /// `counters` must outlive this object or be taken back with nullptr.
  void set_loop(std::size_t worker, const io::LoopCounters* counters);
  /// Metrics of other rooms: appends families at each scrape, on the scraping thread.
  void add_source(std::function<void(std::vector<prometheus::MetricFamily>&)> source);
  /// Forgets them: what they ask is about to go.
  void clear_sources();

  /// For prometheus-cpp: everything, summed over the workers.
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;
  /// The text exposition format, version 0.0.4.
  [[nodiscard]] std::string scrape() const;

 private:
  /// Names in the order of their slots.
  struct Names {
    std::vector<std::pair<std::string, std::string>> list{{"other", ""}};
    std::map<std::pair<std::string, std::string>, std::uint32_t> slots;
  };
  template <class Member>
  std::uint32_t slot_of(Names& names, std::pair<std::string, std::string> name, Member member);

  using Families = std::vector<prometheus::MetricFamily>;
  void collect_connections(Families& out) const;
  void collect_requests(Families& out) const;
  void collect_upstreams(Families& out) const;
  void collect_logs(Families& out) const;
  void collect_loops(Families& out) const;
  void collect_load(Families& out) const;
  void collect_shared(Families& out) const;
  void collect_process(Families& out) const;
  void collect_config(Families& out) const;

  const Clock& clock_;
  const WallTime started_at_;
  std::vector<std::unique_ptr<WorkerCounters>> workers_;
  ProcessStats process_;

  mutable std::mutex mutex_;  ///< of everything below
  Names routes_;
  Names upstreams_;
  Names waivers_;
  std::string config_hash_;
  WallTime config_loaded_at_{};
  std::uint64_t reloads_ = 0;
  std::uint64_t reload_failures_ = 0;
  std::size_t closed_parts_ = 0;
  std::size_t bad_files_ = 0;
  std::vector<CertificateExpiry> certificates_;
  std::vector<WaiverExpiry> waiver_ends_;
  std::function<std::vector<EndpointHealth>()> endpoints_;
  std::function<std::uint64_t()> access_log_drops_;
  std::function<std::uint64_t()> event_drops_;
  std::function<LoadGauges()> load_;
  std::vector<const io::LoopCounters*> loops_;
  std::vector<std::function<void(Families&)>> sources_;
};

}  // namespace merlon::telemetry
