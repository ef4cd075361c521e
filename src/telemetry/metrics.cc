#include "telemetry/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "telemetry/families.h"

namespace merlon::telemetry {
namespace {

struct KnownCode {
  std::uint16_t code;
  std::string_view rule;
};
constexpr KnownCode kCodes[] = {
#define MERLON_ERROR(number, name, rule) {number, rule},
#include "base/error_codes.def"
#undef MERLON_ERROR
};
static_assert(std::ranges::all_of(kCodes,
                                  [](const KnownCode& known) {
                                    return known.code > 0 && known.code <= CodeCounters::kCodeMax;
                                  }),
              "CodeCounters must have room for every error code");

constexpr std::string_view kClasses[StatusCounters::kClasses] = {"none", "1xx", "2xx",
                                                                 "3xx",  "4xx", "5xx"};

/// What `get` returns of each worker, added up.
template <class Get>
auto sum(const std::vector<std::unique_ptr<WorkerCounters>>& workers, Get get) {
  decltype(get(*workers.front())) total{};
  for (const auto& worker : workers) total += get(*worker);
  return total;
}

Buckets merge(const std::vector<std::unique_ptr<WorkerCounters>>& workers,
              LatencyHistogram WorkerCounters::* member) {
  Buckets merged;
  for (const auto& worker : workers) {
    const LatencyHistogram& one = (*worker).*member;
    for (std::size_t i = 0; i < merged.counts.size(); ++i) merged.counts[i] += one.bucket(i);
    merged.sum_us += one.sum_us();
  }
  return merged;
}

}  // namespace

Metrics::Metrics(std::size_t workers, const Clock& clock)
    : clock_(clock), started_at_(clock.wall_now()) {
  for (std::size_t i = 0; i < std::max<std::size_t>(workers, 1); ++i) {
    auto& worker = *workers_.emplace_back(std::make_unique<WorkerCounters>());
    worker.requests_by_route.ensure(kOther);
    worker.upstreams.ensure(kOther);
    worker.waiver_uses.ensure(kOther);
  }
  loops_.resize(workers_.size());
}

Metrics::~Metrics() = default;

template <class Member>
std::uint32_t Metrics::slot_of(Names& names, std::pair<std::string, std::string> name,
                               Member member) {
  const std::lock_guard lock(mutex_);
  const auto known = names.slots.find(name);
  if (known != names.slots.end()) return known->second;
  const auto slot = static_cast<std::uint32_t>(names.list.size());
  if (slot >= SlotArray<Counter>::kSlotsMax) return kOther;
  for (const auto& worker : workers_) ((*worker).*member).ensure(slot);
  names.list.push_back(name);
  names.slots.emplace(std::move(name), slot);
  return slot;
}

std::uint32_t Metrics::route_slot(std::string_view route) {
  return slot_of(routes_, {std::string(route), {}}, &WorkerCounters::requests_by_route);
}
std::uint32_t Metrics::upstream_slot(std::string_view upstream) {
  return slot_of(upstreams_, {std::string(upstream), {}}, &WorkerCounters::upstreams);
}
std::uint32_t Metrics::waiver_slot(std::string_view rule, std::string_view on) {
  return slot_of(waivers_, {std::string(rule), std::string(on)}, &WorkerCounters::waiver_uses);
}

void Metrics::set_config(std::string_view hash, WallTime loaded_at, std::size_t closed_parts) {
  const std::lock_guard lock(mutex_);
  config_hash_ = hash;
  config_loaded_at_ = loaded_at;
  closed_parts_ = closed_parts;
  ++reloads_;
}
void Metrics::count_reload_failure() {
  const std::lock_guard lock(mutex_);
  ++reload_failures_;
}
void Metrics::set_bad_files(std::size_t count) {
  const std::lock_guard lock(mutex_);
  bad_files_ = count;
}
void Metrics::set_certificates(std::vector<CertificateExpiry> certificates) {
  const std::lock_guard lock(mutex_);
  certificates_ = std::move(certificates);
}
void Metrics::set_waivers(std::vector<WaiverExpiry> waivers) {
  const std::lock_guard lock(mutex_);
  waiver_ends_ = std::move(waivers);
}
void Metrics::set_endpoint_source(std::function<std::vector<EndpointHealth>()> source) {
  const std::lock_guard lock(mutex_);
  endpoints_ = std::move(source);
}
void Metrics::set_access_log_drops(std::function<std::uint64_t()> source) {
  const std::lock_guard lock(mutex_);
  access_log_drops_ = std::move(source);
}
void Metrics::set_event_drops(std::function<std::uint64_t()> source) {
  const std::lock_guard lock(mutex_);
  event_drops_ = std::move(source);
}
void Metrics::set_load(std::function<LoadGauges()> source) {
  const std::lock_guard lock(mutex_);
  load_ = std::move(source);
}
void Metrics::set_loop(std::size_t worker, const io::LoopCounters* counters) {
  const std::lock_guard lock(mutex_);
  loops_[worker] = counters;
}
void Metrics::add_source(std::function<void(Families&)> source) {
  const std::lock_guard lock(mutex_);
  sources_.push_back(std::move(source));
}

void Metrics::clear_sources() {
  const std::lock_guard lock(mutex_);
  sources_.clear();
  endpoints_ = nullptr;
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  const std::lock_guard lock(mutex_);
  Families out;
  collect_connections(out);
  collect_requests(out);
  collect_upstreams(out);
  collect_logs(out);
  collect_loops(out);
  collect_load(out);
  collect_shared(out);
  collect_process(out);
  collect_config(out);
  for (const auto& source : sources_) source(out);
  return out;
}

std::string Metrics::scrape() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, Collect());
  return std::move(out).str();
}

