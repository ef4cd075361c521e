#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "io/broker.h"
#include "io/loop.h"
#include "io/signal.h"
#include "io/socket.h"
#include "io/task.h"
#include "telemetry/events.h"
#include "upstream/health.h"
#include "upstream/shared_connection.h"
#include "upstream/upstream.h"

namespace merlon::upstream {

class Cluster;

/// A connection to one endpoint, idle in its cluster or lent to one request at a time.
class Connection final : private io::Timer {
 public:
  Connection(Cluster& cluster, std::size_t endpoint,
             std::unique_ptr<io::SocketStream> stream) noexcept;
  [[nodiscard]] io::SocketStream& stream() const noexcept { return *stream_; }
  [[nodiscard]] std::size_t endpoint() const noexcept { return endpoint_; }
  /// Requests that this connection has been lent to, the current one included.
  [[nodiscard]] std::uint32_t uses() const noexcept { return uses_; }
  /// True when an idle connection was closed by the peer, or holds bytes that nobody asked for.
  [[nodiscard]] bool has_news() noexcept;

 private:
  friend class Cluster;
  static void expire(io::Timer& timer) noexcept;
  static void on_news(void* connection) noexcept;

  Cluster& cluster_;
  std::unique_ptr<io::SocketStream> stream_;
  std::size_t endpoint_;
  std::size_t idle_slot_ = SIZE_MAX;  ///< position in the endpoint's idle list
  std::uint32_t uses_ = 0;
  const bool secure_;  ///< the stream is a TlsStream
  Instant idle_until_{};
};

/// One request that looks for a connection: how long, and what it met on its way.
class Search {
 public:
  /// `hasty`: the client chose the time, so that its end says nothing of an endpoint.
  explicit Search(Instant until, bool hasty = false) noexcept : until_(until), hasty_(hasty) {}
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  /// Nobody wants the connection any more: the wait for a place, or for a connection that only this
  /// search is making, ends with kCancelled.
  void cancel() noexcept {
    cancelled_ = true;
    if (wait_ != nullptr) wait_->cancel();
    connecting_();
  }
  [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
  /// Attempts to connect that failed.
  [[nodiscard]] std::uint32_t failures() const noexcept { return failures_; }
  /// "10.0.0.1:80", which the last of them went to; lives as long as the cluster.
  [[nodiscard]] std::string_view failed_endpoint() const noexcept { return failed_endpoint_; }

 private:
  friend class Cluster;
  void note_failure(std::string_view endpoint) noexcept {
    ++failures_;
    failed_endpoint_ = endpoint;
  }
  const Instant until_;
  const bool hasty_;
  io::Signal::Wait* wait_ = nullptr;  ///< while it waits for a place
  std::uint64_t arrival_ = 0;         ///< its number among those who wait; 0: it has not waited
  io::ConnectCancel connecting_;
  bool cancelled_ = false;
  std::uint32_t failures_ = 0;
  std::string_view failed_endpoint_;
};

/// A connection on loan: one of HTTP/1.1, which is closed when the lease goes without `keep`, or a
/// place on one of HTTP/2.
class Lease {
 public:
  Lease() = default;
  Lease(Cluster& cluster, std::unique_ptr<Connection> connection) noexcept
      : cluster_(&cluster), connection_(std::move(connection)) {}
  Lease(Cluster& cluster, std::shared_ptr<SharedConnection> shared) noexcept
      : cluster_(&cluster), shared_(std::move(shared)) {}
  Lease(Lease&& other) noexcept = default;
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      close();
      cluster_ = other.cluster_;
      connection_ = std::move(other.connection_);
      shared_ = std::move(other.shared_);
    }
    return *this;
  }
  ~Lease() { close(); }

  [[nodiscard]] explicit operator bool() const noexcept {
    return connection_ != nullptr || shared_ != nullptr;
  }
  /// The connection to open a stream on; nullptr: it is one of HTTP/1.1, with `stream()`.
  [[nodiscard]] http::H2Client* h2() const noexcept {
    return shared_ == nullptr ? nullptr : &shared_->client();
  }
  [[nodiscard]] io::SocketStream& stream() const noexcept { return connection_->stream(); }
  [[nodiscard]] const Endpoint& endpoint() const noexcept;
  /// "10.0.0.1:80"; lives as long as the cluster.
  [[nodiscard]] std::string_view endpoint_text() const noexcept;
  /// True when an earlier request used it: the upstream may have closed it in the meantime.
  [[nodiscard]] bool reused() const noexcept {
    return (shared_ == nullptr ? connection_->uses() : shared_->uses()) > 1;
  }
  /// Its TLS agreed on a cipher with keys of 128 bits.
  [[nodiscard]] bool aes128() const noexcept;
  /// Gives the connection back for the next request: the exchange on it was completed.
  void keep() noexcept;
  void close() noexcept;

