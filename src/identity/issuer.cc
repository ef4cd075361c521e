#include "identity/issuer.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "identity/discovery.h"
#include "tls/client_context.h"

namespace merlon::identity {
namespace {

using telemetry::num;
using telemetry::str;

constexpr seconds kFetchTimeout{10};
// What discovery said is asked for again after this, and whenever the keys cannot be fetched.
constexpr seconds kDiscoveryAge{3600};
constexpr milliseconds kRetryFirst{500};
constexpr unsigned kRetryDoublings = 4;  // 8 s at most: an issuer that is back is seen soon
constexpr std::size_t kWaitingMax = 4096;
constexpr std::size_t kOriginsMax = 8;

/// After four fifths of their time keys are renewed, so that one slow fetch makes no gap.
constexpr seconds ahead_of(seconds fresh) { return fresh * 4 / 5 + seconds{1}; }

}  // namespace

Issuer::Issuer(const AgentGround& ground, std::string name, std::shared_ptr<const KeySource> source)
    : ground_(ground), name_(std::move(name)), source_(std::move(source)), wake_(ground.loop) {}

void Issuer::stop() noexcept {
  stopping_ = true;
  for (const auto& [host, origin] : origins_) origin->cancel();
  wake_.cancel();
}

void Issuer::update(std::string name, std::shared_ptr<const KeySource> source) {
  name_ = std::move(name);
  const bool same = source_->same_as(*source);
  source_ = std::move(source);
  if (same) return;
  // Other hosts or authorities: what is believed is asked for again, under the new rules.
  discovered_.reset();
  next_ = ground_.loop.now();
  wake_.notify_all();
}

io::Task<void> Issuer::run() {
  stopping_ = false;
  origins_.clear();
  while (!stopping_) {
    fetching_ = true;
    const std::shared_ptr<const KeySource> held = source_;
    const bool renewed = co_await renew();
    fetching_ = false;
    if (stopping_) break;
    // A fetch that a reload overtook says nothing of the source that is in force now.
    if (held != source_ && !held->same_as(*source_)) continue;
    failures_ = renewed ? 0 : failures_ + 1;
    if (!renewed) {
      next_ = ground_.loop.now() + kRetryFirst * (1U << std::min(failures_ - 1, kRetryDoublings));
    }
    source_->live->attempted(renewed);
    settle(renewed ? Outcome::kFetched : Outcome::kFailed);
    while (!stopping_ && !asked_ && ground_.loop.now() < next_) {
      withdraw_when_stale();
      const bool has_keys = figures_->keys.load(std::memory_order_relaxed) != 0;
      const Instant until = has_keys ? std::min(next_, stale_until()) : next_;
      const Result<void> woken = co_await wake_.wait(until);
      static_cast<void>(woken);  // time or a notification: what is due is looked at anew
    }
    withdraw_when_stale();
    asked_ = false;
  }
  settle(Outcome::kFailed);
}

void Issuer::withdraw_when_stale() {
  if (figures_->keys.load(std::memory_order_relaxed) == 0 || ground_.loop.now() < stale_until())
    return;
  source_->live->publish(nullptr);
  figures_->keys.store(0, std::memory_order_relaxed);
  if (ground_.events != nullptr)
    ground_.events->error("issuer_keys_expired", {str("identity", name_)});
}

bool Issuer::failed(std::string_view what, std::string_view reason) {
  figures_->failed.fetch_add(1, std::memory_order_relaxed);
  if (ground_.events != nullptr && !stopping_) {
    ground_.events->error(
        "issuer_fetch_failed",
        {str("identity", name_), str("what", what), str("url", last_url_), str("reason", reason),
         num("keys", figures_->keys.load(std::memory_order_relaxed))});
  }
  discovered_.reset();
  return false;
}

io::Task<bool> Issuer::renew() {
  const Instant deadline = ground_.loop.now() + kFetchTimeout;
  std::optional<upstream::HttpsUrl> url = source_->jwks_uri;
  if (!url.has_value()) {
    if (!discovered_.has_value() || ground_.loop.now() >= discovered_until_) {
      std::optional<upstream::HttpsUrl> found = co_await discover(deadline);
      if (!found.has_value()) co_return false;
      discovered_ = std::move(found);
      discovered_until_ = ground_.loop.now() + kDiscoveryAge;
    }
    url = discovered_;
  }
  const bool named = source_->jwks_uri.has_value();
  const Result<upstream::FetchResponse> response =
      co_await get(std::move(*url), named, kKeySetBytesMax, deadline);
  if (!response) co_return failed("keys", response.error().what);
  if (response->status != 200) {
    co_return failed("keys", fmt::format("answered {}", response->status));
  }
  co_return take_keys(*response);
}

/// Where the keys are, by the first document that can be used. Of several that cannot be, the first
/// one that was there is told of.
io::Task<std::optional<upstream::HttpsUrl>> Issuer::discover(Instant deadline) {
  std::string problem;
  std::string url_of_problem;
  bool was_there = false;
  for (const upstream::HttpsUrl& url : metadata_urls(source_->issuer)) {
    const Result<upstream::FetchResponse> response =
        co_await get(url, true, kMetadataBytesMax, deadline);
    if (!response) {
      failed("metadata", response.error().what);
      co_return std::nullopt;
    }
    const bool there = response->status == 200;
    auto keys = there ? read_metadata(response->body, source_->issuer)
                      : std::unexpected(fmt::format("answered {}", response->status));
    if (keys.has_value()) co_return std::move(*keys);
    if (!problem.empty() && (was_there || !there)) continue;
    was_there = there;
    problem = keys.error();
    url_of_problem = last_url_;
  }
  last_url_ = url_of_problem;
  failed("metadata", problem);
  co_return std::nullopt;
}

upstream::Origin* Issuer::origin_for(const upstream::HttpsUrl& url, bool named) {
  const auto issuer = upstream::parse_https_url(source_->issuer);
  const bool own = named || (issuer.has_value() && issuer->host == url.host);
  const bool listed = std::ranges::find(source_->hosts, url.host) != source_->hosts.end();
  const std::string key =
      fmt::format("{} {} {}", url.authority(), own || listed, source_->ca_digest);
  const auto known = origins_.find(key);
  if (known != origins_.end()) return known->second.get();
  std::shared_ptr<tls::ClientContext> context;
  if (source_->own_host != nullptr && source_->own_host->server_name() == url.host) {
    context = source_->own_host;
  } else {
    Diagnostics ignored;
    context = tls::ClientContext::load(source_->tls, url.host, false, {"http/1.1"}, ground_.broker,
                                       SystemClock().wall_now(), ignored, source_->own_host.get());
  }
  if (context == nullptr) return nullptr;
  if (origins_.size() == kOriginsMax) origins_.clear();
  upstream::Origin::Settings settings{.host = url.host,
                                      .port = url.port,
                                      .tls = std::move(context),
                                      .public_only = !own && !listed};
  auto made = std::make_unique<upstream::Origin>(ground_.loop, ground_.broker, ground_.resolver,
                                                 std::move(settings));
  return origins_.emplace(key, std::move(made)).first->second.get();
}

io::Task<Result<upstream::FetchResponse>> Issuer::get(upstream::HttpsUrl url, bool named,
                                                      std::size_t bytes_max, Instant deadline) {
  last_url_ = fmt::format("https://{}{}", url.authority(), url.path);
  upstream::Origin* const origin = origin_for(url, named);
  if (origin == nullptr) {
    co_return fail(code::kKeysUnavailable, Blame::kInternal, "the authorities cannot be read");
  }
  upstream::FetchRequest request{.method = "GET",
                                 .path = std::move(url.path),
                                 .query = std::move(url.query),
                                 .has_query = url.has_query,
                                 .fields = {{"Accept", "application/json"}},
                                 .body = {},
                                 .body_bytes_max = bytes_max};
  co_return co_await origin->fetch(std::move(request), deadline);
}

bool Issuer::take_keys(const upstream::FetchResponse& response) {
  const auto read = read_jwks(response.body);
  if (!read.has_value()) return failed("keys", read.error());
  if (!read->keys->has_key_for(source_->algorithms)) {
    return failed("keys", "no key is for any of the `algorithms`");
  }
  tell_skipped(read->skipped);
  const std::shared_ptr<const KeySet> before = source_->live->keys();
  const bool changed = before == nullptr || !before->same_keys(*read->keys);
  const Instant now = ground_.loop.now();
  const seconds fresh = freshness(response);
  next_ = now + ahead_of(fresh);
  fresh_until_ = now + fresh;
  figures_->fetched.fetch_add(1, std::memory_order_relaxed);
  figures_->renewed_ns.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  if (!changed) return true;
  source_->live->publish(read->keys);
  source_->live->forget_unknown();
  // Nobody has to ask for those that are gone: this set is the answer.
  if (before != nullptr) note_gone(*before, *read->keys);
  figures_->keys.store(read->keys->keys().size(), std::memory_order_relaxed);
  figures_->changes.fetch_add(1, std::memory_order_relaxed);
  if (ground_.events != nullptr) {
    ground_.events->info("issuer_keys_changed",
                         {str("identity", name_), num("keys", read->keys->keys().size()),
                          num("skipped", read->skipped.size()),
                          num("fresh_s", static_cast<std::uint64_t>(fresh.count()))});
  }
  return true;
}

/// Tokens of such keys are refused: said once, until it is about others.
void Issuer::tell_skipped(const std::vector<std::string>& skipped) {
  if (std::exchange(skipped_, skipped) == skipped || skipped.empty()) return;
  if (ground_.events == nullptr) return;
  constexpr std::size_t kTold = 3;
  const std::span<const std::string> first(skipped.data(), std::min(kTold, skipped.size()));
  const std::string told = fmt::format("{}", fmt::join(first, "; "));
  ground_.events->warning("issuer_keys_skipped",
                          {str("identity", name_), str("url", last_url_),
                           num("skipped", skipped.size()), str("reasons", told)});
}

void Issuer::note_gone(const KeySet& before, const KeySet& now) {
  for (const auto& key : before.keys()) {
    if (now.has_kid(key->kid())) continue;
    source_->live->note_unknown(key->kid(), ground_.loop.now() + kUnknownAge);
  }
}

void Issuer::ask(const std::string& kid, Done done) {
  // Not the loop's: whoever asks has looked at the clock, perhaps since this turn began.
  const Instant now = ground_.loop.clock().now();
  if (stopping_ || waiting_.size() >= kWaitingMax) {
    return done({.identity = fail(code::kKeysUnavailable, Blame::kInternal,
                                  "too many requests wait for the issuer's keys")});
  }
  const std::shared_ptr<const KeySet> keys = source_->live->keys();
  if (keys != nullptr && (kid.empty() || keys->has_kid(kid))) return done({.identity = nullptr});
  waiting_.push_back({.kid = kid, .done = std::move(done)});
  if (fetching_ || asked_) return;
  using Asking = LiveKeys::Asking;
  const Asking asking = source_->live->asking(kid, now);
  if (asking != Asking::kWorthIt) {
    if (source_->live->failing()) return settle(Outcome::kFailed);
    return settle(asking == Asking::kInVain ? Outcome::kInVain : Outcome::kTooSoon);
  }
  asked_ = true;  // one fetch serves all who wait
  by_asking_ = true;
  wake_.notify_all();
}

void Issuer::settle(Outcome outcome) {
  std::vector<Waiting> all;
  all.swap(waiting_);
  const Instant now = ground_.loop.now();
  // Only now: while a fetch is on its way, whoever comes waits for it.
  if (std::exchange(by_asking_, false)) source_->live->ask_not_before(now + kAskInterval);
  const std::shared_ptr<const KeySet> keys = source_->live->keys();
  for (const Waiting& one : all) {
    const bool first_keys = one.kid.empty() && outcome != Outcome::kFailed;
    if (keys != nullptr && (first_keys || keys->has_kid(one.kid))) {
      one.done({.identity = nullptr});
      continue;
    }
    if (outcome == Outcome::kFetched) source_->live->note_unknown(one.kid, now + kUnknownAge);
    one.done({.identity = without_key(outcome)});
  }
}

std::unexpected<Error> Issuer::without_key(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::kFetched:
    case Outcome::kInVain:
      return fail(code::kTokenKeyUnknown, Blame::kClient, "no key of the issuer fits the token");
    case Outcome::kTooSoon:
      return fail(code::kTokenKeyPending, Blame::kClient,
                  "the issuer was asked a moment ago, and is asked for this key later");
    case Outcome::kFailed:
      break;
  }
  return fail(code::kKeysUnavailable, Blame::kInternal, "the issuer's keys cannot be fetched");
}

}  // namespace merlon::identity
