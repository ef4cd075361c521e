#include "upstream/pool.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "tls/tls_stream.h"

namespace merlon::upstream {
namespace {

// An endpoint that fails is left alone for this long, doubled for each failure in a row.
constexpr milliseconds kPassedOverFirst{500};
constexpr unsigned kPassedOverDoublings = 6;  // 32 s at most
// How many endpoints one request tries: more would multiply the load of a struggling upstream.
constexpr unsigned kAttemptsMax = 3;

std::unexpected<Error> upstream_error(std::uint16_t code, const char* what) {
  return std::unexpected(
      Error{.code = code, .blame = Blame::kUpstream, .retryable = true, .what = what});
}

}  // namespace

Connection::Connection(Cluster& cluster, std::size_t endpoint,
                       std::unique_ptr<io::SocketStream> stream) noexcept
    : Timer(&Connection::expire),
      cluster_(cluster),
      stream_(std::move(stream)),
      endpoint_(endpoint),
      secure_(cluster.upstream().tls != nullptr) {}

void Connection::expire(io::Timer& timer) noexcept {
  auto& self = static_cast<Connection&>(timer);
  if (self.idle_slot_ == SIZE_MAX) return;  // lent out since
  if (self.idle_until_ > self.cluster_.loop_.now()) {
    self.cluster_.loop_.timers().arm(self, self.idle_until_);
    return;
  }
  self.cluster_.drop(
      self.cluster_.unpark(self.cluster_.endpoints_[self.endpoint_], self.idle_slot_));
}

bool Connection::has_news() noexcept {
  // Session tickets of TLS 1.3 arrive on an idle connection and mean nothing.
  if (secure_) return static_cast<tls::TlsStream&>(*stream_).has_unexpected_input();
  return stream_->has_news();
}

void Connection::on_news(void* connection) noexcept {
  auto& self = *static_cast<Connection*>(connection);
  Cluster& cluster = self.cluster_;
  if (self.idle_slot_ == SIZE_MAX || !self.has_news()) return;
  cluster.drop(cluster.unpark(cluster.endpoints_[self.endpoint_], self.idle_slot_));
}

std::size_t Lease::endpoint_index() const noexcept {
  return shared_ == nullptr ? connection_->endpoint() : shared_->endpoint();
}

const Endpoint& Lease::endpoint() const noexcept {
  return cluster_->endpoints_[endpoint_index()].address;
}

std::string_view Lease::endpoint_text() const noexcept {
  return cluster_->endpoints_[endpoint_index()].text;
}

bool Lease::aes128() const noexcept {
  if (cluster_->upstream_->tls == nullptr) return false;
  const io::SocketStream& stream = shared_ == nullptr ? connection_->stream() : *shared_->stream_;
  return static_cast<const tls::TlsStream&>(stream).aes128();
}

void Lease::keep() noexcept {
  if (shared_ != nullptr) {
    cluster_->endpoints_[shared_->endpoint()].failures = 0;
    close();
  }
  if (connection_ == nullptr) return;
  Cluster::EndpointState& endpoint = cluster_->endpoints_[connection_->endpoint()];
  --endpoint.active;
  endpoint.failures = 0;
  if (connection_->has_news()) {
    cluster_->drop(std::move(connection_));
  } else {
    cluster_->park(std::move(connection_));
  }
}

void Lease::close() noexcept {
  if (shared_ != nullptr) {
    cluster_->give_back(*shared_);
    shared_.reset();
  }
  if (connection_ == nullptr) return;
  --cluster_->endpoints_[connection_->endpoint()].active;
  cluster_->drop(std::move(connection_));
}

Cluster::Cluster(io::Loop& loop, io::Broker& broker, io::TaskSet& tasks,
                 telemetry::EventLog* events, std::shared_ptr<const Upstream> upstream,
                 std::shared_ptr<const UpstreamHealth> health, Orphans* orphans)
    : loop_(loop),
      broker_(broker),
      tasks_(tasks),
      events_(events),
      orphans_(orphans),
      place_(loop) {
  update(std::move(upstream), std::move(health));
}

void Cluster::update(std::shared_ptr<const Upstream> upstream,
                     std::shared_ptr<const UpstreamHealth> health) {
  upstream_ = std::move(upstream);
  health_ = std::move(health);
  turns_.clear();
  next_turn_ = 0;
  for (const Endpoint& address : upstream_->endpoints) {
    const auto known = std::ranges::find(endpoints_, address, &EndpointState::address);
    turns_.push_back(static_cast<std::size_t>(known - endpoints_.begin()));
    if (known == endpoints_.end()) {
      endpoints_.emplace_back();
      endpoints_.back().address = address;
      endpoints_.back().text = address.to_string();
    }
  }
  for (EndpointState& endpoint : endpoints_) endpoint.weight = 0;
  for (const std::size_t turn : turns_) ++endpoints_[turn].weight;
  for (EndpointState& endpoint : endpoints_) {
    const CheckedEndpoint* const checked =
        health_ == nullptr ? nullptr : health_->find(endpoint.address);
    if (std::exchange(endpoint.checked, checked) != checked)
      endpoint.recoveries = checked == nullptr ? 0 : checked->recoveries();
    apply_timeouts(endpoint);
  }
  place_.notify_all();  // there may be more places now
}

/// Connections that are there already live by the timeouts that hold now.
void Cluster::apply_timeouts(EndpointState& endpoint) noexcept {
  const Instant latest = loop_.now() + upstream_->idle_timeout;
  for (const auto& idle : endpoint.idle) keep_until(*idle, std::min(idle->idle_until_, latest));
  for (const auto* list : {&endpoint.shared, &endpoint.greeting}) {
    for (const auto& connection : *list)
      connection->client().set_timeouts(upstream_->response_timeout, upstream_->idle_timeout);
  }
}

void Cluster::keep_until(Connection& idle, Instant until) noexcept {
  idle.idle_until_ = until;
  if (!idle.armed() || idle.expires() > until) loop_.timers().arm(idle, until);
}

Cluster::~Cluster() {
  if (orphans_ != nullptr) std::erase_if(*orphans_, [](const auto& one) { return one.expired(); });
  for (EndpointState& endpoint : endpoints_) {
    std::ranges::move(endpoint.greeting, std::back_inserter(endpoint.shared));
    for (const auto& connection : endpoint.shared) {
      connection->cluster_ = nullptr;
      connection->client().retire();
      if (orphans_ != nullptr) orphans_->push_back(connection);
    }
    endpoint.shared.clear();
    endpoint.greeting.clear();
  }
  close_idle();
}

std::size_t Cluster::idle_connections() const noexcept {
  std::size_t n = 0;
  for (const EndpointState& endpoint : endpoints_) n += endpoint.idle.size();
  return n;
}

/// What failed a short while ago is passed over, unless a check has found it well since.
bool Cluster::passed_over(EndpointState& endpoint) noexcept {
  if (endpoint.passed_over_until <= loop_.now()) return false;
  if (endpoint.checked == nullptr || endpoint.checked->recoveries() == endpoint.recoveries)
    return true;
  endpoint.passed_over_until = {};
  endpoint.failures = 0;
  return false;
}

std::size_t Cluster::choose() noexcept {
  if (turns_.size() == 1) return endpoints_.front().healthy() ? 0 : kNobody;
  std::size_t best = kNobody;  // turns, as `failing`
  std::size_t failing = kNobody;
  for (std::size_t i = 0; i < turns_.size(); ++i) {
    const std::size_t turn = (next_turn_ + i) % turns_.size();
    EndpointState& endpoint = endpoints_[turns_[turn]];
    if (!endpoint.healthy()) continue;
    if (passed_over(endpoint)) {
      if (failing == kNobody) failing = turn;
      continue;
    }
    if (best == kNobody || endpoint.less_busy_than(endpoints_[turns_[best]])) best = turn;
    if (upstream_->balance == Balance::kRoundRobin) break;
  }
  // When all fail, one is tried all the same: refusing everything would prolong the outage. Not so
  // when checks found them unhealthy: that is no guess.
  const std::size_t taken = best == kNobody ? failing : best;
  if (taken == kNobody) return kNobody;
  // From there on, so that the turns of one that is out of use are not all its successor's.
  next_turn_ = (taken + 1) % turns_.size();
  return turns_[taken];
}

Lease Cluster::reuse() noexcept {
  if (others_first()) return {};
  return take_idle();
}

Lease Cluster::take_idle() noexcept {
  const std::size_t turn = next_turn_;
  const std::size_t index = choose();
  if (index == kNobody) return {};
  EndpointState& endpoint = endpoints_[index];
  if (upstream_->protocol == Protocol::kHttp2) {
    Lease lease = share(endpoint);
    if (!lease) next_turn_ = turn;
    return lease;
  }
  while (!endpoint.idle.empty()) {
    // The one used last: the others may then grow old and be closed.
    std::unique_ptr<Connection> connection = unpark(endpoint, endpoint.idle.size() - 1);
    if (connection->has_news()) {
      drop(std::move(connection));
      continue;
    }
    ++connection->uses_;
    ++endpoint.active;
    return {*this, std::move(connection)};
  }
  // `open` comes next and connects to the endpoint whose turn it was: were it the next one's, an
  // endpoint without connections might never get one.
  next_turn_ = turn;
  return {};
}

/// Closes the connection that has been idle longest, so that another endpoint can have its place.
/// False when none is idle.
bool Cluster::close_oldest_idle() noexcept {
  Connection* oldest = nullptr;
  for (const EndpointState& endpoint : endpoints_) {
    for (const auto& idle : endpoint.idle) {
      if (oldest == nullptr || idle->idle_until_ < oldest->idle_until_) oldest = idle.get();
    }
  }
  if (oldest == nullptr) return false;
  unpark(endpoints_[oldest->endpoint_], oldest->idle_slot_).reset();
  --open_;
  return true;
}

/// All places that are free, or can be made so, are for those who wait already. Whoever waits has
/// not been given one; were a request to wait while there are more, nobody would wake it for them.
bool Cluster::others_first() const noexcept { return pending_ > 0 && pending_ >= free_places(); }

/// How many more requests could be served: on connections that exist, or, of HTTP/1.1, could.
std::size_t Cluster::free_places() const noexcept {
  if (upstream_->protocol == Protocol::kHttp2) return free_streams();
  const std::size_t most = upstream_->connections_max;
  return idle_connections() + (most > open_ ? most - open_ : 0);
}

/// Waits until there may be a place. False: in vain.
io::Task<bool> Cluster::wait_for_place(Search& search) {
  if (search.cancelled_) co_return false;
  if (search.arrival_ == 0) search.arrival_ = ++arrivals_;
  io::Signal::Wait wait = place_.wait(search.until_, search.arrival_);
  search.wait_ = &wait;
  const Result<void> woken = co_await wait;
  search.wait_ = nullptr;
  co_return woken.has_value();
}

/// A place for a connection that is to be opened, or the lease of one that came free meanwhile.
io::Task<Result<Lease>> Cluster::take_place(Search& search) {
  bool queued = others_first();
  while (queued || (open_ >= upstream_->connections_max && !close_oldest_idle())) {
    if (pending_ >= upstream_->pending_max)
      co_return upstream_error(code::kUpstreamLimit, "too many requests wait for a connection");
    ++pending_;
    const bool woken = co_await wait_for_place(search);
    --pending_;
    if (!woken) {
      if (search.cancelled_) co_return upstream_error(code::kCancelled, "the client has gone");
      co_return upstream_error(code::kUpstreamLimit, "no connection became free in time");
    }
    Lease lease = take_idle();
    if (lease) co_return lease;
    queued = false;
  }
  ++open_;
  co_return Lease{};
}

io::Task<Result<std::unique_ptr<io::SocketStream>>> Cluster::connect_to(std::size_t index,
                                                                        Instant deadline,
                                                                        io::ConnectCancel* cancel) {
  const std::shared_ptr<const Upstream> upstream = upstream_;
  const Endpoint& to = endpoints_[index].address;
  if (upstream->tls == nullptr) {
    Result<std::unique_ptr<io::SocketStream>> plain =
        co_await io::connect(loop_, broker_, to, deadline, cancel);
    if (!plain) co_return std::unexpected(plain.error());
    co_return std::move(*plain);
  }
  Result<std::unique_ptr<tls::TlsStream>> secured =
      co_await tls::connect_tls(loop_, broker_, to, upstream->tls, deadline, cancel);
  if (!secured) co_return std::unexpected(secured.error());
  std::unique_ptr<io::SocketStream> result = std::move(*secured);
  co_return result;
}

bool Cluster::is_own(const Error& error) noexcept {
  return error.code == code::kResources || error.code == code::kCancelled;
}

/// Returns what a client is told of a failure to connect, and has the endpoint passed over if it is
/// to blame.
Error Cluster::note_connect_failure(std::size_t index, const Error& why, bool blame) noexcept {
  if (is_own(why)) return why;
  if (blame) failed(endpoints_[index], why);
  Error told = why;
  told.blame = Blame::kUpstream;
  told.retryable = true;
  if (why.code == code::kUpstreamNotH2) return told;
  told.what = "the upstream could not be reached";
  if (why.code == code::kTimedOut) {
    told.code = code::kUpstreamConnectTimeout;
  } else {
    told.code = is_tls_error(why.code) ? code::kUpstreamTls : code::kUpstreamConnect;
  }
  return told;
}

io::Task<Result<Lease>> Cluster::open(Search& search) {
  if (none_healthy()) return io::Task<Result<Lease>>::ready(std::unexpected(kNoHealthyEndpoint));
  if (upstream_->protocol == Protocol::kHttp2) return open_shared(search);
  return open_own(search);
}

io::Task<Result<Lease>> Cluster::open_own(Search& search) {
  Result<Lease> place = co_await take_place(search);
  if (!place || *place) co_return place;
  Error last{.code = code::kUpstreamConnect,
             .blame = Blame::kUpstream,
             .retryable = true,
             .what = "no endpoint could be reached"};
  const std::size_t attempts = std::min<std::size_t>(endpoints_.size(), kAttemptsMax);
  for (std::size_t attempt = 0; attempt < attempts && loop_.now() < search.until_; ++attempt) {
    // The client may have left when its place was free and nobody had resumed the search yet.
    if (search.cancelled_) {
      last = {.code = code::kCancelled, .blame = Blame::kInternal, .what = "the client has gone"};
      break;
    }
    const std::size_t index = choose();
    if (index == kNobody) {
      last = kNoHealthyEndpoint;
      break;
    }
    const Instant limit = loop_.now() + upstream_->connect_timeout;
    const Instant until = std::min(search.until_, limit);
    Result<std::unique_ptr<io::SocketStream>> stream =
        co_await connect_to(index, until, &search.connecting_);
    EndpointState& endpoint = endpoints_[index];
    if (stream) {
      auto connection = std::make_unique<Connection>(*this, index, std::move(*stream));
      connection->uses_ = 1;
      ++endpoint.active;
      co_return Lease(*this, std::move(connection));
    }
    const bool cut_short = search.hasty_ && until < limit && stream.error().code == code::kTimedOut;
    last = note_connect_failure(index, stream.error(), !cut_short);
    if (!search.cancelled_) search.note_failure(endpoint.text);
    if (is_own(last)) break;
  }
  --open_;
  place_.notify_one();
  co_return std::unexpected(last);
}

/// Has an endpoint passed over for a while, and tells of it each time that this begins. What fails
/// meanwhile was on its way before, or had nowhere else to go: that is no further failure.
void Cluster::failed(EndpointState& endpoint, const Error& why) noexcept {
  if (passed_over(endpoint)) return;
  if (events_ != nullptr) {
    events_->warning(
        "upstream_endpoint_failed",
        {telemetry::str("upstream", upstream_->name), telemetry::str("endpoint", endpoint.text),
         telemetry::rule(why), telemetry::str("reason", why.what)});
  }
  const unsigned doublings = std::min(endpoint.failures, kPassedOverDoublings);
  ++endpoint.failures;
  if (endpoint.checked != nullptr) endpoint.recoveries = endpoint.checked->recoveries();
  endpoint.passed_over_until = loop_.now() + kPassedOverFirst * (1U << doublings);
}

void Cluster::note_failure(const Endpoint& address, const Error& why) noexcept {
  const auto endpoint = std::ranges::find(endpoints_, address, &EndpointState::address);
  if (endpoint != endpoints_.end()) failed(*endpoint, why);
}

void Cluster::park(std::unique_ptr<Connection> connection) noexcept {
  EndpointState& endpoint = endpoints_[connection->endpoint_];
  connection->stream().release_idle_memory();
  connection->stream().on_idle_event(&Connection::on_news, connection.get());
  connection->idle_slot_ = endpoint.idle.size();
  keep_until(*connection, loop_.now() + upstream_->idle_timeout);
  endpoint.idle.push_back(std::move(connection));
  place_.notify_one();
}

std::unique_ptr<Connection> Cluster::unpark(EndpointState& endpoint, std::size_t slot) noexcept {
  std::unique_ptr<Connection> connection = std::move(endpoint.idle[slot]);
  if (slot + 1 != endpoint.idle.size()) {
    endpoint.idle[slot] = std::move(endpoint.idle.back());
    endpoint.idle[slot]->idle_slot_ = slot;
  }
  endpoint.idle.pop_back();
  connection->idle_slot_ = SIZE_MAX;
  connection->stream().on_idle_event(nullptr, nullptr);
  return connection;
}

void Cluster::drop(std::unique_ptr<Connection> connection) noexcept {
  connection.reset();
  --open_;
  place_.notify_one();
}

void Cluster::close_idle() noexcept {
  for (EndpointState& endpoint : endpoints_) {
    while (!endpoint.idle.empty()) drop(unpark(endpoint, endpoint.idle.size() - 1));
    for (const auto& connection : endpoint.shared) connection->client().abort();
    for (const auto& connection : endpoint.greeting) connection->client().abort();
  }
  for (io::ConnectCancel* const connect : connects_) (*connect)();
  place_.cancel();
}

}  // namespace merlon::upstream