 private:
  [[nodiscard]] std::size_t endpoint_index() const noexcept;
  Cluster* cluster_ = nullptr;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<SharedConnection> shared_;
};

/// What one worker keeps of one upstream: its idle connections, and which endpoints fail. Survives
/// reloads as long as the upstream's identity stays. Outlives its leases.
class Cluster : public std::enable_shared_from_this<Cluster> {
 public:
  /// Owned by shared pointers. `tasks` runs HTTP/2 connections. It outlives the cluster, and is
  /// drained before `loop` goes. `events` may be null; `orphans`, too, or it gets the connections
  /// that are not over when the cluster goes.
  Cluster(io::Loop& loop, io::Broker& broker, io::TaskSet& tasks, telemetry::EventLog* events,
          std::shared_ptr<const Upstream> upstream,
          std::shared_ptr<const UpstreamHealth> health = nullptr, Orphans* orphans = nullptr);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster();

  /// Takes over new timeouts, bounds and weights; the identity is the same. `health` says which
  /// endpoints may have requests; null: all of them.
  void update(std::shared_ptr<const Upstream> upstream,
              std::shared_ptr<const UpstreamHealth> health = nullptr);
  [[nodiscard]] const Upstream& upstream() const noexcept { return *upstream_; }

  /// A connection of the endpoint whose turn it is, idle or with room for another stream, or an
  /// empty lease, also where what is free is for others who wait: then `open` is due, and it is
  /// still that endpoint's turn.
  [[nodiscard]] Lease reuse() noexcept;
  /// A new connection, to the next endpoint when one fails, within the connect timeout and the time
  /// of `search`, which outlives the task. When `connections_max` are open, one that is idle at
  /// another endpoint makes place; else it waits, and may be given one that came free: `reused`
  /// tells. Errors: kUpstreamConnect, kUpstreamConnectTimeout, kUpstreamTls, kUpstreamNotH2,
  /// kUpstreamLimit, kUpstreamUnhealthy at once (blame upstream, retryable), kResources (the
  /// gateway's own want), kCancelled.
  [[nodiscard]] io::Task<Result<Lease>> open(Search& search);

  /// Checks found every endpoint unhealthy.
  [[nodiscard]] bool none_healthy() const noexcept {
    return health_ != nullptr && health_->none_in_use();
  }
  [[nodiscard]] std::size_t open_connections() const noexcept { return open_; }
  [[nodiscard]] std::size_t idle_connections() const noexcept;
  /// Closes idle connections and all shared ones, those that are being made among them, and ends
  /// waits: the worker stops.
  void close_idle() noexcept;
  /// Of an exchange on `endpoint` that failed before a response: it is passed over for a while.
  void note_failure(const Endpoint& endpoint, const Error& why) noexcept;

 private:
  friend class Connection;
  friend class Lease;
  friend class SharedConnection;
  struct EndpointState {
    Endpoint address;
    std::string text;  ///< of the address, for logs
    std::vector<std::unique_ptr<Connection>> idle;
    std::vector<std::shared_ptr<SharedConnection>> shared;
    std::vector<std::shared_ptr<SharedConnection>> greeting;  ///< not yet one of those
    std::size_t shared_last = 0;         ///< in `shared`: what the last request went to …
    Instant shared_at{};                 ///< … and in which turn
    std::uint32_t connecting = 0;        ///< shared connections that are being made …
    std::uint32_t waiting = 0;           ///< … and requests that wait for them
    std::uint64_t connect_failures = 0;  ///< of shared connections …
    Error connect_failure{};             ///< … and why the last of them was not made
    std::uint32_t active = 0;            ///< leases out
    std::uint64_t weight = 0;            ///< its turns; 0: no longer configured
    std::uint32_t failures = 0;          ///< in a row
    Instant passed_over_until{};
    const CheckedEndpoint* checked = nullptr;  ///< null: nobody checks it
    std::uint32_t recoveries = 0;              ///< of it, when it was passed over

