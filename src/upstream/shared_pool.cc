#include <algorithm>
#include <utility>

#include "tls/tls_stream.h"
#include "upstream/pool.h"

/// Connections of HTTP/2: many requests share one, and several of them share the load.
namespace merlon::upstream {
namespace {

// How many endpoints one request tries: more would multiply the load of a struggling upstream.
constexpr unsigned kAttemptsMax = 3;
// Requests of one turn that go to one connection beyond the share of the others: one write carries
// them, and their answers come together.
constexpr std::uint32_t kTogetherMax = 8;

std::unexpected<Error> waited_in_vain(std::uint16_t code, const char* what) {
  return std::unexpected(
      Error{.code = code, .blame = Blame::kUpstream, .retryable = true, .what = what});
}

}  // namespace

/// The connection with the fewest streams: the load spreads over all that are open. Requests that
/// come together stay so for a while.
Lease Cluster::share(EndpointState& endpoint) noexcept {
  const std::shared_ptr<SharedConnection>* best = nullptr;
  for (const auto& connection : endpoint.shared) {
    if (connection->has_room() && (best == nullptr || connection->users() < (*best)->users()))
      best = &connection;
  }
  if (best == nullptr) return {};
  if (endpoint.shared_at == loop_.now() && endpoint.shared_last < endpoint.shared.size()) {
    const auto& last = endpoint.shared[endpoint.shared_last];
    if (last->has_room() && last->users() < (*best)->users() + kTogetherMax) best = &last;
  }
  endpoint.shared_at = loop_.now();
  endpoint.shared_last = static_cast<std::size_t>(best - endpoint.shared.data());
  ++(*best)->users_;
  ++(*best)->uses_;
  ++endpoints_[(*best)->endpoint()].active;
  return {*this, *best};
}

Lease Cluster::share_any() noexcept {
  for (EndpointState& endpoint : endpoints_) {
    if (!endpoint.healthy()) continue;
    Lease lease = share(endpoint);
    if (lease) return lease;
  }
  return {};
}

std::size_t Cluster::free_streams() const noexcept {
  std::size_t free = 0;
  for (const EndpointState& endpoint : endpoints_) {
    if (!endpoint.healthy()) continue;
    for (const auto& connection : endpoint.shared) free += connection->room();
  }
  return free;
}

void Cluster::give_back(SharedConnection& connection) noexcept {
  --connection.users_;
  --endpoints_[connection.endpoint()].active;
  place_.notify_one();
}

void Cluster::tell_goaway(SharedConnection& connection) noexcept {
  if (events_ == nullptr) return;
  const http::H2Session::GoAway& said = *connection.client().goaway();
  events_->warning(
      "upstream_goaway",
      {telemetry::str("upstream", upstream_->name),
       telemetry::str("endpoint", endpoints_[connection.endpoint()].text),
       telemetry::str("code", http::name_of(said.code)), telemetry::str("debug", said.debug)});
}

void Cluster::forget(SharedConnection& connection, const Error& why) noexcept {
  EndpointState& endpoint = endpoints_[connection.endpoint()];
  if (why.code != 0 && events_ != nullptr) {
    events_->warning(
        "upstream_http2_ended",
        {telemetry::str("upstream", upstream_->name), telemetry::str("endpoint", endpoint.text),
         telemetry::rule(why), telemetry::str("reason", why.what)});
  }
  const auto is_it = [&](const auto& one) { return one.get() == &connection; };
  std::erase_if(endpoint.shared, is_it);
  std::erase_if(endpoint.greeting, is_it);
  --open_;
  place_.notify_all();
}

io::Task<Result<void>> Cluster::greet(std::size_t index, std::unique_ptr<io::SocketStream> stream,
                                      Instant deadline) {
  const bool secure = upstream_->tls != nullptr;
  if (secure && static_cast<tls::TlsStream&>(*stream).alpn() != "h2") {
    --open_;
    co_return fail(code::kUpstreamNotH2, Blame::kUpstream, "the upstream did not agree to h2");
  }
  auto made = std::make_shared<SharedConnection>(*this, index, std::move(stream));
  endpoints_[index].greeting.push_back(made);
  tasks_.spawn(SharedConnection::live(made));
  const Result<void> greeted = co_await made->greeting(deadline);
  if (greeted) {
    std::erase(endpoints_[index].greeting, made);
    endpoints_[index].shared.push_back(std::move(made));
  } else {
    made->client().abort();  // its coroutine tells `forget`
  }
  co_return greeted;
}

/// Those that are being made have room for another request.
bool Cluster::room_is_coming(const EndpointState& endpoint) noexcept {
  return endpoint.connecting * SharedConnection::kStreamsMax > endpoint.waiting;
}

/// Connections that requests go to, or soon will. Those of an endpoint that is out of use, and
/// those that the upstream has told to end, only finish what they have: they take no place of
/// others.
std::size_t Cluster::in_service() const noexcept {
  std::size_t count = 0;
  for (const EndpointState& endpoint : endpoints_) {
    if (!endpoint.healthy()) continue;
    count += endpoint.connecting;
    count += static_cast<std::size_t>(std::ranges::count_if(
        endpoint.shared, [](const auto& one) { return !one->client().goaway().has_value(); }));
  }
  return count;
}

/// Requests that come together open no more connections than they fill. An upstream that allows no
/// streams for a while (RFC 9113 §5.1.2) does not mean to have them by another connection.
bool Cluster::wants_another(const EndpointState& endpoint) const noexcept {
  if (room_is_coming(endpoint)) return false;
  const std::size_t most = upstream_->connections_max;
  if (open_ >= most && in_service() >= most) return false;
  return std::ranges::none_of(endpoint.shared,
                              [](const auto& one) { return one->client().paused(); });
}

/// An endpoint without any connection, and no place for one: connections that nobody uses, of
/// endpoints that fail, are ended for it. Their end wakes those who wait.
void Cluster::make_place_for(const EndpointState& endpoint) noexcept {
  const bool has_one = !endpoint.shared.empty() || endpoint.connecting > 0;
  if (has_one || open_ < upstream_->connections_max) return;
  for (const EndpointState& other : endpoints_) {
    const bool out_of_use = !other.healthy() || other.passed_over_until > loop_.now();
    if (&other == &endpoint || !out_of_use) continue;
    for (const auto& connection : other.shared) {
      if (connection->users() == 0) connection->client().retire();
    }
  }
}

/// Makes a connection for all who wait: it takes the time that an upstream has for it, whatever
/// becomes of the request that found it missing.
void Cluster::begin_shared(std::size_t index) {
  ++open_;
  ++endpoints_[index].connecting;
  tasks_.spawn(connect_shared(index), [self = shared_from_this()] {});
}

io::Task<void> Cluster::connect_shared(std::size_t index) {
  co_await loop_.yield();  // by then whoever began it waits
  const Instant until = loop_.now() + upstream_->connect_timeout;
  io::ConnectCancel cancel;
  connects_.push_back(&cancel);
  Result<std::unique_ptr<io::SocketStream>> stream = co_await connect_to(index, until, &cancel);
  std::erase(connects_, &cancel);
  Result<void> done;
  if (stream) {
    done = co_await greet(index, std::move(*stream), until);
  } else {
    --open_;
    done = std::unexpected(stream.error());
  }
  EndpointState& endpoint = endpoints_[index];
  --endpoint.connecting;
  if (!done) {
    ++endpoint.connect_failures;
    endpoint.connect_failure = note_connect_failure(index, done.error());
  }
  place_.notify_all();
}

/// Waits for a stream or a connection to end, or for a connection that is being made. `counted`:
/// as one of those for whom there was none.
io::Task<Result<void>> Cluster::wait_for_room(std::size_t index, Search& search, bool counted) {
  if (counted && pending_ >= upstream_->pending_max)
    co_return waited_in_vain(code::kUpstreamLimit, "too many requests wait for a connection");
  const std::size_t one = counted ? 1 : 0;
  pending_ += one;
  ++endpoints_[index].waiting;
  const bool woken = co_await wait_for_place(search);
  --endpoints_[index].waiting;
  pending_ -= one;
  if (woken) co_return Result<void>{};
  if (search.cancelled_) co_return waited_in_vain(code::kCancelled, "the client has gone");
  if (endpoints_[index].connecting > 0)
    co_return waited_in_vain(code::kUpstreamConnectTimeout, "no connection was there in time");
  co_return waited_in_vain(code::kUpstreamLimit, "no connection had room in time");
}

io::Task<Result<Lease>> Cluster::open_shared(Search& search) {
  const std::size_t attempts = std::min<std::size_t>(endpoints_.size(), kAttemptsMax);
  // Whoever gives up may have been woken for a place that it does not take.
  const auto give_up = [this](const Error& why) {
    place_.notify_one();
    return std::unexpected(why);
  };
  bool begun = false;
  bool queued = others_first();
  if (queued) place_.notify_one();  // they may not know of what has come free
  while (loop_.now() < search.until_) {
    const std::size_t index = choose();
    if (index == kNobody) co_return give_up(kNoHealthyEndpoint);
    Lease lease;
    if (!queued) lease = share(endpoints_[index]);
    if (lease) co_return lease;
    const std::uint64_t failures = endpoints_[index].connect_failures;
    make_place_for(endpoints_[index]);
    const bool coming = room_is_coming(endpoints_[index]);
    if (wants_another(endpoints_[index])) {
      begun = true;
      begin_shared(index);
      place_.notify_one();  // another may want the room that has woken this one
    } else if (!queued) {
      lease = share_any();
      if (lease) co_return lease;
    }
    queued = false;
    const Result<void> waited = co_await wait_for_room(index, search, !begun && !coming);
    if (!waited) co_return give_up(waited.error());
    const EndpointState& endpoint = endpoints_[index];
    if (endpoint.connect_failures == failures) continue;
    // Those who waited for a connection that failed do not all try again: each would take as long.
    const bool in_vain = begun || (endpoint.shared.empty() && endpoint.connecting == 0);
    if (!in_vain) continue;
    search.note_failure(endpoint.text);
    if (is_own(endpoint.connect_failure) || search.failures_ == attempts)
      co_return give_up(endpoint.connect_failure);
  }
  place_.notify_one();
  co_return waited_in_vain(code::kUpstreamLimit, "no connection had room in time");
}

}  // namespace merlon::upstream
