#include "http/websocket.h"

#include "gateway/own_fields.h"
#include "gateway/request.h"
#include "http/status.h"

/// A handshake that a route lets through, and the tunnel that it opens.
namespace merlon::gateway {

using http::FieldId;

/// Makes the upstream's handshake of the client's, or an ordinary request where no tunnel may be.
void RequestWay::prepare_handshake(http::RequestHead& out, OwnFields& own) const noexcept {
  out.wants_websocket = wants_tunnel();
  if (!out.wants_websocket || !out.only_websocket) return;
  // Over HTTP/2 there is no key (RFC 8441 §5.1): the gateway is the one that asks. Without
  // randomness the key is all zeros, which no right answer fits.
  if (const auto key = http::make_websocket_key()) own.websocket_key = *key;
  out.fields.drop(FieldId::kSecWebSocketKey);
  out.fields.add("Sec-WebSocket-Key", own.websocket_key.view(), FieldId::kSecWebSocketKey);
}

/// The upstream has agreed, or so it says.
io::Task<void> RequestWay::relay_tunnel(http::ResponseHead& head) {
  const http::RequestHead& asked = client_.request();
  const std::string_view key = asked.fields.value(FieldId::kSecWebSocketKey);
  Result<void> judged = head.status == 101
                            ? http::judge_websocket_answer(head, asked.fields, key)
                            : fail(code::kUpstreamBadResponse, Blame::kUpstream,
                                   "the handshake was answered with success, but not with 101");
  if (judged && upstream_->tunnel() == nullptr)
    judged = fail(code::kUpstreamBadResponse, Blame::kUpstream, "there is no tunnel to carry");
  if (!judged) {
    co_await release_upstream();
    co_await refuse({.status = http::status_for(judged.error()),
                     .error = judged.error(),
                     .step = "websocket",
                     .line = &t_.route->upstream->at});
    co_return;
  }
  t_.outcome.status = asked.only_websocket ? 200 : 101;
  dress_response(head);
  const bool extended = head.fields.contains(FieldId::kSecWebSocketExtensions);
  const Result<void> opened = co_await client_.open_tunnel(head);
  if (opened) co_await carry_tunnel(extended);
}

io::Task<void> RequestWay::carry_tunnel(bool extended) {
  t_.answered = std::chrono::duration_cast<microseconds>(worker_.loop().now() - t_.started);
  t_.outcome.tunnel = "websocket";
  Tunnel tunnel(worker_, *this, client_.tunnel(), *upstream_->tunnel(), *t_.route->websocket_idle,
                extended);
  tunnel_ = &tunnel;
  follow_reload(tunnel);
  const Error why = co_await tunnel.run();
  tunnel_ = nullptr;
  if (why.code == 0) co_return;
  worker_.counters().refusals.count(why.code);
  t_.outcome.refusal =
      telemetry::RefusalRecord{.step = "websocket", .rule = rule_name(why.code), .line = {}};
}

/// Of a reload that came while the handshake was under way.
void RequestWay::follow_reload(Tunnel& tunnel) {
  tunnel.end_by(end_by_);
  WorkerPlan& now = worker_.plan();
  if (&*t_.plan == &now || end_by_ != Instant::max() || carry_over(now)) return;
  tunnel.end_by(worker_.loop().now() + now.plan().timeouts.drain);
}

/// A reload that changed nothing of the route and its upstream changes nothing of the tunnel.
bool RequestWay::carry_over(WorkerPlan& plan) {
  if (!plan.has_door(door_) || connection_.outdated) return false;
  for (const auto& route : plan.plan().routes) {
    if (route->name != t_.route->name) continue;
    if (route->digest != t_.route->digest) return false;
    const std::size_t old = t_.route->upstream->index;
    if (plan.clusters[route->upstream->index] != t_.plan->clusters[old]) return false;
    // What they name goes with the old plan.
    note_observations();
    t_.observations.clear();
    t_.route = route.get();
    t_.outcome.upstream = route->upstream->name;
    t_.plan = PlanPin(plan);
    return true;
  }
  return false;
}

}  // namespace merlon::gateway