void Metrics::collect_connections(Families& out) const {
  const auto count = [&](Counter WorkerCounters::* member) {
    return sum(workers_, [&](const WorkerCounters& w) { return (w.*member).get(); });
  };
  Family(out, "merlon_connections_total", "Client connections accepted.", MetricType::Counter)
      .add(count(&WorkerCounters::connections_accepted));
  Family(out, "merlon_connections_active", "Client connections open now.", MetricType::Gauge)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.connections_active.get(); }));
  Family(out, "merlon_connections_shed_total",
         "Client connections closed at accept for want of room.", MetricType::Counter)
      .add(count(&WorkerCounters::connections_shed));
  Family(out, "merlon_connections_refused_total",
         "Client connections closed at accept by a network list or the per-client cap.",
         MetricType::Counter)
      .add(count(&WorkerCounters::connections_refused));
  Family(out, "merlon_tls_handshakes_total", "TLS handshakes that succeeded.", MetricType::Counter)
      .add(count(&WorkerCounters::handshakes));
  Family(out, "merlon_tls_handshakes_resumed_total", "TLS handshakes that resumed a session.",
         MetricType::Counter)
      .add(count(&WorkerCounters::handshakes_resumed));
  Family failures(out, "merlon_tls_handshake_failures_total",
                  "TLS handshakes that failed, by reason.", MetricType::Counter);
  for (const auto& [code, rule] : kCodes) {
    const auto n =
        sum(workers_, [code](const WorkerCounters& w) { return w.handshake_failures.get(code); });
    // A handshake may also end by time or by the network; those appear once they happened.
    if (is_tls_error(code) || n != 0) failures.add(n, {{"reason", rule}});
  }
}

