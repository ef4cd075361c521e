#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "gateway/door.h"
#include "gateway/grpc_call.h"
#include "gateway/judge.h"
#include "gateway/runtime.h"
#include "gateway/spare_pool.h"
#include "http/h1_client.h"
#include "http/h1_server.h"
#include "http/h2_client.h"
#include "io/loop.h"
#include "io/signal.h"
#include "io/socket.h"
#include "io/task.h"
#include "state/limited_clients.h"
#include "telemetry/access_log.h"
#include "telemetry/request_id.h"
#include "upstream/pool.h"

namespace merlon::gateway {

class ClientConnection;
class Tunnel;
class Worker;

/// A plan as one worker uses it: with its clusters. Kept while a request holds it.
struct WorkerPlan {
  std::shared_ptr<const RunningPlan> running;
  std::vector<std::shared_ptr<upstream::Cluster>> clusters;  ///< by Upstream::index
  std::shared_ptr<state::SharedLimits> shared;               ///< null: no `shared_state`
  /// The listener behind each door (an address that this worker listens or listened on); SIZE_MAX
  /// for a door that this plan has not.
  std::vector<std::size_t> listener_of_door;
  std::uint32_t users = 0;

  [[nodiscard]] const Plan& plan() const noexcept { return *running->plan; }
  [[nodiscard]] bool has_door(std::size_t door) const noexcept {
    return listener_of_door[door] != SIZE_MAX;
  }
  [[nodiscard]] const Listener& listener(std::size_t door) const noexcept {
    return plan().listeners[listener_of_door[door]];
  }
};

/// Keeps the plan that a request started with. Belongs to the worker's thread: no atomics.
class PlanPin {
 public:
  PlanPin() = default;
  explicit PlanPin(WorkerPlan& plan) noexcept : plan_(&plan) { ++plan.users; }
  PlanPin(PlanPin&& other) noexcept : plan_(std::exchange(other.plan_, nullptr)) {}
  PlanPin& operator=(PlanPin&& other) noexcept {
    std::swap(plan_, other.plan_);
    return *this;
  }
  ~PlanPin() {
    if (plan_ != nullptr) --plan_->users;
  }
  [[nodiscard]] WorkerPlan* operator->() const noexcept { return plan_; }
  [[nodiscard]] WorkerPlan& operator*() const noexcept { return *plan_; }

 private:
  WorkerPlan* plan_ = nullptr;
};

/// All that one request needs while it is served. Large, so workers pool them; an idle connection
/// has none. What every request uses comes first and lies together.
struct Transaction {
  std::unique_ptr<http::H1Client> h1_client;  ///< once there was an upstream that speaks so; large
  PlanPin plan;
  const Route* route = nullptr;  ///< null: refused before one was found, or a page of our own
  Instant started{};
  microseconds answered{-1};  ///< when a tunnel opened, since `started`; negative: none did
  bool preflight = false;
  bool authenticated = false;
  bool shed = false;  ///< taken in for the status pages only: what routes take is answered 503
  telemetry::AccessOutcome outcome;
  telemetry::RequestId id;
  std::optional<std::array<char, 32>> trace_id;  ///< of the client's trace, which goes on here
  std::shared_ptr<const identity::Identity> identity;  ///< who asks; null: nobody knows
  Reading reading;
  GrpcCall grpc;
  state::Holds holds;             ///< places at limits of concurrency
  HeldBody held;                  ///< the body, where the route judges its content
  std::string pointer;            ///< where that does not fit its schema; for authenticated callers
  policy::ResponseFields fields;  ///< what policies add to the response
  policy::Observations observations;
  ReadingScratch scratch;
  http::ResponseHead reply;   ///< of answers that Merlon gives itself
  std::string body;           ///< of those
  std::string path;           ///< for the upstream, when it is rewritten
  std::string identity_text;  ///< the values of the fields that tell of `identity`
  std::string location;       ///< where a redirect leads
  std::string refusal_line;   ///< of the configuration
  std::string observed_line;
  std::string observed_class;

  /// Brings near what a request writes at its begin: see io/warm.h. Reads nothing of it.
  void warm() const noexcept;
};

/// One event loop with its listeners, connections and upstream pools. Lives on one thread, which
/// `run` occupies; `adopt`, `drain` and `stop` are sent to it from the control thread.
class Worker {
 public:
  Worker(std::size_t index, Shared& shared, telemetry::WorkerCounters& counters,
         telemetry::AccessLogWriter* log);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  /// The loop's thread.
  void run();
  /// Any thread: takes the plan between two events. `listeners` are this worker's sockets for the
  /// plan's listeners, by index; an empty one keeps what is open on the same address. `taken` is
  /// called on the loop's thread once the plan holds for whatever comes next.
  void adopt(std::shared_ptr<const RunningPlan> plan, std::vector<io::Fd> listeners,
             std::function<void()> taken);
  /// Any thread: stops accepting, except where only_watches() holds, lets requests finish, and
  /// closes connections once they are idle; a request that is on its way already is served.
  void drain();
  /// Any thread: ends every connection now, then the loop.
  void stop();
  /// Any thread.
  [[nodiscard]] bool idle() const noexcept { return open_.load(std::memory_order_acquire) == 0; }
  [[nodiscard]] const io::LoopCounters& loop_counters() const noexcept { return loop_.counters(); }
  /// Any thread: see Loop::busy.
  [[nodiscard]] nanoseconds busy() const noexcept { return loop_.busy(); }
  /// Any thread: see Loop::take_longest_turn.
  [[nodiscard]] nanoseconds take_longest_turn() noexcept { return loop_.take_longest_turn(); }
  /// Any thread: whom limits refuse on this worker.
  [[nodiscard]] state::LimitedClients& limited() noexcept { return limited_; }

