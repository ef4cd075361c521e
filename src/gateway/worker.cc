#include "gateway/worker.h"

#include <algorithm>
#include <span>
#include <utility>

#include "gateway/connection.h"
#include "gateway/request.h"
#include "gateway/tunnel.h"
#include "io/warm.h"

namespace merlon::gateway {
namespace {

// Transactions kept for the next requests, whatever comes; those of a burst go back after it.
constexpr std::size_t kSpareMax = 128;
// Connections and requests beyond the bounds on listeners that also serve health or metrics: so
// that whoever asks how the gateway is hears it, and everything else a 503.
constexpr std::uint64_t kReserve = 64;

// While it drains, a worker takes connections that the kernel has accepted, or is about to, for so
// long; the handshake of a distant client takes that long, too.
constexpr milliseconds kLastAccepts{50};
// And a connection has so long for a request that may be on its way: closed at once, it would be
// lost. Clients that are busy learn of the end from the answer.
constexpr milliseconds kLastRequests{500};
// A tunnel is told to go away this long before a drain ends, so that both sides hear of it.
constexpr milliseconds kTunnelFarewell{1'500};
// At most one event in this time tells of requests that were shed.
constexpr milliseconds kShedInterval{1'000};

std::unique_ptr<io::CallBatch> open_batch(std::size_t index, Shared& shared) {
  auto batch = io::CallBatch::open();
  if (batch == nullptr && index == 0)
    shared.events.info("system_calls_not_batched",
                       {telemetry::str("reason", io::OsError{.number = errno}.text())});
  return batch;
}

/// What a request of HTTP/1.1 holds, and one of HTTP/2 holds less, with what is kept of its body to
/// be sent again: memory bounds their number.
std::uint64_t requests_by_memory(const Limits& limits) noexcept {
  return limits.memory_bytes /
         (sizeof(Transaction) + sizeof(http::H1Client) + sizeof(http::H1Server));
}

}  // namespace

Worker::Worker(std::size_t index, Shared& shared, telemetry::WorkerCounters& counters,
               telemetry::AccessLogWriter* log)
    : index_(index),
      shared_(shared),
      counters_(counters),
      log_(log),
      loop_(shared.clock, io::make_epoll_poller(), open_batch(index, shared)),
      identities_(shared.workers) {}

Worker::~Worker() = default;

/// `f` may end the connection that it gets.
template <class F>
void Worker::for_each_connection(F f) noexcept {
  for (ClientConnection* c = connections_; c != nullptr;) f(*std::exchange(c, c->next_));
}

void Worker::run() {
  loop_.run();
  shut();
}

/// Ends what is left, so that no coroutine outlives what it stands on.
void Worker::shut() noexcept {
  over_ = true;
  for (Door& door : doors_) door.acceptor.reset();
  for (;;) {
    for_each_connection([](ClientConnection& c) { c.abort(); });
    for (Tunnel* t = tunnels_; t != nullptr;) std::exchange(t, t->next_)->abort();
    for (const auto& [identity, known] : clusters_) {
      if (const auto cluster = known.lock()) cluster->close_idle();
    }
    for (const auto& orphan : orphans_) {
      if (const auto connection = orphan.lock()) connection->client().abort();
    }
    for (const auto& limits : shared_limits_) limits->close();
    if (tasks_.empty() && std::ranges::all_of(shared_limits_, &state::SharedLimits::is_closed))
      break;
    farewell_.cancel();
    loop_.turn(milliseconds{10});
  }
  plans_.clear();
}

void Worker::adopt(std::shared_ptr<const RunningPlan> plan, std::vector<io::Fd> listeners,
                   std::function<void()> taken) {
  // std::function wants copies; the descriptors move through a shared owner.
  auto sockets = std::make_shared<std::vector<io::Fd>>(std::move(listeners));
  loop_.send([this, plan = std::move(plan), sockets, taken = std::move(taken)]() mutable {
    take_plan(std::move(plan), std::move(*sockets));
    taken();
  });
}

void Worker::take_plan(std::shared_ptr<const RunningPlan> running, std::vector<io::Fd> listeners) {
  auto next = std::make_unique<WorkerPlan>();
  for (const auto& upstream : running->plan->upstreams) {
    std::weak_ptr<upstream::Cluster>& known = clusters_[upstream->identity];
    std::shared_ptr<upstream::Cluster> cluster = known.lock();
    // The plan owns the upstream; the cluster keeps the plan alive through it.
    const std::shared_ptr<const Upstream> shared(running->plan, upstream.get());
    const auto& health = running->health[upstream->index];
    if (cluster == nullptr) {
      cluster = std::make_shared<upstream::Cluster>(loop_, shared_.broker, tasks_, &shared_.events,
                                                    shared, health, &orphans_);
      known = cluster;
    } else {
      cluster->update(shared, health);
    }
    next->clusters.push_back(std::move(cluster));
  }
  next->shared = shared_limits_of(*running->plan);
  next->running = std::move(running);
  for (const Listener& listener : next->plan().listeners) {
    const std::size_t door = door_of(listener.address);
    next->listener_of_door.resize(doors_.size(), SIZE_MAX);
    next->listener_of_door[door] = listener.index;
  }
  next->listener_of_door.resize(doors_.size(), SIZE_MAX);
  plans_.push_back(std::move(next));
  for (std::size_t door = 0; door < doors_.size(); ++door) {
    const std::size_t listener = this->plan().listener_of_door[door];
    if (listener == SIZE_MAX) {
      doors_[door].acceptor.reset();
    } else if (doors_[door].acceptor == nullptr && listener < listeners.size() &&
               listeners[listener]) {
      open_door(door, std::move(listeners[listener]));
    }
  }
  for_each_connection([](ClientConnection& c) { c.compare_with_plan(); });
  carry_tunnels_over();
  compare_requests();
  drop_unused_plans();
  std::erase_if(clusters_, [](const auto& entry) { return entry.second.expired(); });

  for_each_connection([this](ClientConnection& c) {
    if (!this->plan().has_door(c.door_) || c.outdated()) c.close_if_idle();
  });
}

/// Tunnels whose route changed or vanished have the time of a drain; the others move to the new
/// plan, so that few plans live at once.
void Worker::carry_tunnels_over() {
  const Instant end = loop_.now() + plan().plan().timeouts.drain;
  for (Tunnel* t = tunnels_; t != nullptr; t = t->next_) {
    if (!t->carry_over(plan())) t->end_by(end);
  }
}

/// Other exchanges whose route changed or vanished have that time, too. Those whose route is the
/// same go on under the old plan to their own end.
void Worker::compare_requests() {
  const auto older = std::span(plans_).first(plans_.size() - 1);
  if (std::ranges::all_of(older, [](const auto& one) { return one->users == 0; })) return;
  const Instant end = loop_.now() + plan().plan().timeouts.drain;
  RoutesByName routes;
  for (const auto& route : plan().plan().routes) routes.emplace(route->name, route.get());
  bool any = false;
  for_each_connection([&](ClientConnection& c) {
    c.for_each_way([&](RequestWay& way) { any |= way.compare_with_plan(routes, end); });
  });
  if (any) tasks_.spawn(end_requests_at(end));
}

io::Task<void> Worker::end_requests_at(Instant end) {
  while (!over_ && loop_.now() < end) {
    [[maybe_unused]] const Result<void> waited = co_await farewell_.wait(end);
  }
  if (over_) co_return;
  const Instant now = loop_.now();
  for_each_connection([now](ClientConnection& c) {
    c.for_each_way([now](RequestWay& way) { way.end_if_due(now); });
  });
}

void Worker::enter(Tunnel& tunnel) noexcept {
  tunnel.next_ = tunnels_;
  if (tunnels_ != nullptr) tunnels_->previous_ = &tunnel;
  tunnels_ = &tunnel;
  counters_.tunnels_opened.add();
  counters_.tunnels_active.up();
}

void Worker::leave(Tunnel& tunnel) noexcept {
  (tunnel.previous_ == nullptr ? tunnels_ : tunnel.previous_->next_) = tunnel.next_;
  if (tunnel.next_ != nullptr) tunnel.next_->previous_ = tunnel.previous_;
  counters_.tunnels_active.down();
}

/// Connections to Redis outlive a reload that does not concern them. What no plan uses any more is
/// closed, and goes once it has ended.
std::shared_ptr<state::SharedLimits> Worker::shared_limits_of(const Plan& plan) {
  std::shared_ptr<state::SharedLimits> found;
  for (const auto& known : shared_limits_) {
    const bool same =
        plan.shared_state != nullptr && known->settings().identity == plan.shared_state->identity;
    if (same && known.use_count() > 1) found = known;
    if (known.use_count() == 1) known->close();
  }
  std::erase_if(shared_limits_,
                [](const auto& known) { return known.use_count() == 1 && known->is_closed(); });
  if (found != nullptr || plan.shared_state == nullptr) return found;
  found = std::make_shared<state::SharedLimits>(loop_, shared_.broker, plan.shared_state,
                                                shared_.tables.node, shared_.tables.limits,
                                                shared_.events, counters_.shared);
  shared_limits_.push_back(found);
  found->start();
  return found;
}

std::size_t Worker::door_of(const Endpoint& address) {
  const auto known = std::ranges::find(doors_, address, &Door::address);
  if (known != doors_.end()) return static_cast<std::size_t>(known - doors_.begin());
  doors_.push_back(Door{.address = address, .acceptor = nullptr});
  return doors_.size() - 1;
}

void Worker::open_door(std::size_t door, io::Fd socket) {
  doors_[door].acceptor = std::make_unique<io::Acceptor>(
      loop_, std::move(socket),
      [this, door](io::Fd fd, const Endpoint& peer) { accept(door, std::move(fd), peer); },
      [this] {
        counters_.connections_shed.add();
        shared_.events.warning("connection_shed",
                               {telemetry::str("reason", "out of file descriptors")});
      });
}

/// Connections to Redis that only they used end with them.
void Worker::drop_unused_plans() noexcept {
  for (std::size_t i = 0; i + 1 < plans_.size();) {
    if (plans_[i]->users == 0) {
      plans_.erase(plans_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  for (const auto& limits : shared_limits_) {
    if (limits.use_count() == 1) limits->close();
  }
}

void Worker::accept(std::size_t door, io::Fd fd, const Endpoint& peer) {
  const Plan& plan = this->plan().plan();
  const Listener& at = this->plan().listener(door);
  if (!at.allow_from.empty() && !contains_any(at.allow_from, peer.address)) {
    counters_.connections_refused.add();
    counters_.refusals.count(code::kNetworkNotAllowed);
    shared_.events.warning("connection_refused", {telemetry::str("reason", "allow_from"),
                                                  telemetry::str("listener", at.name),
                                                  telemetry::str("peer", peer.to_string())});
    return;
  }
  const std::uint64_t most = plan.limits.connections + (at.serves_status() ? kReserve : 0);
  if (shared_.connections.fetch_add(1, std::memory_order_relaxed) >= most) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    counters_.connections_shed.add();
    shared_.events.warning("connection_shed", {telemetry::str("reason", "limits.connections")});
    return;
  }
  if (shared_.shed.load(std::memory_order_relaxed) != Shed::kNothing && !at.serves_status()) {
    shared_.connections.fetch_sub(1, std::memory_order_relaxed);
    counters_.connections_shed.add();
    shared_.events.warning("connection_shed", {telemetry::str("reason", "overload")});
    return;
  }
  // Behind a trusted proxy all clients share its address: they are not one client. Nor is whoever
  // watches the gateway, from an address that clients may have, too.
  IpAddress counted;
  if (!at.serves_only_status() && !contains_any(plan.trusted_proxies, peer.address)) {
    counted = peer.address.client_key();
    if (!shared_.clients.enter(counted, plan.limits.connections_per_client)) {
      shared_.connections.fetch_sub(1, std::memory_order_relaxed);
      counters_.connections_refused.add();
      counters_.refusals.count(code::kTooManyConnections);
      shared_.events.warning("connection_refused",
                             {telemetry::str("reason", "limits.connections_per_client"),
                              telemetry::str("client", counted.to_string())});
      return;
    }
  }
  counters_.connections_accepted.add();
  counters_.connections_active.up();
  ClientConnection::begin(*this, door, std::move(fd), peer, counted);
}

void Transaction::warm() const noexcept {
  constexpr std::size_t kBegin = 128;  // of what is long and seldom full
  const auto begin = reinterpret_cast<const char*>(this);
  const auto end = reinterpret_cast<const char*>(&fields);
  io::warm(this, static_cast<std::size_t>(end - begin) + kBegin);
  io::warm(&observations, sizeof(std::size_t));
}

std::unique_ptr<Transaction> Worker::take_transaction(std::size_t door) {
  const Plan& plan = this->plan().plan();
  const bool reserve = this->plan().has_door(door) && this->plan().listener(door).serves_status();
  const std::uint64_t most =
      std::min<std::uint64_t>(plan.limits.requests_in_flight, requests_by_memory(plan.limits));
  const std::uint64_t before = shared_.requests_in_flight.fetch_add(1, std::memory_order_relaxed);
  const bool shed =
      before >= most || shared_.shed.load(std::memory_order_relaxed) == Shed::kRequests;
  if (shed && (!reserve || before >= most + kReserve)) {
    shared_.requests_in_flight.fetch_sub(1, std::memory_order_relaxed);
    return nullptr;
  }
  counters_.requests_in_flight.up();
  std::unique_ptr<Transaction> transaction = spare_.take();
  if (transaction == nullptr) transaction = std::make_unique_for_overwrite<Transaction>();
  // Requests come in bursts: the next one's memory need not be waited for.
  if (const Transaction* const next = spare_.next(0); next != nullptr) next->warm();
  transaction->shed = shed;
  return transaction;
}

/// Where memory is short, what is kept is a small part of it.
std::size_t Worker::spares_kept() noexcept {
  return std::min<std::size_t>(kSpareMax, requests_by_memory(plan().plan().limits) / 32);
}

void Worker::give_back(std::unique_ptr<Transaction> transaction) noexcept {
  shared_.requests_in_flight.fetch_sub(1, std::memory_order_relaxed);
  counters_.requests_in_flight.down();
  transaction->plan = PlanPin();
  if (plans_.size() > 1) drop_unused_plans();
  spare_.give_back(std::move(transaction), spares_kept());
}

std::unique_ptr<http::H1Server> Worker::take_h1_server() {
  std::unique_ptr<http::H1Server> server = spare_h1_.take();
  return server != nullptr ? std::move(server)
                           : std::make_unique<http::H1Server>(plan().plan().head_limits);
}

void Worker::give_back(std::unique_ptr<http::H1Server> server) noexcept {
  spare_h1_.give_back(std::move(server), spares_kept());
}

std::string_view Worker::date() noexcept {
  if (loop_.now() >= date_until_) {
    const WallTime wall = loop_.clock().wall_now();
    write_http_date(wall, date_.data());
    date_until_ = loop_.now() + (std::chrono::ceil<seconds>(wall + nanoseconds{1}) - wall);
  }
  return {date_.data(), date_.size()};
}

Instant Worker::idle_deadline() noexcept {
  return loop_.now() + (draining_ ? kLastRequests : plan().plan().timeouts.idle);
}

void Worker::note_shed(std::string_view reason) noexcept {
  if (loop_.now() < shed_told_until_) return;
  shed_told_until_ = loop_.now() + kShedInterval;
  shared_.events.warning("request_shed", {telemetry::str("reason", reason)});
}

bool Worker::only_watches(std::size_t door) noexcept {
  return plan().has_door(door) && plan().listener(door).serves_only_status();
}

void Worker::drain() {
  // Counts as a connection until the last one is accepted, so that the process does not end first.
  open_.fetch_add(1, std::memory_order_relaxed);
  loop_.send([this] {
    draining_ = true;
    for (std::size_t door = 0; door < doors_.size(); ++door) {
      if (doors_[door].acceptor != nullptr && !only_watches(door))
        doors_[door].acceptor->admit_no_more();
    }
    for_each_connection([](ClientConnection& c) { c.announce_end(); });
    const milliseconds time = plan().plan().timeouts.drain;
    tunnels_end_ = loop_.now() + time - std::min(kTunnelFarewell, time / 2);
    for (Tunnel* t = tunnels_; t != nullptr; t = t->next_) t->end_by(tunnels_end_);
    tasks_.spawn(say_farewell());
  });
}

io::Task<void> Worker::say_farewell() {
  const Instant begun = loop_.now();
  [[maybe_unused]] const Result<void> accepted = co_await farewell_.wait(begun + kLastAccepts);
  for (std::size_t door = 0; door < doors_.size(); ++door) {
    if (!only_watches(door)) doors_[door].acceptor.reset();
  }
  open_.fetch_sub(1, std::memory_order_release);
  [[maybe_unused]] const Result<void> waited = co_await farewell_.wait(begun + kLastRequests);
  for_each_connection([](ClientConnection& c) { c.close_if_idle(); });
}

void Worker::stop() { loop_.stop(); }

}  // namespace merlon::gateway