    [[nodiscard]] bool healthy() const noexcept { return checked == nullptr || checked->in_use(); }
    /// Fewer requests for its weight.
    [[nodiscard]] bool less_busy_than(const EndpointState& other) const noexcept {
      return active * other.weight < other.active * weight;
    }
  };
  static constexpr std::size_t kNobody = SIZE_MAX;

  /// The endpoint whose turn it is; kNobody when no endpoint is healthy.
  [[nodiscard]] std::size_t choose() noexcept;
  [[nodiscard]] bool passed_over(EndpointState& endpoint) noexcept;
  [[nodiscard]] io::Task<Result<Lease>> open_own(Search& search);
  [[nodiscard]] Lease take_idle() noexcept;
  [[nodiscard]] bool close_oldest_idle() noexcept;
  [[nodiscard]] std::size_t free_places() const noexcept;
  [[nodiscard]] bool others_first() const noexcept;
  [[nodiscard]] io::Task<bool> wait_for_place(Search& search);
  [[nodiscard]] io::Task<Result<Lease>> take_place(Search& search);
  [[nodiscard]] io::Task<Result<std::unique_ptr<io::SocketStream>>> connect_to(
      std::size_t endpoint, Instant deadline, io::ConnectCancel* cancel = nullptr);
  /// The gateway's own want of descriptors or memory, or its end: no endpoint is to blame, none can
  /// help.
  [[nodiscard]] static bool is_own(const Error& error) noexcept;
  void failed(EndpointState& endpoint, const Error& why) noexcept;
  void apply_timeouts(EndpointState& endpoint) noexcept;
  void keep_until(Connection& idle, Instant until) noexcept;
  [[nodiscard]] Error note_connect_failure(std::size_t endpoint, const Error& why,
                                           bool blame = true) noexcept;
  void park(std::unique_ptr<Connection> connection) noexcept;
  [[nodiscard]] std::unique_ptr<Connection> unpark(EndpointState& endpoint,
                                                   std::size_t slot) noexcept;
  void drop(std::unique_ptr<Connection> connection) noexcept;

  // shared_pool.cc: HTTP/2
  [[nodiscard]] Lease share(EndpointState& endpoint) noexcept;
  [[nodiscard]] Lease share_any() noexcept;
  [[nodiscard]] std::size_t free_streams() const noexcept;
  [[nodiscard]] io::Task<Result<Lease>> open_shared(Search& search);
  [[nodiscard]] io::Task<Result<void>> wait_for_room(std::size_t endpoint, Search& search,
                                                     bool counted);
  [[nodiscard]] static bool room_is_coming(const EndpointState& endpoint) noexcept;
  [[nodiscard]] std::size_t in_service() const noexcept;
  [[nodiscard]] bool wants_another(const EndpointState& endpoint) const noexcept;
  void make_place_for(const EndpointState& endpoint) noexcept;
  void begin_shared(std::size_t endpoint);
  [[nodiscard]] io::Task<void> connect_shared(std::size_t endpoint);
  [[nodiscard]] io::Task<Result<void>> greet(std::size_t endpoint,
                                             std::unique_ptr<io::SocketStream> stream,
                                             Instant deadline);
  void give_back(SharedConnection& connection) noexcept;
  void tell_goaway(SharedConnection& connection) noexcept;
  void forget(SharedConnection& connection, const Error& why) noexcept;
  void room_changed() noexcept { place_.notify_all(); }

  io::Loop& loop_;
  io::Broker& broker_;
  io::TaskSet& tasks_;
  telemetry::EventLog* events_;
  std::shared_ptr<const Upstream> upstream_;
  std::shared_ptr<const UpstreamHealth> health_;  ///< null: nobody checks the endpoints
  Orphans* orphans_;
  std::vector<EndpointState> endpoints_;
  std::vector<io::ConnectCancel*> connects_;  ///< of shared connections that are being made
  std::vector<std::size_t> turns_;            ///< endpoint of each unit of weight
  std::size_t next_turn_ = 0;
  std::size_t open_ = 0;     ///< connections that exist or are being made
  std::size_t pending_ = 0;  ///< requests waiting for a place, those that were just given one too
  std::uint64_t arrivals_ = 0;  ///< of requests that waited
  io::Signal place_;
};

}  // namespace merlon::upstream
