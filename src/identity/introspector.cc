#include "identity/introspector.h"

#include <fmt/format.h>

#include <utility>

namespace merlon::identity {
namespace {

using telemetry::str;

constexpr milliseconds kAskTimeout{4'000};
// Questions to one server at a time, and waiting ones: beyond, the answer is 503 at once.
constexpr std::size_t kWorkersMax = 32;
constexpr std::size_t kQueueMax = 4096;
constexpr std::size_t kWaitingMax = 4096;  // requests for one token
constexpr std::size_t kKeptMax = 16'384;
// After a failure nothing is asked for so long: waiting for a dead server helps nobody.
constexpr milliseconds kBrokenFor{500};

ErrandAnswer failure(const char* why) {
  return {.identity = fail(code::kIntrospectionFailed, Blame::kInternal, why)};
}

upstream::Origin::Settings settings_of(const IntrospectionSource& source) {
  return {
      .host = source.url.host, .port = source.url.port, .tls = source.tls, .public_only = false};
}

}  // namespace

Introspector::Introspector(const AgentGround& ground, std::shared_ptr<const Provider> provider)
    : ground_(ground),
      provider_(std::move(provider)),
      origin_(ground.loop, ground.broker, ground.resolver,
              settings_of(*provider_->introspection())) {}

void Introspector::stop() noexcept {
  stopping_ = true;
  origin_.cancel();
}

const ErrandAnswer* Introspector::recall(const Key& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  const TokenTime now = token_time(ground_.loop.clock().wall_now());
  if (found->second->answer.good_until > now) return &found->second->answer;
  kept_.erase(found->second);
  by_key_.erase(found);
  return nullptr;
}

void Introspector::keep(const Key& key, const ErrandAnswer& answer) {
  if (by_key_.contains(key)) return;
  if (kept_.size() == kKeptMax) {
    by_key_.erase(kept_.back().key);
    kept_.pop_back();
  }
  kept_.push_front({.key = key, .answer = answer});
  by_key_.emplace(key, kept_.begin());
}

void Introspector::ask(const Errand& errand, Done done) {
  const Key key{errand.provider->policy_id(), errand.token_digest};
  if (const ErrandAnswer* const known = recall(key)) {
    figures_->remembered.fetch_add(1, std::memory_order_relaxed);
    return done(*known);
  }
  const auto flying = flights_.find(key);
  if (flying != flights_.end()) {
    if (flying->second->waiting.size() >= kWaitingMax) {
      return done(failure("too many requests wait for this token"));
    }
    flying->second->waiting.push_back(std::move(done));
    return;
  }
  if (stopping_ || ground_.loop.now() < broken_until_) {
    return done(failure("the authorisation server cannot be asked"));
  }
  if (queue_.size() >= kQueueMax) return done(failure("too many tokens wait to be asked about"));
  auto flight = std::make_shared<Flight>();
  flight->digest = errand.token_digest;
  flight->policy_id = key.first;
  flight->provider = errand.provider;
  flight->token = errand.subject;
  flight->waiting.push_back(std::move(done));
  flights_.emplace(key, flight);
  queue_.push_back(std::move(flight));
  if (working_ < kWorkersMax) tasks_.spawn(work());
}

/// Takes questions until there are none.
io::Task<void> Introspector::work() {
  ++working_;
  while (!queue_.empty()) {
    const std::shared_ptr<Flight> flight = std::move(queue_.front());
    queue_.pop_front();
    ErrandAnswer answer = failure("the authorisation server cannot be asked");
    if (!stopping_ && ground_.loop.now() >= broken_until_) {
      answer = co_await ask_server(*flight);
    }
    const Key key{flight->policy_id, flight->digest};
    flights_.erase(key);
    const bool about_the_token =
        answer.identity || answer.identity.error().code != code::kIntrospectionFailed;
    if (about_the_token) keep(key, answer);
    for (const Done& done : flight->waiting) done(answer);
  }
  --working_;
}

io::Task<ErrandAnswer> Introspector::ask_server(const Flight& flight) {
  // The answer counts from before it was asked for: what was revoked meanwhile is not missed.
  const TokenTime asked_at = token_time(ground_.loop.clock().wall_now());
  upstream::FetchRequest request =
      introspection_request(*flight.provider->introspection(), flight.token);
  const Result<upstream::FetchResponse> response =
      co_await origin_.fetch(std::move(request), ground_.loop.now() + kAskTimeout);
  if (!response) co_return failed(response.error().what);
  if (response->status != 200) co_return failed(fmt::format("answered {}", response->status));
  co_return judge(flight, *response, asked_at);
}

ErrandAnswer Introspector::judge(const Flight& flight, const upstream::FetchResponse& response,
                                 TokenTime asked_at) {
  auto identity = read_introspection(response.body, flight.provider->rules(), asked_at, document_);
  if (!identity && identity.error().code == code::kIntrospectionFailed) {
    return failed(identity.error().what);
  }
  (identity ? figures_->active : figures_->refused).fetch_add(1, std::memory_order_relaxed);
  return {.identity = std::move(identity),
          .good_until = asked_at + flight.provider->introspection()->cache.count()};
}

ErrandAnswer Introspector::failed(std::string_view reason) {
  figures_->failed.fetch_add(1, std::memory_order_relaxed);
  broken_until_ = ground_.loop.now() + kBrokenFor;
  if (ground_.events != nullptr && !stopping_) {
    ground_.events->error("introspection_failed",
                          {str("identity", provider_->name()), str("reason", reason)});
  }
  return failure("the authorisation server cannot be asked");
}

}  // namespace merlon::identity