void Metrics::collect_requests(Families& out) const {
  Family requests(out, "merlon_requests_total", "Requests ended, by class of status.",
                  MetricType::Counter);
  for (std::size_t i = 0; i < StatusCounters::kClasses; ++i)
    requests.add(sum(workers_, [i](const WorkerCounters& w) { return w.requests.get(i); }),
                 {{"class", kClasses[i]}});
  Family by_route(out, "merlon_route_requests_total",
                  "Requests ended, by route and class of status.", MetricType::Counter);
  for (std::uint32_t slot = 0; slot < routes_.list.size(); ++slot) {
    for (std::size_t i = 0; i < StatusCounters::kClasses; ++i) {
      const auto n = sum(workers_, [&](const WorkerCounters& w) {
        return w.requests_by_route.find(slot)->get(i);
      });
      // Five classes for each route would be mostly zeros.
      if (n != 0) by_route.add(n, {{"route", routes_.list[slot].first}, {"class", kClasses[i]}});
    }
  }
  Family(out, "merlon_websocket_tunnels", "WebSocket tunnels open now.", MetricType::Gauge)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.tunnels_active.get(); }));
  Family(out, "merlon_websocket_tunnels_opened_total", "WebSocket tunnels opened.",
         MetricType::Counter)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.tunnels_opened.get(); }));
  Family(out, "merlon_requests_in_flight", "Requests being served now.", MetricType::Gauge)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.requests_in_flight.get(); }));
  Family refusals(out, "merlon_refusals_total", "Requests refused, by rule.", MetricType::Counter);
  for (const auto& [code, rule] : kCodes)
    refusals.add(sum(workers_, [code](const WorkerCounters& w) { return w.refusals.get(code); }),
                 {{"rule", rule}});
  Family observed(out, "merlon_policy_observed_total",
                  "Refusals of policies that only observe: let through, by rule.",
                  MetricType::Counter);
  for (const auto& [code, rule] : kCodes) {
    const auto n = sum(workers_, [code](const WorkerCounters& w) { return w.observed.get(code); });
    if (n != 0) observed.add(n, {{"rule", rule}});
  }
  Family(out, "merlon_request_duration_seconds",
         "Time from the complete head of a request to the last byte of its answer.",
         MetricType::Histogram)
      .add(merge(workers_, &WorkerCounters::request_time));
  Family(out, "merlon_received_bytes_total", "Body bytes received from clients.",
         MetricType::Counter)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.received_bytes.get(); }));
  Family(out, "merlon_sent_bytes_total", "Body bytes sent to clients.", MetricType::Counter)
      .add(sum(workers_, [](const WorkerCounters& w) { return w.sent_bytes.get(); }));
  Family waivers(out, "merlon_waiver_uses_total",
                 "How often a waiver was needed; of those that requests need.",
                 MetricType::Counter);
  for (std::uint32_t slot = 1; slot < waivers_.list.size(); ++slot) {
    const auto& [rule, on] = waivers_.list[slot];
    waivers.add(
        sum(workers_, [slot](const WorkerCounters& w) { return w.waiver_uses.find(slot)->get(); }),
        {{"rule", rule}, {"on", on}});
  }
}

void Metrics::collect_upstreams(Families& out) const {
  const auto by_upstream = [&](const char* name, const char* help,
                               Counter UpstreamCounters::* member) {
    Family family(out, name, help, MetricType::Counter);
    for (std::uint32_t slot = 1; slot < upstreams_.list.size(); ++slot)
      family.add(
          sum(workers_,
              [&](const WorkerCounters& w) { return ((*w.upstreams.find(slot)).*member).get(); }),
          {{"upstream", upstreams_.list[slot].first}});
  };
  by_upstream("merlon_upstream_connects_total", "Connections made to an upstream.",
              &UpstreamCounters::connects);
  by_upstream("merlon_upstream_reuses_total",
              "Requests sent on a connection that was open already.", &UpstreamCounters::reuses);
  by_upstream("merlon_upstream_failures_total", "Attempts that ended without a whole answer.",
              &UpstreamCounters::failures);
  by_upstream("merlon_upstream_retries_total", "Attempts after the first.",
              &UpstreamCounters::retries);
  Family(out, "merlon_upstream_first_byte_seconds",
         "Time from a request sent to the end of the head of the upstream's answer.",
         MetricType::Histogram)
      .add(merge(workers_, &WorkerCounters::upstream_time));
  if (!endpoints_) return;
  Family health(out, "merlon_upstream_endpoint_healthy", "1 while the endpoint is used.",
                MetricType::Gauge);
  for (const EndpointHealth& one : endpoints_())
    health.add(one.healthy ? 1 : 0, {{"upstream", one.upstream}, {"endpoint", one.endpoint}});
}

