#include "gateway/request.h"

#include <fmt/format.h>

#include <algorithm>

#include "gateway/access_line.h"

namespace merlon::gateway {

using telemetry::str;

namespace {

constexpr Refusal kCallExpiredInLine{
    .status = 504,
    .error = {.code = code::kTimedOut,
              .blame = Blame::kClient,
              .what = "the deadline of the call passed while a policy made it wait"},
    .step = "deadline",
    .line = nullptr};

}  // namespace

RequestWay::RequestWay(Worker& worker, const ConnectionFacts& connection, std::uint32_t door,
                       http::ServerExchange& client, Transaction& transaction)
    : worker_(worker),
      connection_(connection),
      client_(client),
      t_(transaction),
      turn_(worker.loop()),
      door_(door) {}

io::Task<void> RequestWay::serve() {
  begin_record();
  head_read_ = true;
  return handle();
}

io::Task<void> RequestWay::answer_broken_head(Error error) {
  begin_record();
  client_.close_after();
  return refuse(framing_refusal(error));
}

void RequestWay::begin_record() {
  t_.started = worker_.loop().now();
  t_.id = worker_.ids().next();
  t_.trace_id.reset();
  t_.route = nullptr;
  t_.reading = Reading{};
  t_.fields.clear();
  t_.observations.clear();
  t_.preflight = false;
  t_.identity = nullptr;
  t_.authenticated = false;
  t_.answered = microseconds{-1};
  t_.pointer.clear();
  t_.grpc.begin(client_);
  ::new (&t_.outcome) telemetry::AccessOutcome;  // leaves the room for what is optional
}

Destination RequestWay::judge(Refusal& refusal) {
  const Judged judged = judge_head(client_.request(), connection_, t_.plan->plan(), listener(),
                                   t_.scratch, t_.reading, t_.fields, refusal);
  t_.route = judged.routed.route;
  t_.preflight = judged.routed.preflight;
  // Whoever sends what can be read two ways is not asked again.
  if (judged.ambiguous) client_.close_after();
  if (judged.where == Destination::kRefused ||
      check_client_certificate(connection_, listener(), t_.reading, worker_.loop().clock(),
                               refusal)) {
    return judged.where;
  }
  t_.route = nullptr;
  client_.close_after();
  return Destination::kRefused;
}

policy::Context RequestWay::policy_context() noexcept {
  return {.head = client_.request(),
          .reading = t_.reading,
          .connection = connection_,
          .preflight = t_.preflight,
          .now = worker_.loop().now(),
          .wall = worker_.loop().clock().wall_now(),
          .fields = t_.fields,
          .tables = worker_.shared().tables,
          .holds = t_.holds,
          .observations = t_.observations,
          .shared = t_.plan->shared.get(),
          .identities = &worker_.identities(),
          .may_ask = worker_.shared().agent != nullptr};
}

policy::Decision RequestWay::ask_policies(policy::Context& context, std::size_t& next) {
  const policy::Decision decision = run_policies(*t_.route, context, next);
  t_.identity = context.identity;
  t_.authenticated = context.authenticated || context.identity != nullptr;
  return decision;
}

/// Steps 5 to 11, then the rest of the way. Most requests wait for no policy.
io::Task<void> RequestWay::serve_when_passed() {
  policy::Context context = policy_context();
  std::size_t next = 0;
  const policy::Decision decision = ask_policies(context, next);
  return decision.kind == policy::Decision::Kind::kNext ? serve_route()
                                                        : heed(decision, std::move(context), next);
}

/// `decision` is that of the policy before number `next`.
io::Task<void> RequestWay::heed(policy::Decision decision, policy::Context context,
                                std::size_t next) {
  using Kind = policy::Decision::Kind;
  for (;;) {
    switch (decision.kind) {
      case Kind::kNext:
        co_await serve_route();
        co_return;
      case Kind::kRefuse:
        co_await refuse(decision.refusal);
        co_return;
      case Kind::kAnswer:
        t_.body.clear();
        own_answer(decision.refusal.status, {});
        co_await send_own();
        co_return;
      case Kind::kAskShared:
      case Kind::kAsk:
      case Kind::kDelay:
        break;
    }
    const bool wanted = co_await wait_for(decision, context);
    if (!wanted) {
      co_await end_unserved();
      co_return;
    }
    if (decision.kind != Kind::kDelay) --next;  // it is asked again, with the answer
    context.now = worker_.loop().now();
    if (t_.grpc.expired(context.now)) {
      co_await refuse(kCallExpiredInLine);
      co_return;
    }
    context.wall = worker_.loop().clock().wall_now();
    decision = ask_policies(context, next);
  }
}

/// What a policy waits for; its answer is then in `context`. False: nobody wants the request's.
io::Task<bool> RequestWay::wait_for(const policy::Decision& decision, policy::Context& context) {
  if (decision.kind == policy::Decision::Kind::kAskShared) {
    const state::SharedAnswer answer =
        co_await context.shared->take(*context.question.rule, context.question.party);
    context.answer = answer;
    co_return true;
  }
  if (decision.kind == policy::Decision::Kind::kAsk) {
    const bool asked = co_await run_errand(context.errand);
    co_return asked;
  }
  const Instant due = context.now + decision.delay;
  const Result<void> turn =
      co_await turn_.wait(std::min(due, t_.grpc.deadline.value_or(Instant::max())));
  co_return turn || turn.error().code == code::kTimedOut;
}

io::Task<void> RequestWay::handle() {
  Refusal refusal;
  const Destination destination = judge(refusal);
  if (t_.grpc.active && destination != Destination::kRefused) {
    const Result<void> deadline = t_.grpc.read_deadline(client_.request(), t_.started);
    if (!deadline) return refuse(framing_refusal(deadline.error()));
  }
  switch (destination) {
    case Destination::kRefused:
      if (refusal.error.code == code::kCleartextRefused) {
        worker_.shared().events.warning("cleartext_refused",
                                        {str("client", t_.reading.client.address.to_string()),
                                         str("method", client_.request().method_text)});
      }
      return refuse(refusal);
    case Destination::kRedirect:
      return redirect(*listener().redirect_to_port);
    case Destination::kStatusPage: {
      worker_.count_waiver(*t_.plan->running, listener().waivers.status_page);
      if (t_.reading.path.starts_with(kGrpcHealthService)) return serve_grpc_health();
      StatusPage page = worker_.shared().status_page(t_.reading.path);
      t_.body = std::move(page.body);
      own_answer(page.status, page.content_type);
      return send_own();
    }
    case Destination::kRoute:
      break;
  }
  if (t_.shed)
    return refuse({.status = 503,
                   .error = {.code = code::kOverloaded,
                             .blame = Blame::kInternal,
                             .what = "too many requests in flight"},
                   .step = "overload",
                   .line = nullptr});
  return t_.route->policies.empty() ? serve_route() : serve_when_passed();
}

io::Task<void> RequestWay::serve_route() {
  Refusal refusal;
  if (!check_before_body(client_.request(), *t_.route, refusal) || !check_endpoints(refusal))
    return refuse(refusal);
  if (!client_.body_unread()) return deliver();
  if (t_.route->content != nullptr) return deliver_when_judged();
  return t_.route->upstream == nullptr ? deliver_when_measured() : deliver();
}

io::Task<void> RequestWay::deliver_when_judged() {
  const bool good = co_await hold_body();
  if (good) co_await deliver();
}

/// A body that nobody reads, of no declared length: only what is too much of it is an answer of its
/// own. Whoever waits to be told to send it is answered without it.
io::Task<void> RequestWay::deliver_when_measured() {
  const Instant due = worker_.loop().now() + t_.route->timeout;
  Result<http::BodyPart> part = client_.buffered_body();
  const bool not_sent = part && part->data.empty() && client_.request().expect_continue;
  const bool declared = client_.request().framing == http::Framing::kLength;
  Refusal refusal;
  while (part && fits_body_size(client_.bytes_received(), *t_.route, refusal) && !part->last) {
    if (declared || not_sent) break;
    part = co_await client_.read_body(due);
  }
  if (!part) {
    co_await refuse_body(part.error());
  } else if (refusal.status != 0) {
    client_.close_after();
    co_await refuse(refusal);
  } else {
    co_await deliver();
  }
}

io::Task<void> RequestWay::deliver() {
  if (wants_tunnel() && worker_.draining()) {
    return refuse({.status = 503,
                   .error = {.code = code::kDraining,
                             .blame = Blame::kInternal,
                             .what = "a tunnel would not live long here"},
                   .step = "websocket",
                   .line = nullptr});
  }
  if (t_.route->upstream != nullptr)
    return hops_left(client_.request()) == 0U ? answer_last_hop() : proxy();
  const Respond& fixed = *t_.route->respond;
  t_.body = fixed.body;
  own_answer(fixed.status, fixed.content_type);
  return send_own();
}

/// OPTIONS that may not be forwarded is answered by whoever has it (RFC 9110 §7.6.2).
io::Task<void> RequestWay::answer_last_hop() {
  // No route lists the empty method: what comes back is all that this path takes.
  const RouteMatch all = t_.plan->plan().router->match(t_.reading.host.name, t_.reading.path,
                                                       http::Method::kOther, {});
  t_.body.clear();
  own_answer(204, {});
  t_.reply.fields.add("Allow", all.allow, http::FieldId::kAllow);
  return send_own();
}

/// Makes `reply` the head of an answer of our own, whose body is in `body`.
void RequestWay::own_answer(unsigned status, std::string_view content_type) {
  t_.reply.status = static_cast<std::uint16_t>(status);
  t_.reply.fields.clear();
  if (!content_type.empty())
    t_.reply.fields.add("Content-Type", content_type, http::FieldId::kContentType);
  t_.reply.framing = http::Framing::kLength;
  t_.reply.content_length = t_.body.size();
  t_.reply.has_content_length = true;
}

/// Makes `reply` and `body` an answer that says no more than `status`, in the words of HTTP or
/// gRPC.
void RequestWay::make_refusal(unsigned status, std::string_view pointer) {
  refusing_ = true;
  if (!t_.grpc.active) return make_problem(t_.reply, t_.body, status, t_.id.view(), pointer);
  t_.body.clear();
  t_.grpc.refuse(t_.reply, status);
}

io::Task<void> RequestWay::refuse(Refusal refusal) {
  worker_.counters().refusals.count(refusal.error.code);
  if (refusal.status == 429 && t_.route != nullptr)
    worker_.limited().note(t_.route->name, rule_name(refusal.error.code), t_.reading.client.address,
                           refusal.limit_class);
  // The text of the line is kept until the record is written.
  t_.refusal_line = refusal.line == nullptr ? std::string() : refusal.line->file_line();
  t_.outcome.refusal = telemetry::RefusalRecord{.step = refusal.step,
                                                .rule = rule_name(refusal.error.code),
                                                .line = t_.refusal_line,
                                                .limit_class = refusal.limit_class};
  make_refusal(refusal.status, t_.pointer);
  if (refusal.status == 503 && !t_.fields.contains(http::FieldId::kRetryAfter))
    t_.reply.fields.add("Retry-After", "1", http::FieldId::kRetryAfter);
  return send_own();
}

/// The answer to a body that cannot be read, or is more than the route takes: what is left of it is
/// not waited for.
io::Task<void> RequestWay::refuse_body(const Error& error) {
  if (gone_ || over()) return end_unserved();
  Refusal refusal = framing_refusal(error);
  refusal.step = "validation";
  if (error.code == code::kBodyTooLarge) refusal.line = body_line(*t_.route);
  client_.close_after();
  return refuse(refusal);
}

bool RequestWay::compare_with_plan(const RoutesByName& routes, Instant end) noexcept {
  // A tunnel is told by itself, and a page of the gateway's own has no route.
  if (tunnel_ != nullptr || t_.route == nullptr || &*t_.plan == &worker_.plan()) return false;
  const auto now = routes.find(t_.route->name);
  if (now != routes.end() && now->second->digest == t_.route->digest) {
    if (!over()) end_by_ = Instant::max();  // one that a reload had changed is as it was
    return false;
  }
  end_by_ = std::min(end_by_, end);
  return true;
}

void RequestWay::end_if_due(Instant now) noexcept {
  if (now < end_by_ || end_by_ == Instant::min()) return;
  if (tunnel_ != nullptr) return;  // which knows
  end_by_ = Instant::min();
  stop_waiting();
  client_.cut_off();
}

/// The client has left, or the gateway ends: no request is to blame.
io::Task<void> RequestWay::end_unserved() {
  if (!gone_)
    return refuse({.status = 503, .error = kCutAtEnd, .step = "forward", .line = nullptr});
  note_gone();
  return io::Task<void>::ready();
}

/// Port 80: to https.
io::Task<void> RequestWay::redirect(std::uint16_t port) {
  const bool v6 = t_.reading.host.address && t_.reading.host.address->is_v6();
  t_.location = fmt::format("https://{}{}{}{}{}{}{}", v6 ? "[" : "", t_.reading.host.name,
                            v6 ? "]" : "", port == 443 ? "" : fmt::format(":{}", port),
                            t_.reading.path, t_.reading.has_query ? "?" : "", t_.reading.query);
  t_.body.clear();
  own_answer(308, {});
  t_.reply.fields.add("Location", t_.location, http::FieldId::kLocation);
  co_await send_own();
}

/// Sends `reply` and `body` through the door. A request body that is not here by now is not waited
/// for: the connection ends after the answer.
io::Task<void> RequestWay::send_own(std::span<const http::Field> trailers) {
  if (client_.body_unread()) {
    const Result<http::BodyPart> rest = client_.buffered_body();
    if (!rest || !rest->last) client_.close_after();
  }
  if (worker_.ends(door_) || connection_.outdated) client_.close_after();
  t_.outcome.status = t_.grpc.refused != 0 ? t_.grpc.refused : t_.reply.status;
  dress_response(t_.reply);
  const Result<void> sent =
      co_await client_.send_head(t_.reply, {.data = t_.body, .last = true, .trailers = trailers});
  if (!sent) client_.close_after();
}

void RequestWay::dress_response(http::ResponseHead& head) noexcept {
  const bool kept = dress(head, {.route = t_.route,
                                 .refusal = refusing_,
                                 .secure = connection_.secure(),
                                 .request_id = t_.id.view(),
                                 .date = worker_.date(),
                                 .policy_fields = t_.fields.lines()});
  if (kept) worker_.count_waiver(*t_.plan->running, t_.route->waivers.csp);
}

void RequestWay::finish() {
  telemetry::WorkerCounters& counters = worker_.counters();
  const auto total =
      std::chrono::duration_cast<microseconds>(worker_.loop().clock().now() - t_.started);
  const Route* route = t_.route;
  const std::uint32_t slot = route == nullptr ? 0 : t_.plan->running->route_slots[route->index];
  t_.holds.release();
  if (t_.grpc.told) t_.outcome.grpc_status = static_cast<std::int16_t>(*t_.grpc.told);
  // How long a tunnel was open says nothing of how fast it was answered.
  counters.count_request(slot, t_.outcome.status, t_.answered.count() < 0 ? total : t_.answered);
  t_.held.release();
  note_observations();
  count_waivers();
  counters.received_bytes.add(client_.bytes_received());
  counters.sent_bytes.add(client_.bytes_sent());
  if (worker_.log() == nullptr) return;

  const http::RequestHead& head = client_.request();
  const bool known = !t_.reading.path.empty();
  telemetry::AccessRecord r{.outcome = t_.outcome};
  // Empty until the head was read to its end.
  const IpAddress& client = t_.reading.client.address;
  const ConnectionText connection(connection_,
                                  client.is_unspecified() ? connection_.client : client, r);
  r.time = worker_.loop().clock().wall_now();
  r.request_id = t_.id.view();
  if (t_.trace_id) r.trace_id = {t_.trace_id->data(), t_.trace_id->size()};
  r.listener = listener().name;
  if (route != nullptr) r.route = route->name;
  r.protocol = client_.protocol();
  if (known) {
    r.method = head.method_text;
    r.host = t_.reading.host.name;
    r.path = t_.reading.path;
  } else if (head_read_) {
    note_raw_target(head, r);
  }
  r.request_body_bytes = client_.bytes_received();
  r.response_body_bytes = client_.bytes_sent();
  r.total = total;
  char subject[identity::kPseudonymBytes];
  if (t_.identity != nullptr) {
    r.identity_method = identity::name_of(t_.identity->method());
    r.identity_provider = route->provider;
    r.identity_subject = identity::pseudonym(
        route->provider, *t_.identity, worker_.identities().reader.signatures().hasher(), subject);
  }
  worker_.log()->write(r);
}

}  // namespace merlon::gateway
