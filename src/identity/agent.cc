#include "identity/agent.h"

#include <algorithm>
#include <ranges>
#include <utility>

namespace merlon::identity {

Agent::Agent(io::Broker& broker, const Clock& clock, telemetry::EventLog* events)
    : clock_(clock),
      loop_(clock),
      resolver_(loop_),
      ground_{.loop = loop_, .broker = broker, .resolver = resolver_, .events = events},
      thread_([this] { loop_.run(); }) {}

Agent::~Agent() {
  loop_.send([this] { shut(); });
  thread_.join();
}

void Agent::shut() {
  stopping_ = true;
  for (auto& [id, running] : issuers_) running.issuer->stop();
  for (auto& [id, introspector] : introspectors_) introspector->stop();
  for (auto& introspector : leaving_) introspector->stop();
  resolver_.cancel();
  tasks_.spawn(stop_when_idle());
}

bool Agent::busy() const {
  const auto works = [](const auto& one) { return !one->idle(); };
  return std::ranges::any_of(issuers_, [](const auto& one) { return !one.second.done; }) ||
         std::ranges::any_of(introspectors_ | std::views::values, works) ||
         std::ranges::any_of(leaving_, works);
}

io::Task<void> Agent::stop_when_idle() {
  while (busy()) co_await loop_.sleep_until(loop_.now() + milliseconds{1});
  loop_.stop();
}

void Agent::adopt(const std::vector<std::shared_ptr<const Provider>>& providers) {
  announce(providers);
  loop_.send([this, providers] { take(providers); });
}

void Agent::announce(const std::vector<std::shared_ptr<const Provider>>& providers) {
  const std::lock_guard lock(mutex_);
  for (const auto& provider : providers) {
    if (std::ranges::find(told_, provider->name(), &Told::name) != told_.end()) continue;
    if (provider->key_source() != nullptr)
      told_.push_back({.name = provider->name(),
                       .issuer = std::make_shared<IssuerFigures>(),
                       .introspection = nullptr});
    if (provider->introspection() != nullptr)
      told_.push_back({.name = provider->name(),
                       .issuer = nullptr,
                       .introspection = std::make_shared<IntrospectionFigures>()});
  }
}

void Agent::take(const std::vector<std::shared_ptr<const Provider>>& providers) {
  if (stopping_) return;
  std::vector<Told> told;
  for (auto& [id, running] : issuers_) running.wanted = false;
  auto before = std::exchange(introspectors_, {});
  for (const auto& provider : providers) {
    if (provider->key_source() != nullptr) take_issuer(provider, told);
    if (provider->introspection() == nullptr) continue;
    const auto known = before.find(provider->server_id());
    if (known != before.end()) introspectors_.insert(before.extract(known));
    take_introspection(provider, told);
  }
  for (auto& [id, running] : issuers_) {
    if (!running.wanted) running.issuer->stop();
  }
  std::erase_if(leaving_, [](const auto& one) { return one->idle(); });
  for (auto& [id, introspector] : before) leaving_.push_back(std::move(introspector));
  const std::lock_guard lock(mutex_);
  told_ = std::move(told);
}

void Agent::take_issuer(const std::shared_ptr<const Provider>& provider, std::vector<Told>& told) {
  const auto& source = provider->key_source();
  const std::uint64_t id = source->live->id();
  const auto known = issuers_.find(id);
  if (known != issuers_.end()) {
    known->second.wanted = true;
    known->second.issuer->update(provider->name(), source);
  } else {
    Running running;
    running.issuer = std::make_unique<Issuer>(ground_, provider->name(), source);
    issuers_.emplace(id, std::move(running));
    tasks_.spawn(keep_fresh(id));
  }
  told.push_back({.name = provider->name(),
                  .issuer = issuers_.at(id).issuer->shared_figures(),
                  .introspection = nullptr});
}

std::shared_ptr<IntrospectionFigures> Agent::counted_for(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      told_, [&](const Told& one) { return one.name == name && one.introspection != nullptr; });
  return found == told_.end() ? nullptr : found->introspection;
}

void Agent::take_introspection(const std::shared_ptr<const Provider>& provider,
                               std::vector<Told>& told) {
  auto& slot = introspectors_[provider->server_id()];
  if (slot == nullptr) slot = std::make_unique<Introspector>(ground_, *provider->introspection());
  // Another secret or URL makes another introspector, and no other counters.
  if (auto counted = counted_for(provider->name()))
    slot->count_on(provider->name(), std::move(counted));
  told.push_back({.name = provider->name(),
                  .issuer = nullptr,
                  .introspection = slot->figures_of(provider->name())});
}

io::Task<void> Agent::keep_fresh(std::uint64_t id) {
  Running& running = issuers_.at(id);
  do {
    co_await running.issuer->run();
  } while (!stopping_ && running.wanted);  // asked for again while it was about to end
  running.done = true;
  if (!stopping_) issuers_.erase(id);
}

void Agent::run(std::shared_ptr<const Errand> errand, std::function<void(ErrandAnswer)> done) {
  loop_.send([this, errand = std::move(errand), done = std::move(done)]() mutable {
    start(*errand, std::move(done));
  });
}

void Agent::start(const Errand& errand, std::function<void(ErrandAnswer)> done) {
  if (errand.kind == Errand::Kind::kKeys) {
    const auto found = issuers_.find(errand.provider->key_source()->live->id());
    if (found != issuers_.end()) return found->second.issuer->ask(errand.subject, std::move(done));
    return done({.identity = fail(code::kKeysUnavailable, Blame::kInternal,
                                  "the issuer's keys are no longer fetched")});
  }
  const auto found = introspectors_.find(errand.provider->server_id());
  if (found != introspectors_.end()) return found->second->ask(errand, std::move(done));
  done({.identity = fail(code::kIntrospectionFailed, Blame::kInternal,
                         "the authorisation server is no longer asked")});
}

std::vector<telemetry::IdentityFigures> Agent::status() const {
  const std::lock_guard lock(mutex_);
  std::vector<telemetry::IdentityFigures> all;
  for (const Told& one : told_) {
    telemetry::IdentityFigures status{.name = one.name};
    if (one.issuer != nullptr) {
      status.keys = one.issuer->keys;
      status.changes = one.issuer->changes;
      status.fetched = one.issuer->fetched;
      status.failed = one.issuer->failed;
      const nanoseconds since =
          clock_.now().time_since_epoch() - nanoseconds{one.issuer->renewed_ns};
      status.keys_age_s = std::chrono::duration<double>(since).count();
    } else {
      status.introspects = true;
      status.active = one.introspection->active;
      status.refused = one.introspection->refused;
      status.failed = one.introspection->failed;
      status.remembered = one.introspection->remembered;
    }
    all.push_back(std::move(status));
  }
  return all;
}

}  // namespace merlon::identity