void Metrics::collect_logs(Families& out) const {
  if (access_log_drops_)
    Family(out, "merlon_access_log_dropped_lines_total",
           "Access log lines lost because they could not be written in time.", MetricType::Counter)
        .add(access_log_drops_());
  if (event_drops_)
    Family(out, "merlon_event_dropped_lines_total",
           "Process log lines over the budget of their event, or that could not be written.",
           MetricType::Counter)
        .add(event_drops_());
}

void Metrics::collect_loops(Families& out) const {
  const auto by_worker = [&](const char* name, const char* help, MetricType type, auto get) {
    Family family(out, name, help, type);
    for (std::size_t i = 0; i < loops_.size(); ++i) {
      if (loops_[i] != nullptr) family.add(get(*loops_[i]), {{"worker", std::to_string(i)}});
    }
  };
  constexpr auto kRelaxed = std::memory_order_relaxed;
  constexpr double kNsPerSecond = 1e9;
  by_worker("merlon_loop_turns_total", "Turns of a worker's event loop.", MetricType::Counter,
            [](const io::LoopCounters& c) { return c.turns.load(kRelaxed); });
  by_worker("merlon_loop_events_total", "Readiness events that a worker's loop handled.",
            MetricType::Counter, [](const io::LoopCounters& c) { return c.events.load(kRelaxed); });
  by_worker("merlon_loop_busy_seconds_total", "Time that a worker did not spend waiting.",
            MetricType::Counter, [](const io::LoopCounters& c) {
              return static_cast<double>(c.busy_ns.load(kRelaxed)) / kNsPerSecond;
            });
  by_worker("merlon_loop_longest_turn_seconds", "The longest turn of a worker's loop so far.",
            MetricType::Gauge, [](const io::LoopCounters& c) {
              return static_cast<double>(c.longest_turn_ns.load(kRelaxed)) / kNsPerSecond;
            });
}

void Metrics::collect_load(Families& out) const {
  if (!load_) return;
  const LoadGauges load = load_();
  Family(out, "merlon_headroom_ratio", "Free share of the workers' time.", MetricType::Gauge)
      .add(load.headroom);
  Family(out, "merlon_shed_level", "0: nothing is shed; 1: new connections; 2: requests too.",
         MetricType::Gauge)
      .add(load.shed);
  Family(out, "merlon_cpu_throttles_total",
         "Times the kernel slowed a processor down for its heat, where it tells.",
         MetricType::Counter)
      .add(load.cpu_throttles);
  Family(out, "merlon_limits_coarse_total",
         "Decisions of limits that counted a whole /24 or /48 for want of room.",
         MetricType::Counter)
      .add(load.limits_coarse);
}

