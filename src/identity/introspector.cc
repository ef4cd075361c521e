#include "identity/introspector.h"

#include <fmt/format.h>

#include <algorithm>
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
// Of one client: half of those in progress at most, so that whoever guesses at a slow server leaves
// it to others, and never more of the queue than a two hundredth.
constexpr std::size_t kPendingOfClientMax = 16;
// After so many failures in a row nothing is asked for so long: waiting for a dead server helps
// nobody. One alone may be the fault of the question.
constexpr unsigned kFailuresMax = 3;
constexpr milliseconds kBrokenFor{500};

ErrandAnswer failure(const char* why) {
  return {.identity = fail(code::kIntrospectionFailed, Blame::kInternal, why)};
}

/// Answers that are about what was asked: of its form or its size (RFC 9110 §15.5). The rest is
/// about the server, its address, or who the gateway is to it.
bool is_about_the_token(unsigned status) noexcept {
  return status == 400 || status == 413 || status == 414 || status == 422 || status == 431;
}

upstream::Origin::Settings settings_of(const IntrospectionSource& source) {
  return {
      .host = source.url.host, .port = source.url.port, .tls = source.tls, .public_only = false};
}

}  // namespace

Introspector::Introspector(const AgentGround& ground, const IntrospectionSource& server)
    : ground_(ground), origin_(ground.loop, ground.broker, ground.resolver, settings_of(server)) {}

const std::shared_ptr<IntrospectionFigures>& Introspector::figures_of(const std::string& name) {
  auto& figures = figures_[name];
  if (figures == nullptr) figures = std::make_shared<IntrospectionFigures>();
  return figures;
}

void Introspector::stop() noexcept {
  stopping_ = true;
  origin_.cancel();
}

const ErrandAnswer* Introspector::recall(const Key& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  if (found->second->answer.good_until > ground_.loop.now()) return &found->second->answer;
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
    figures_of(errand.provider->name())->remembered.fetch_add(1, std::memory_order_relaxed);
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
  const auto pending = pending_of_.find(errand.client);
  if (pending != pending_of_.end() && pending->second >= kPendingOfClientMax) {
    return done({.identity = fail(code::kAuthenticationBudget, Blame::kClient,
                                  "too many tokens of one client wait to be asked about")});
  }
  if (queue_.size() >= kQueueMax) return done(failure("too many tokens wait to be asked about"));
  auto flight = std::make_shared<Flight>();
  flight->digest = errand.token_digest;
  flight->policy_id = key.first;
  flight->client = errand.client;
  flight->provider = errand.provider;
  flight->token = errand.subject;
  flight->waiting.push_back(std::move(done));
  ++pending_of_[errand.client];
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
    const auto pending = pending_of_.find(flight->client);
    if (--pending->second == 0) pending_of_.erase(pending);
    if (answer.good_until != Instant{}) keep(key, answer);
    for (const Done& done : flight->waiting) done(answer);
  }
  --working_;
}

io::Task<ErrandAnswer> Introspector::ask_server(const Flight& flight) {
  // The answer counts from before it was asked for: what was revoked meanwhile is not missed.
  const Instant asked_at = ground_.loop.now();
  upstream::FetchRequest request =
      introspection_request(*flight.provider->introspection(), flight.token);
  const Result<upstream::FetchResponse> response =
      co_await origin_.fetch(std::move(request), ground_.loop.now() + kAskTimeout);
  if (!response) co_return failed(flight, response.error().what);
  if (response->status != 200) co_return judge_status(flight, response->status);
  co_return judge(flight, *response, asked_at);
}

ErrandAnswer Introspector::judge(const Flight& flight, const upstream::FetchResponse& response,
                                 Instant asked_at) {
  const TokenTime now = token_time(ground_.loop.clock().wall_now());
  auto identity = read_introspection(response.body, flight.provider->rules(), now, document_);
  if (!identity && identity.error().code == code::kIntrospectionFailed) {
    failed(flight, identity.error().what);
    return failure(identity.error().what);
  }
  failures_ = 0;
  IntrospectionFigures& figures = *figures_of(flight.provider->name());
  (identity ? figures.active : figures.refused).fetch_add(1, std::memory_order_relaxed);
  return {.identity = std::move(identity),
          .good_until = asked_at + flight.provider->introspection()->cache};
}

ErrandAnswer Introspector::judge_status(const Flight& flight, unsigned status) {
  const std::string reason = fmt::format("answered {}", status);
  if (is_about_the_token(status)) {
    failures_ = 0;
    note_failure(flight, reason);
    return {.identity = fail(code::kIntrospectionRefused, Blame::kClient,
                             "the authorisation server does not take this token for one")};
  }
  // Our own credentials are wrong: that mends itself for no token.
  if (status == 401 || status == 403) failures_ = kFailuresMax;
  return failed(flight, reason);
}

void Introspector::note_failure(const Flight& flight, std::string_view reason) {
  const Provider& asks = *flight.provider;
  figures_of(asks.name())->failed.fetch_add(1, std::memory_order_relaxed);
  if (ground_.events == nullptr || stopping_) return;
  const upstream::HttpsUrl& url = asks.introspection()->url;
  ground_.events->error(
      "introspection_failed",
      {str("identity", asks.name()),
       str("url", fmt::format("https://{}{}", url.authority(), url.path)), str("reason", reason)});
}

/// Of the server, not of one token.
ErrandAnswer Introspector::failed(const Flight& flight, std::string_view reason) {
  note_failure(flight, reason);
  failures_ = std::min(failures_ + 1, kFailuresMax);
  if (failures_ == kFailuresMax) broken_until_ = ground_.loop.now() + kBrokenFor;
  return failure("the authorisation server cannot be asked");
}

}  // namespace merlon::identity