  // ---- For connections of this worker. ----
  [[nodiscard]] io::Loop& loop() noexcept { return loop_; }
  [[nodiscard]] Shared& shared() noexcept { return shared_; }
  [[nodiscard]] telemetry::WorkerCounters& counters() noexcept { return counters_; }
  /// A waiver, by its index in the configuration, let something pass.
  void count_waiver(const RunningPlan& plan, std::size_t waiver) noexcept {
    if (waiver < plan.waiver_slots.size())
      counters_.waiver_uses.at(plan.waiver_slots[waiver]).add();
  }
  [[nodiscard]] telemetry::AccessLogWriter* log() noexcept { return log_; }
  [[nodiscard]] telemetry::IdGenerator& ids() noexcept { return ids_; }
  [[nodiscard]] identity::ThreadState& identities() noexcept { return identities_; }
  [[nodiscard]] WorkerPlan& plan() noexcept { return *plans_.back(); }
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  /// When tunnels are told to go away: a while before the end of a drain.
  [[nodiscard]] Instant tunnels_end() const noexcept { return tunnels_end_; }
  /// The time to drain is over: what still runs is cut off.
  [[nodiscard]] bool over() const noexcept { return over_; }
  /// Connections of this door are told to close with their next answer: the worker drains, or the
  /// plan in force has no such listener.
  [[nodiscard]] bool ends(std::size_t door) noexcept { return draining_ || !plan().has_door(door); }
  /// Nothing comes there but questions about the gateway itself, by balancers and scrapers: ahead
  /// of work, and new ones also while the worker drains, which does not wait for those.
  [[nodiscard]] bool only_watches(std::size_t door) noexcept;
  /// Until when a connection may wait for a request.
  [[nodiscard]] Instant idle_deadline() noexcept;
  /// Something was refused for want of `reason`: says so in the process log, now and then.
  void note_shed(std::string_view reason) noexcept;
  /// For a request on a connection of this door. nullptr when too many requests are in flight in
  /// the process, or requests are shed: the caller sheds this one. Where status pages are served
  /// there is a transaction in reserve, with `shed` set.
  [[nodiscard]] std::unique_ptr<Transaction> take_transaction(std::size_t door);
  void give_back(std::unique_ptr<Transaction> transaction) noexcept;
  /// For an HTTP/1.1 connection, beside its transaction.
  [[nodiscard]] std::unique_ptr<http::H1Server> take_h1_server();
  void give_back(std::unique_ptr<http::H1Server> server) noexcept;
  /// A tunnel lives on this worker, from its making to its end.
  void enter(Tunnel& tunnel) noexcept;
  void leave(Tunnel& tunnel) noexcept;
  /// "Sun, 06 Nov 1994 08:49:37 GMT" of this second.
  [[nodiscard]] std::string_view date() noexcept;

 private:
  friend class ClientConnection;
  /// An address: its number stays the same over all plans, so that a connection can refer to it.
  struct Door {
    Endpoint address;
    std::unique_ptr<io::Acceptor> acceptor;  ///< null while no plan listens there
  };

  void take_plan(std::shared_ptr<const RunningPlan> plan, std::vector<io::Fd> listeners);
  [[nodiscard]] std::size_t door_of(const Endpoint& address);
  void open_door(std::size_t door, io::Fd socket);
  void accept(std::size_t door, io::Fd fd, const Endpoint& peer);
  template <class F>
  void for_each_connection(F f) noexcept;
  io::Task<void> say_farewell();
  [[nodiscard]] std::size_t spares_kept() noexcept;
  void drop_unused_plans() noexcept;
  void carry_tunnels_over();
  void compare_requests();
  io::Task<void> end_requests_at(Instant end);
  [[nodiscard]] std::shared_ptr<state::SharedLimits> shared_limits_of(const Plan& plan);
  void shut() noexcept;

  const std::size_t index_;
  Shared& shared_;
  telemetry::WorkerCounters& counters_;
  telemetry::AccessLogWriter* log_;
  io::Loop loop_;
  telemetry::IdGenerator ids_;
  state::LimitedClients limited_;
  identity::ThreadState identities_;
  upstream::Orphans orphans_;                       ///< of clusters that no plan has any more
  std::vector<std::unique_ptr<WorkerPlan>> plans_;  ///< the newest last
  std::unordered_map<std::string, std::weak_ptr<upstream::Cluster>> clusters_;  ///< by identity
  std::vector<std::shared_ptr<state::SharedLimits>> shared_limits_;  ///< in use, or being closed
  std::vector<Door> doors_;
  SparePool<Transaction> spare_{loop_};
  SparePool<http::H1Server> spare_h1_{loop_};
  ClientConnection* connections_ = nullptr;  ///< all of this worker, a list
  Tunnel* tunnels_ = nullptr;                ///< a list, too
  io::TaskSet tasks_;
  std::atomic<std::size_t> open_{0};  ///< connections that a drain waits for
  io::Signal farewell_{loop_};        ///< ends the wait of `say_farewell` early
  bool draining_ = false;
  Instant tunnels_end_ = Instant::max();
  bool over_ = false;
  Instant shed_told_until_{};
  std::array<char, kHttpDateBytes> date_{};
  Instant date_until_{};
};

}  // namespace merlon::gateway