/// Of limits that nodes share; all zero where there are none.
void Metrics::collect_shared(Families& out) const {
  const auto count = [&](Counter SharedCounters::* member) {
    return sum(workers_, [&](const WorkerCounters& w) { return (w.shared.*member).get(); });
  };
  Family(out, "merlon_shared_state_requests_total", "Questions of limits to Redis.",
         MetricType::Counter)
      .add(count(&SharedCounters::asked));
  Family(out, "merlon_shared_state_leased_total",
         "Requests that a lease in hand let through, without a question to Redis.",
         MetricType::Counter)
      .add(count(&SharedCounters::leased));
  Family(out, "merlon_shared_state_returned_total",
         "Requests taken in advance and given back unused.", MetricType::Counter)
      .add(count(&SharedCounters::returned));
  Family failures(out, "merlon_shared_state_failures_total",
                  "Questions that Redis did not answer in time or at all, by reason.",
                  MetricType::Counter);
  for (const auto& [code, rule] : kCodes) {
    const auto n =
        sum(workers_, [code](const WorkerCounters& w) { return w.shared.failures.get(code); });
    if (n != 0) failures.add(n, {{"reason", rule}});
  }
  Family(out, "merlon_shared_state_fallbacks_total",
         "Requests that `on_failure` decided, by what it says.", MetricType::Counter)
      .add(count(&SharedCounters::local), {{"on_failure", "local"}})
      .add(count(&SharedCounters::closed), {{"on_failure", "closed"}})
      .add(count(&SharedCounters::open), {{"on_failure", "open"}});
  if (!load_) return;
  const LoadGauges load = load_();
  Family(out, "merlon_shared_state_outages_total", "Times that a Redis server was lost.",
         MetricType::Counter)
      .add(load.shared_outages);
  Family(out, "merlon_shared_state_recoveries_total",
         "Times that a Redis server was reached again.", MetricType::Counter)
      .add(load.shared_recoveries);
  Family(out, "merlon_shared_state_servers_down", "Redis servers that are not reached now.",
         MetricType::Gauge)
      .add(load.shared_down);
}

void Metrics::collect_process(Families& out) const {
  Family(out, "merlon_build_info", "1; the label says which build this is.", MetricType::Gauge)
      .add(1, {{"version", MERLON_VERSION}});
  Family(out, "merlon_process_start_time_seconds", "When the process started, since the epoch.",
         MetricType::Gauge)
      .add(to_seconds(started_at_));
  Family(out, "merlon_process_cpu_seconds_total", "Processor time used.", MetricType::Counter)
      .add(ProcessStats::cpu_seconds());
  if (const auto bytes = process_.resident_bytes())
    Family(out, "merlon_process_resident_memory_bytes", "Memory in use.", MetricType::Gauge)
        .add(*bytes);
  if (const auto fds = process_.open_fds())
    Family(out, "merlon_process_open_fds", "File descriptors open now.", MetricType::Gauge)
        .add(*fds);
  Family(out, "merlon_process_max_fds", "File descriptors that may be open.", MetricType::Gauge)
      .add(ProcessStats::fds_max());
}

void Metrics::collect_config(Families& out) const {
  Family(out, "merlon_config_reloads_total", "Configurations that took effect, the first included.",
         MetricType::Counter)
      .add(reloads_);
  Family(out, "merlon_config_reload_failures_total", "Configurations that were refused.",
         MetricType::Counter)
      .add(reload_failures_);
  Family(out, "merlon_config_closed_parts",
         "Upstreams, certificates and identities that bad files closed at the start.",
         MetricType::Gauge)
      .add(closed_parts_);
  Family(out, "merlon_config_bad_files",
         "Files that the configuration names and that cannot be used as they are on disk.",
         MetricType::Gauge)
      .add(bad_files_);
  if (!config_hash_.empty()) {
    Family(out, "merlon_config_info", "1; the label is the hash of the configuration in force.",
           MetricType::Gauge)
        .add(1, {{"hash", config_hash_}});
    Family(out, "merlon_config_loaded_time_seconds", "When it took effect, since the epoch.",
           MetricType::Gauge)
        .add(to_seconds(config_loaded_at_));
  }
  Family expiry(out, "merlon_certificate_expiry_seconds",
                "Time until a certificate in use ends; negative when it has.", MetricType::Gauge);
  for (const CertificateExpiry& one : certificates_)
    expiry.add(to_seconds(one.not_after) - to_seconds(clock_.wall_now()),
               {{"listener", one.listener}, {"certificate", one.name}, {"key", one.key_type}});
  Family waivers(out, "merlon_waiver_expiry_seconds",
                 "Time until a waiver ends; negative when it has.", MetricType::Gauge);
  for (const WaiverExpiry& one : waiver_ends_)
    waivers.add(
        to_seconds(one.ends) - to_seconds(clock_.wall_now()),
        {{"rule", one.rule}, {"on", one.on}, {"of", one.counted ? "requests" : "configuration"}});
}

}  // namespace merlon::telemetry
