#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "gateway/judge.h"
#include "gateway/tunnel.h"
#include "gateway/worker.h"
#include "http/exchange.h"
#include "io/signal.h"
#include "io/task.h"

namespace merlon::policy {
class ContentJudge;
}  // namespace merlon::policy

namespace merlon::gateway {

/// Why a request ends with its worker: no upstream is to blame for it.
inline constexpr Error kCutAtEnd{.code = code::kDraining,
                                 .blame = Blame::kInternal,
                                 .what = "the gateway ended before the response did"};
/// Why a call of gRPC ends whose client gave it no more time.
inline constexpr Error kCallExpired{.code = code::kUpstreamTimeout,
                                    .blame = Blame::kUpstream,
                                    .what = "the deadline of the call has passed"};

using RoutesByName = std::unordered_map<std::string_view, const Route*>;

/// One request on its way, steps 2 to 13: judged, forwarded or answered, and recorded. Knows no
/// protocol: HTTP/1.1 requests and HTTP/2 streams go the same way. Everything it refers to outlives
/// it; it lives on the frame of the coroutine that serves the request.
class RequestWay : private Tunnel::Owner {
 public:
  RequestWay(Worker& worker, const ConnectionFacts& connection, std::uint32_t door,
             http::ServerExchange& client, Transaction& transaction);
  RequestWay(const RequestWay&) = delete;
  RequestWay& operator=(const RequestWay&) = delete;

  /// The request whose head is read, to the end of its response. `finish` comes next.
  [[nodiscard]] io::Task<void> serve();
  /// The answer to a head that could not be read. `finish` comes next.
  [[nodiscard]] io::Task<void> answer_broken_head(Error error);
  /// Counts and logs what became of it.
  void finish();
  /// Ends a wait for the upstream or for its turn.
  void abort() noexcept {
    if (tunnel_ != nullptr) tunnel_->abort();
    stop_waiting();
  }
  /// The same, since nobody wants the answer any more. A tunnel sees its own ends.
  void client_gone() noexcept {
    gone_ = true;
    if (tunnel_ == nullptr || worker_.over()) abort();
  }

  /// A new plan: where it does not have the route as it was, the request has until `end`. True
  /// then. `routes` are those of the plan.
  bool compare_with_plan(const RoutesByName& routes, Instant end) noexcept;
  /// Ends it where its time is over.
  void end_if_due(Instant now) noexcept;

 private:
  void stop_waiting() noexcept {
    if (search_ != nullptr) search_->cancel();
    if (upstream_ != nullptr) upstream_->cancel();
    turn_.cancel();
  }
  /// Nothing of it goes on: its worker's time is over, or its own. Whoever has waited, or is about
  /// to, looks: only what waits at that moment is told.
  [[nodiscard]] bool over() const noexcept { return worker_.over() || end_by_ == Instant::min(); }
  void begin_record();
  [[nodiscard]] const Listener& listener() const noexcept { return t_.plan->listener(door_); }

  [[nodiscard]] Destination judge(Refusal& refusal);
  [[nodiscard]] io::Task<void> handle();
  [[nodiscard]] policy::Context policy_context() noexcept;
  [[nodiscard]] policy::Decision ask_policies(policy::Context& context, std::size_t& next);
  [[nodiscard]] io::Task<void> serve_when_passed();
  [[nodiscard]] io::Task<void> heed(policy::Decision decision, policy::Context context,
                                    std::size_t next);
  [[nodiscard]] io::Task<bool> wait_for(const policy::Decision& decision, policy::Context& context);
  // errand.cc
  [[nodiscard]] io::Task<bool> run_errand(std::shared_ptr<identity::Errand> errand);
  [[nodiscard]] io::Task<void> serve_route();
  [[nodiscard]] io::Task<void> deliver_when_judged();
  [[nodiscard]] io::Task<void> deliver_when_measured();
  [[nodiscard]] io::Task<void> deliver();
  [[nodiscard]] io::Task<void> answer_last_hop();
  void note_observations();
  void count_waivers() noexcept;
  void count_upstream_waivers(const upstream::Lease& lease) noexcept;
  [[nodiscard]] io::Task<void> refuse(Refusal refusal);
  [[nodiscard]] io::Task<void> refuse_body(const Error& error);
  [[nodiscard]] io::Task<void> end_unserved();
  [[nodiscard]] io::Task<void> redirect(std::uint16_t port);
  [[nodiscard]] io::Task<void> send_own(std::span<const http::Field> trailers = {});
  void own_answer(unsigned status, std::string_view content_type);
  void make_refusal(unsigned status, std::string_view pointer);

  // grpc_health.cc
  [[nodiscard]] io::Task<void> serve_grpc_health();
  [[nodiscard]] io::Task<void> watch_health(bool known);
  [[nodiscard]] std::string_view health_now(bool known) const;
  [[nodiscard]] bool follow_plan();
  [[nodiscard]] io::Task<Result<void>> read_health_request(std::string& asked);

  // grpc.cc
  [[nodiscard]] io::Task<void> end_call(Error failure);
  [[nodiscard]] io::Task<Result<void>> tell_end(unsigned status);
  void note_grpc_response(const http::Fields& head, const http::BodyPart& first) noexcept;
  void note_grpc_status(std::span<const http::Field> fields) noexcept;
  [[nodiscard]] Result<void> check_body_size(std::string_view part) noexcept;

  // hold.cc
  [[nodiscard]] io::Task<bool> hold_body();
  [[nodiscard]] bool hold_part(std::string_view part, policy::ContentJudge& judge, bool& judging,
                               Refusal& refusal);
  [[nodiscard]] io::Task<Result<void>> judge_held(policy::ContentJudge& judge, Instant due);
  [[nodiscard]] io::Task<Result<void>> judge_in_pool(std::size_t names, Instant due);
  [[nodiscard]] bool observe(const Refusal& refusal) noexcept;

