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

std::unexpected<Error> limit_reached(const char* what) {
  return std::unexpected(Error{
      .code = code::kUpstreamLimit, .blame = Blame::kUpstream, .retryable = true, .what = what});
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

void Cluster::give_back(SharedConnection& connection) noexcept {
  --connection.users_;
  --endpoints_[connection.endpoint()].active;
  place_.notify_one();
}

void Cluster::forget(SharedConnection& connection, const Error& why) noexcept {
  EndpointState& endpoint = endpoints_[connection.endpoint()];
  if (why.code != 0 && events_ != nullptr) {
    events_->warning(
        "upstream_http2_ended",
        {telemetry::str("upstream", upstream_->name), telemetry::str("endpoint", endpoint.text),
         telemetry::rule(why), telemetry::str("reason", why.what)});
  }
  const auto here =
      std::ranges::find(endpoint.shared, &connection, [](const auto& one) { return one.get(); });
  if (here != endpoint.shared.end()) endpoint.shared.erase(here);
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
  tasks_.spawn(SharedConnection::live(made));
  const Result<void> greeted = co_await made->greeting(deadline);
  if (greeted) {
    endpoints_[index].shared.push_back(std::move(made));
  } else {
    made->client().abort();  // its coroutine tells `forget`
  }
  co_return greeted;
}

io::Task<Result<void>> Cluster::connect_shared(std::size_t index, Instant deadline) {
  const Instant until = std::min(deadline, loop_.now() + upstream_->connect_timeout);
  ++open_;
  ++endpoints_[index].connecting;
  Result<std::unique_ptr<io::SocketStream>> stream = co_await connect_to(index, until);
  Result<void> done;
  if (stream) {
    done = co_await greet(index, std::move(*stream), until);
  } else {
    --open_;
    done = std::unexpected(stream.error());
  }
  --endpoints_[index].connecting;
  if (!done) {
    ++connect_failures_;
    last_failure_ = done.error();
    if (last_failure_.code == code::kUpstreamNotH2 && events_ != nullptr)
      events_->warning("upstream_not_http2", {telemetry::str("upstream", upstream_->name),
                                              telemetry::str("endpoint", endpoints_[index].text),
                                              telemetry::str("reason", last_failure_.what)});
  }
  place_.notify_all();
  co_return done;
}

/// Waits for a stream or a connection to end, or for a connection that is being made.
io::Task<Result<void>> Cluster::wait_for_room(std::size_t index, Instant deadline) {
  if (pending_ >= upstream_->pending_max)
    co_return limit_reached("too many requests wait for a connection");
  ++pending_;
  ++endpoints_[index].waiting;
  const Result<void> waited = co_await place_.wait(deadline);
  --endpoints_[index].waiting;
  --pending_;
  if (!waited) co_return limit_reached("no connection had room in time");
  co_return Result<void>{};
}

/// Requests that come together open no more connections than they fill.
io::Task<Result<Lease>> Cluster::open_shared(Instant deadline) {
  const std::size_t attempts = std::min<std::size_t>(endpoints_.size(), kAttemptsMax);
  for (std::size_t attempt = 0; loop_.now() < deadline;) {
    const std::size_t index = choose();
    if (index == kNobody) co_return std::unexpected(kNoHealthyEndpoint);
    Lease lease = share(endpoints_[index]);
    if (lease) co_return lease;
    const EndpointState& endpoint = endpoints_[index];
    const bool coming = endpoint.connecting * SharedConnection::kStreamsMax > endpoint.waiting;
    if (!coming && open_ < upstream_->connections_max) {
      const Result<void> made = co_await connect_shared(index, deadline);
      if (made) continue;
      Error error = made.error();
      const bool others = note_connect_failure(index, error);
      last_failure_ = error;
      if (!others || ++attempt == attempts) co_return std::unexpected(error);
      continue;
    }
    lease = share_any();
    if (lease) co_return lease;
    const std::uint64_t failures = connect_failures_;
    const Result<void> waited = co_await wait_for_room(index, deadline);
    if (!waited) co_return std::unexpected(waited.error());
    // Those who waited for a connection that failed do not all try again: each would take as long.
    const bool in_vain = failures != connect_failures_ && open_ == 0;
    if (in_vain && ++attempt == attempts) co_return std::unexpected(last_failure_);
  }
  co_return limit_reached("no connection had room in time");
}

}  // namespace merlon::upstream
