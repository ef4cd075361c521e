#include "upstream/health_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace merlon::upstream {
namespace {

using telemetry::num;
using telemetry::str;

}  // namespace

/// The thread with its loop, and the checks of each endpoint.
class HealthChecks::Thread {
 public:
  explicit Thread(HealthChecks& owner)
      : owner_(owner),
        loop_(owner.clock_),
        slots_(loop_, kInProgressMax),
        random_(std::random_device{}()),
        ground_{.loop = loop_,
                .slots = slots_,
                .random = [this] { return chance_(random_); },
                .told = [this](const auto& checks, const auto& found,
                               auto change) { owner_.note(checks, found, change); }},
        thread_([this] { loop_.run(); }) {}

  ~Thread() {
    loop_.send([this] { shut(); });
    thread_.join();
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  void adopt(std::vector<Target> targets) {
    loop_.send([this, targets = std::move(targets)] { take(targets); });
  }

 private:
  void take(const std::vector<Target>& targets) {
    auto before = std::exchange(checks_, {});
    for (const Target& target : targets) {
      auto known = before.extract(target.key);
      if (!known.empty()) {
        known.mapped()->update(target.upstream);
        checks_.insert(std::move(known));
        continue;
      }
      auto made =
          std::make_shared<EndpointChecks>(ground_, target.upstream, target.endpoint,
                                           std::make_unique<NetworkProber>(loop_, owner_.broker_));
      checks_.emplace(target.key, made);
      tasks_.spawn(live(made));
    }
    for (const auto& [key, checks] : before) checks->stop();
  }

  static io::Task<void> live(std::shared_ptr<EndpointChecks> checks) { co_await checks->run(); }

  void shut() {
    take({});
    slots_.close();
    tasks_.spawn(stop_when_idle());
  }

  io::Task<void> stop_when_idle() {
    while (tasks_.size() > 1) co_await loop_.sleep_until(loop_.now() + milliseconds{1});
    loop_.stop();
  }

  HealthChecks& owner_;
  io::Loop loop_;
  CheckSlots slots_;
  std::minstd_rand random_;
  std::uniform_real_distribution<double> chance_{0, 1};
  const EndpointChecks::Ground ground_;
  std::map<std::string, std::shared_ptr<EndpointChecks>> checks_;
  io::TaskSet tasks_;
  std::thread thread_;
};

HealthChecks::HealthChecks(io::Broker& broker, const Clock& clock, telemetry::EventLog& events)
    : broker_(broker), clock_(clock), events_(events), thread_(std::make_unique<Thread>(*this)) {}

HealthChecks::~HealthChecks() = default;

std::shared_ptr<const UpstreamHealth> HealthChecks::known_endpoints(
    const std::shared_ptr<const Upstream>& upstream, std::vector<Target>& targets) {
  std::set<Endpoint> seen;
  std::vector<std::shared_ptr<const CheckedEndpoint>> all;
  for (const Endpoint& address : upstream->endpoints) {
    if (!seen.insert(address).second) continue;
    std::string key =
        fmt::format("{} {} {}", upstream->name, upstream->health->identity, address.to_string());
    const auto known = endpoints_.find(key);
    auto endpoint =
        known == endpoints_.end() ? std::make_shared<CheckedEndpoint>(address) : known->second;
    all.push_back(endpoint);
    targets.push_back(
        {.key = std::move(key), .upstream = upstream, .endpoint = std::move(endpoint)});
  }
  return std::make_shared<const UpstreamHealth>(std::move(all));
}

std::vector<std::shared_ptr<const UpstreamHealth>> HealthChecks::adopt(
    const std::vector<std::shared_ptr<const Upstream>>& upstreams) {
  std::vector<std::shared_ptr<const UpstreamHealth>> result;
  std::vector<Target> targets;
  std::vector<Known> known;
  for (const auto& upstream : upstreams) {
    const bool checked = upstream->health.has_value() && !upstream->closed;
    result.push_back(checked ? known_endpoints(upstream, targets) : nullptr);
    if (checked) known.push_back({.upstream = upstream->name, .health = result.back()});
  }
  endpoints_.clear();
  for (const Target& target : targets) endpoints_.emplace(target.key, target.endpoint);
  {
    const std::lock_guard lock(mutex_);
    known_ = std::move(known);
    for (const Known& one : known_) static_cast<void>(counts_[one.upstream]);  // zero, not absent
  }
  thread_->adopt(std::move(targets));
  return result;
}

HealthChecks::Counts& HealthChecks::counts_of(const std::string& upstream) {
  const std::lock_guard lock(mutex_);
  return counts_[upstream];
}

void HealthChecks::note(const EndpointChecks& checks, const ProbeResult& found,
                        HealthCount::Change change) {
  counts_of(checks.upstream().name)
      .by_outcome[static_cast<std::size_t>(found.outcome)]
      .fetch_add(1, std::memory_order_relaxed);
  if (change != HealthCount::Change::kNone)
    tell(checks, found, change == HealthCount::Change::kHealthy);
}

void HealthChecks::tell(const EndpointChecks& checks, const ProbeResult& found, bool healthy) {
  const std::string& upstream = checks.upstream().name;
  std::shared_ptr<const UpstreamHealth> all;
  {
    const std::lock_guard lock(mutex_);
    const auto here = std::ranges::find(known_, upstream, &Known::upstream);
    if (here != known_.end()) all = here->health;
  }
  const std::size_t in_use = all == nullptr ? 0 : all->in_use();
  const std::size_t of = all == nullptr ? 0 : all->endpoints().size();
  const std::initializer_list<telemetry::EventField> fields = {
      str("upstream", upstream),   str("endpoint", checks.endpoint().text()),
      str("reason", found.reason), num("checks", checks.count().in_a_row()),
      num("in_use", in_use),       num("endpoints", of)};
  if (healthy) {
    events_.info("endpoint_healthy", fields);
  } else {
    // From the last one on, requests are answered 503.
    events_.emit(in_use == 0 ? telemetry::Level::kError : telemetry::Level::kWarning,
                 "endpoint_unhealthy", fields);
  }
}

std::vector<telemetry::EndpointHealth> HealthChecks::endpoints() const {
  const std::lock_guard lock(mutex_);
  std::vector<telemetry::EndpointHealth> all;
  for (const Known& one : known_) {
    for (const auto& endpoint : one.health->endpoints())
      all.push_back(
          {.upstream = one.upstream, .endpoint = endpoint->text(), .healthy = endpoint->in_use()});
  }
  return all;
}

std::vector<telemetry::HealthFigures> HealthChecks::figures() const {
  const std::lock_guard lock(mutex_);
  std::vector<telemetry::HealthFigures> all;
  for (const auto& [upstream, counts] : counts_) {
    telemetry::HealthFigures figures{.upstream = upstream, .results = {}};
    for (std::size_t i = 0; i < ProbeResult::kOutcomes; ++i)
      figures.results.emplace_back(outcome_name(static_cast<ProbeResult::Outcome>(i)),
                                   counts.by_outcome[i].load(std::memory_order_relaxed));
    all.push_back(std::move(figures));
  }
  return all;
}

std::vector<std::string> HealthChecks::without_endpoint() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const Known& one : known_) {
    if (one.health->none_in_use()) names.push_back(one.upstream);
  }
  return names;
}

}  // namespace merlon::upstream