  // proxy.cc
  [[nodiscard]] bool check_endpoints(Refusal& refusal) noexcept;
  [[nodiscard]] io::Task<void> proxy();
  void bound_messages() noexcept;
  [[nodiscard]] Result<http::BodyPart> first_part() noexcept;
  [[nodiscard]] io::Task<bool> prepare_body(Result<http::BodyPart>& first);
  [[nodiscard]] telemetry::UpstreamCounters& upstream_counters() const noexcept;
  [[nodiscard]] io::Task<void> refuse_failed(const Error& error);
  [[nodiscard]] bool goes_again(const Error& error, unsigned attempt, bool reused,
                                http::BodyPart& first) const noexcept;
  [[nodiscard]] io::Task<Result<upstream::Lease>> open(upstream::Cluster& cluster,
                                                       Instant deadline);
  [[nodiscard]] bool too_hasty(const Error& failure, Instant since) const noexcept;
  [[nodiscard]] io::Task<Result<void>> exchange(upstream::Lease& lease, const http::BodyPart& first,
                                                Instant deadline);
  [[nodiscard]] io::Task<Result<void>> await_answer(Instant deadline);
  [[nodiscard]] io::Task<Result<void>> exchange_streaming(io::Task<Result<void>> opened, bool last,
                                                          Instant deadline);
  [[nodiscard]] Result<void> conclude(Error failure) noexcept;
  [[nodiscard]] Instant head_deadline(Instant deadline) const noexcept;
  void note_answered(Instant asked) noexcept;
  [[nodiscard]] Error unanswered(const Error& error) const noexcept;
  [[nodiscard]] io::Task<void> hide_error(const http::ResponseHead& head);
  void rewrite_location(http::ResponseHead& head);
  // Not made a part of who awaits the answer: its frame is taken when there is one.
  [[nodiscard, gnu::noinline]] io::Task<void> relay_response(http::ResponseHead& head);
  [[nodiscard]] io::Task<void> end_relay(Error failure, bool begun);
  [[nodiscard]] io::Task<Result<void>> relay_body();
  [[nodiscard]] http::ClientExchange& attach(upstream::Lease& lease, const Upstream& upstream);
  void detach(bool good) noexcept;
  [[nodiscard]] io::Task<void> release_upstream();
  [[nodiscard]] io::Task<void> release_when_stopped();
  void note_gone() noexcept;
  void dress_response(http::ResponseHead& head) noexcept;

  // upstream_head.cc
  void prepare_upstream_head(http::RequestHead& out, struct OwnFields& own);
  void pass_deadline_on(http::RequestHead& out, struct OwnFields& own) const noexcept;

  // pump.cc
  void begin_keeping(const http::BodyPart& first);
  void keep_sent(const http::BodyPart& part);
  [[nodiscard]] io::Task<void> pump_request();
  [[nodiscard]] io::Task<void> pump_opened(io::Task<Result<void>> opened, bool last);
  void note_stuck(const Error& why) noexcept;
  void tell_reader() noexcept;
  [[nodiscard]] bool streams_messages() const noexcept;
  [[nodiscard]] io::Task<Result<http::ResponseHead*>> await_head_longer(const io::Fork& pump,
                                                                        Instant deadline);
  [[nodiscard]] io::Task<void> stop_pump(bool goes_on = false);

  // websocket.cc
  [[nodiscard]] bool wants_tunnel() const noexcept {
    return client_.request().wants_websocket && t_.route->websocket_idle.has_value();
  }
  void prepare_handshake(http::RequestHead& out, struct OwnFields& own) const noexcept;
  [[nodiscard]] io::Task<void> relay_tunnel(http::ResponseHead& head);
  [[nodiscard]] io::Task<void> carry_tunnel(bool extended);
  void follow_reload(Tunnel& tunnel);
  bool carry_over(WorkerPlan& plan) override;

  /// The rest of the request's body did not come, and that ends the exchange.
  [[nodiscard]] bool body_failed() const noexcept {
    return pumped_.code != 0 && pumped_.code != code::kCancelled;
  }

  /// What was taken of a body that was not whole when the upstream was asked.
  struct Sent {
    std::string bytes;
    bool last = false;
  };

  Worker& worker_;
  const ConnectionFacts& connection_;
  http::ServerExchange& client_;
  Transaction& t_;
  upstream::Search* search_ = nullptr;        ///< in progress, to abort it
  http::ClientExchange* upstream_ = nullptr;  ///< in progress, to abort it
  upstream::Lease* lease_ = nullptr;          ///< what that is on
  std::unique_ptr<http::H2ClientStream> h2_;  ///< that, where the upstream speaks HTTP/2
  io::Fork* pump_ = nullptr;                  ///< sends it the rest of the request's body
  Tunnel* tunnel_ = nullptr;                  ///< while one is open
  std::unique_ptr<Sent> sent_;                ///< to send it once more; null once that cannot be
  Error pumped_{};                            ///< why the rest of the request's body did not come
  Instant moved_{};                           ///< when a part of head or body last came or went
  Instant end_by_ = Instant::max();           ///< min() once that has come
  io::Signal turn_;                           ///< a request that a limit delays waits here
  const std::uint32_t door_;                  ///< Worker::doors_
  bool head_read_ = false;                    ///< and well formed
  bool refusing_ = false;                     ///< the answer is a refusal of our own
  bool gone_ = false;                         ///< the client is
  bool client_owes_ = true;                   ///< the pump waits, or waited last, for the client
  bool stop_pump_ = false;  ///< the response is done: the rest of the request's body is of no use
};

}  // namespace merlon::gateway
