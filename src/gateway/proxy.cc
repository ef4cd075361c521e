#include <algorithm>

#include "gateway/own_fields.h"
#include "gateway/request.h"
#include "http/status.h"

/// Step 12: the request goes to an upstream and its response comes back.
namespace merlon::gateway {

using http::BodyPart;
using http::FieldId;

namespace {

Error upstream_failure(Error error) noexcept {
  error.blame = Blame::kUpstream;
  return error;
}

// An upstream may refuse a stream whenever it likes; a request is not sent round for ever. Of a
// connection that drains it is no refusal of the request: each one is met once.
constexpr unsigned kRefusedMax = 3;
constexpr unsigned kDrainingMax = 16;

/// The upstream says that it has done nothing for the request (RFC 9113 §8.7): not even one that
/// must not be repeated was begun.
bool is_untouched(const Error& error) noexcept {
  return error.code == code::kH2StreamRefused || error.code == code::kH2GoAway;
}

/// What a kept connection shows that the upstream had closed while nobody used it.
bool is_idle_close(const Error& error) noexcept {
  return error.code == code::kUpstreamReset && error.retryable;
}

/// Why the head of a request did not go out.
Error unsent(const Error& error) noexcept {
  // With what the gateway adds: the client's certificate, its claims. No upstream saw any of it.
  if (error.code == code::kHeadTooLarge)
    return {.code = code::kHeadTooLarge, .blame = Blame::kClient, .what = error.what};
  Error failure = upstream_failure(error);
  failure.retryable = true;
  if (failure.code == code::kTimedOut) {
    failure.code = code::kUpstreamTimeout;
  } else if (!is_untouched(failure) && failure.code != code::kUpstreamTimeout) {
    failure.code = code::kUpstreamReset;
  }
  return failure;
}

constexpr Error kBodyLate{.code = code::kBodyTooSlow,
                          .blame = Blame::kClient,
                          .what = "the body was not whole when the route's time was over"};

/// The gateway ended it for want of the client's reading.
bool is_cut_off(const Error& error) noexcept {
  return error.code == code::kH2WindowStalled || error.code == code::kTimedOut;
}

/// An answer that says where it failed: 502, 503 or 504.
Refusal upstream_refusal(const Error& error, const Route& route) {
  const auto& health = route.upstream->health;
  const Mark* line = &route.upstream->at;
  if (error.code == code::kUpstreamUnhealthy && health.has_value()) line = &health->at;
  if (error.code == code::kDraining) line = nullptr;
  return {.status = http::status_for(error), .error = error, .step = "forward", .line = line};
}

}  // namespace

/// Step 12 for what is known before a body is waited for: 503 where health checks found every
/// endpoint unhealthy.
bool RequestWay::check_endpoints(Refusal& refusal) noexcept {
  const Route& route = *t_.route;
  if (route.upstream == nullptr || !t_.plan->clusters[route.upstream->index]->none_healthy())
    return true;
  t_.outcome.upstream = route.upstream->name;
  upstream_counters().failures.add();
  refusal = upstream_refusal(upstream::kNoHealthyEndpoint, route);
  return false;
}

/// Before the first message of a call goes on.
void RequestWay::bound_messages() noexcept {
  const Route& route = *t_.route;
  t_.grpc.bounded = route.grpc_service;
  t_.grpc.messages.reset(route.body_bytes_max);
  if (streams_messages())
    client_.expect_messages(route.upstream->idle_timeout,
                            t_.grpc.deadline.value_or(Instant::max()));
}

/// What of the body is here already, in so far as it may go on.
Result<BodyPart> RequestWay::first_part() noexcept {
  const Route& route = *t_.route;
  const bool held = route.content != nullptr && !t_.held.view().empty();
  Result<BodyPart> first =
      held ? BodyPart{.data = t_.held.view(), .last = true} : client_.buffered_body();
  if (!first) return first;
  const Result<void> fits = check_body_size(first->data);
  if (!fits) first = std::unexpected(fits.error());
  return first;
}

telemetry::UpstreamCounters& RequestWay::upstream_counters() const noexcept {
  return worker_.counters().upstreams.at(
      t_.plan->running->upstream_slots[t_.route->upstream->index]);
}

/// For a body that is not here, or not whole: asks for it, and waits for one that fits. False when
/// the request ended with that.
io::Task<bool> RequestWay::prepare_body(Result<BodyPart>& first) {
  const Instant now = worker_.loop().now();
  if (t_.grpc.expired(now)) {
    co_await refuse(upstream_refusal(kCallExpired, *t_.route));
    co_return false;
  }
  if (!first) {
    co_await refuse_body(first.error());
    co_return false;
  }
  if (client_.request().expect_continue && !first->last && first->data.empty()) {
    const Result<void> told = co_await client_.send_continue();
    if (!told) {
      note_gone();
      co_return false;
    }
  }
  // Waited for before an upstream is asked: a slow client holds no connection of it, and what is
  // whole may be sent once more.
  if (first->last || t_.grpc.active || !client_.body_fits()) co_return true;
  first = co_await client_.gather_body(*first, now + t_.route->timeout);
  if (!first) co_await refuse_failed(first.error());
  co_return first.has_value();
}

io::Task<void> RequestWay::proxy() {
  const Route& route = *t_.route;
  upstream::Cluster& cluster = *t_.plan->clusters[route.upstream->index];
  http::RequestHead& head = client_.request();
  t_.outcome.upstream = route.upstream->name;

  if (t_.grpc.active) bound_messages();
  Result<BodyPart> first = first_part();
  const bool whole = first && first->last && !t_.grpc.expired(worker_.loop().now());
  if (!whole) {
    const bool goes_on = co_await prepare_body(first);
    if (!goes_on) co_return;
  }
  OwnFields own;
  prepare_upstream_head(head, own);
  // Counts from here, so that an upstream has all of it however long the client took.
  const Instant deadline =
      std::min(worker_.loop().now() + route.timeout, t_.grpc.deadline.value_or(Instant::max()));

  for (unsigned attempt = 0;; ++attempt) {
    if (over()) {
      co_await refuse_failed(kCutAtEnd);
      co_return;
    }
    upstream::Lease lease;
    if (attempt == 0) lease = cluster.reuse();
    if (lease) {
      upstream_counters().reuses.add();
    } else {
      Result<upstream::Lease> opened = co_await open(cluster, deadline);
      if (!opened) {
        co_await refuse_failed(opened.error());
        co_return;
      }
      lease = std::move(*opened);
    }
    if (gone_) {
      lease.keep();
      note_gone();
      co_return;
    }
    pass_deadline_on(head, own);
    ++t_.outcome.upstream_attempts;
    const bool reused = lease.reused();
    const Endpoint endpoint = lease.endpoint();
    const Instant asked = worker_.loop().now();
    const Result<void> done = co_await exchange(lease, *first, deadline);
    if (done) co_return;
    const bool blamed = done.error().blame == Blame::kUpstream && !gone_;
    if (blamed) upstream_counters().failures.add();
    if (gone_ || !goes_again(done.error(), attempt, reused, *first)) {
      if (blamed && !(reused && is_idle_close(done.error())) && !too_hasty(done.error(), asked))
        cluster.note_failure(endpoint, done.error());
      co_await refuse_failed(done.error());
      co_return;
    }
    upstream_counters().retries.add();
  }
}

/// What a request comes to that no upstream answered. Nothing is sent to a client that has left, or
/// behind a head.
io::Task<void> RequestWay::refuse_failed(const Error& error) {
  if (gone_) return end_unserved();
  if (client_.head_sent()) return io::Task<void>::ready();
  if (over() || error.blame == Blame::kClient) return refuse_body(error);
  return refuse(upstream_refusal(error, *t_.route));
}

/// True when the request may be sent once more after `error`. `first` is then what to send of its
/// body.
bool RequestWay::goes_again(const Error& error, unsigned attempt, bool reused,
                            BodyPart& first) const noexcept {
  // A pooled connection may have been closed while it was idle: the request has not been answered
  // by anyone, so it may go out once more if it can be repeated and all of it is still here.
  const bool lost = attempt == 0 && reused && http::is_idempotent(client_.request().method);
  const bool drains = error.code == code::kH2GoAway;
  const bool untouched = attempt < (drains ? kDrainingMax : kRefusedMax) && is_untouched(error);
  if (!error.retryable || !(lost || untouched)) return false;
  if (!untouched || sent_ == nullptr) return first.last;
  first = {.data = sent_->bytes, .last = sent_->last};
  return true;
}

/// A connection that has to be made or waited for. Counts the attempts that fail.
io::Task<Result<upstream::Lease>> RequestWay::open(upstream::Cluster& cluster, Instant deadline) {
  if (gone_) co_return fail(code::kCancelled, Blame::kInternal, "the client has gone");
  telemetry::UpstreamCounters& counted = upstream_counters();
  const Instant begun = worker_.loop().now();
  upstream::Search search(deadline, t_.grpc.deadline == deadline);
  search_ = &search;
  Result<upstream::Lease> opened = co_await cluster.open(search);
  search_ = nullptr;
  const Instant now = worker_.loop().now();
  const std::uint32_t failed = search.failures();
  if (failed > 0) {
    t_.outcome.endpoint = search.failed_endpoint();
    t_.outcome.upstream_attempts += failed;
    counted.retries.add(opened ? failed : failed - 1);
  }
  const bool in_vain = !opened && !gone_;
  counted.failures.add(in_vain ? std::max(failed, 1U) : failed);
  if (opened) {
    // Whoever waited for a place may have been handed a connection that came free, or that others
    // share.
    (opened->reused() ? counted.reuses : counted.connects).add();
    t_.outcome.upstream_connect = std::chrono::duration_cast<microseconds>(now - begun);
    co_return opened;
  }
  if (opened.error().code == code::kResources) worker_.note_shed("file descriptors or local ports");
  if (t_.grpc.expired(now)) opened = std::unexpected(kCallExpired);
  if (over()) opened = std::unexpected(kCutAtEnd);
  co_return opened;
}

/// The client's own deadline passed before an upstream had the time that it may take: that says
/// nothing of it.
bool RequestWay::too_hasty(const Error& failure, Instant since) const noexcept {
  const Instant now = worker_.loop().now();
  return failure.code == code::kUpstreamTimeout && t_.grpc.expired(now) &&
         now - since < t_.route->upstream->response_timeout;
}

/// The client left before it was answered: no upstream is to blame, and nothing is sent.
void RequestWay::note_gone() noexcept {
  const std::uint16_t why = over() ? code::kDraining : code::kClosed;
  t_.outcome.refusal =
      telemetry::RefusalRecord{.step = "forward", .rule = rule_name(why), .line = {}};
}

/// Begins an exchange on what was lent.
http::ClientExchange& RequestWay::attach(upstream::Lease& lease, const Upstream& upstream) {
  lease_ = &lease;
  t_.outcome.endpoint = lease.endpoint_text();
  if (http::H2Client* const h2 = lease.h2(); h2 != nullptr) {
    h2_ = std::make_unique<http::H2ClientStream>(*h2, upstream.idle_timeout);
    upstream_ = h2_.get();
  } else {
    if (t_.h1_client == nullptr) t_.h1_client = std::make_unique_for_overwrite<http::H1Client>();
    t_.h1_client->attach(lease.stream(), upstream.idle_timeout);
    upstream_ = t_.h1_client.get();
  }
  return *upstream_;
}

/// Ends it, if that was not done before. What came of the response stays where it is.
void RequestWay::detach(bool good) noexcept {
  if (upstream_ == nullptr) return;
  const bool keep = good && upstream_->reusable();
  if (lease_->h2() != nullptr) h2_->detach();
  upstream_ = nullptr;
  if (keep) {
    lease_->keep();
  } else {
    if (gone_ && lease_->h2() == nullptr) client_.upstream_lost();
    lease_->close();
  }
}

/// Nothing more is wanted of the upstream: others have its place while a client takes its time for
/// what is left (CVE-2019-9517).
io::Task<void> RequestWay::release_upstream() {
  if (pump_ != nullptr) return release_when_stopped();
  detach(true);
  return io::Task<void>::ready();
}

io::Task<void> RequestWay::release_when_stopped() {
  co_await stop_pump();
  detach(true);
}

/// Until when the response's head is awaited to begin with.
Instant RequestWay::head_deadline(Instant deadline) const noexcept {
  const Upstream& upstream = *t_.route->upstream;
  const Instant now = worker_.loop().now();
  // A client that said how long it waits is taken at its word, while the stream is not idle for
  // too long: what a call does before its first message is the service's affair.
  if (t_.grpc.deadline && upstream.protocol == Protocol::kHttp2)
    return std::min(*t_.grpc.deadline,
                    now + std::max(upstream.response_timeout, upstream.idle_timeout));
  return std::min(deadline, now + upstream.response_timeout);
}

/// One attempt. What the wait for an answer keeps is kept small: thousands wait at a time.
io::Task<Result<void>> RequestWay::exchange(upstream::Lease& lease, const BodyPart& first,
                                            Instant deadline) {
  const Upstream& upstream = *t_.route->upstream;
  http::ClientExchange& client = attach(lease, upstream);
  const std::string_view host =
      upstream.host.empty() ? t_.reading.authority : std::string_view(upstream.host);
  moved_ = worker_.loop().now();
  BodyPart opening = first;
  opening.trailers = {};
  io::Task<Result<void>> opened = client.send_head(client_.request(), host, opening, deadline);
  const Result<void>* const sent = opened.result();
  if (sent != nullptr && !*sent)
    return io::Task<Result<void>>::ready(conclude(unsent(sent->error())));
  if (sent == nullptr || !first.last) {
    if (!first.last && lease.h2() != nullptr) begin_keeping(first);
    return exchange_streaming(std::move(opened), first.last, deadline);
  }
  return await_answer(head_deadline(deadline));
}

/// All of the request has gone out.
io::Task<Result<void>> RequestWay::await_answer(Instant deadline) {
  const Instant asked = moved_;
  const Result<http::ResponseHead*> head = co_await upstream_->read_head(deadline);
  if (!head) co_return conclude(unanswered(head.error()));
  sent_.reset();
  note_answered(asked);
  co_await relay_response(**head);
  co_return conclude({});
}

/// The rest of the request goes out while the response is awaited.
io::Task<Result<void>> RequestWay::exchange_streaming(io::Task<Result<void>> opened, bool last,
                                                      Instant deadline) {
  const Instant asked = moved_;
  const bool head_gone = opened.result() != nullptr;
  pumped_ = {};
  stop_pump_ = false;
  client_owes_ = true;
  io::Fork pump(head_gone ? pump_request() : pump_opened(std::move(opened), last));
  pump_ = &pump;
  const bool streaming = !pump.done();
  Result<http::ResponseHead*> head = std::unexpected(pumped_);
  // A body that went wrong at once found nobody waiting whom it could tell.
  if (pumped_.code == 0) head = co_await upstream_->read_head(head_deadline(deadline));
  if (!head && streaming && head.error().code == code::kUpstreamTimeout &&
      (streams_messages() || worker_.loop().now() < deadline))
    head = co_await await_head_longer(pump, deadline);
  Error failure{};
  if (head) {
    if (head_gone) sent_.reset();  // else a part of it may still be on its way
    note_answered(asked);
    co_await relay_response(**head);
  } else {
    failure = unanswered(head.error());
  }
  if (pump_ != nullptr) co_await stop_pump(is_untouched(failure) && sent_ != nullptr);
  if (failure.code != 0 && body_failed()) failure = pumped_;
  co_return conclude(failure);
}

/// The attempt is over; `failure` has code 0 where a response came.
Result<void> RequestWay::conclude(Error failure) noexcept {
  detach(failure.code == 0);
  if (failure.code == 0) return {};
  if (over()) failure = kCutAtEnd;
  return std::unexpected(failure);
}

void RequestWay::note_answered(Instant asked) noexcept {
  t_.outcome.upstream_first_byte =
      std::chrono::duration_cast<microseconds>(worker_.loop().now() - asked);
  worker_.counters().upstream_time.observe(t_.outcome.upstream_first_byte);
  if (t_.route->has_waivers) count_upstream_waivers(*lease_);
}

/// Why no head of a response came.
Error RequestWay::unanswered(const Error& error) const noexcept {
  // An upstream need not answer what it has not got: the client took all of the time.
  const bool waits_for_client =
      pump_ != nullptr && !pump_->done() && client_owes_ && !t_.grpc.active;
  if (error.code == code::kUpstreamTimeout && waits_for_client) return kBodyLate;
  Error failure = upstream_failure(error);
  failure.retryable = !upstream_->response_started() &&
                      (failure.code == code::kUpstreamReset || is_untouched(failure));
  return failure;
}

/// What the upstream says of its failure is for its operators, not for clients.
io::Task<void> RequestWay::hide_error(const http::ResponseHead& head) {
  // A body that is here whole is taken in, so that the connection can be used again.
  static_cast<void>(upstream_->buffered_body());
  co_await release_upstream();
  make_refusal(head.status, {});
  const std::string_view retry_after = head.fields.value(FieldId::kRetryAfter);
  if (!retry_after.empty()) t_.reply.fields.add("Retry-After", retry_after, FieldId::kRetryAfter);
  co_await send_own();
}

/// A redirect to where the upstream knows itself leads to where the client finds it.
void RequestWay::rewrite_location(http::ResponseHead& head) {
  const std::string_view location = head.fields.value(FieldId::kLocation);
  if (location.empty()) return;
  const std::string& own = t_.route->upstream->host;
  t_.location = rewritten_location(*t_.route, location, own.empty() ? t_.reading.authority : own);
  if (t_.location.empty()) return;
  head.fields.drop(FieldId::kLocation);
  head.fields.add("Location", t_.location, FieldId::kLocation);
}

io::Task<void> RequestWay::relay_response(http::ResponseHead& head) {
  const Route& route = *t_.route;
  http::drop_hop_by_hop(head.fields);
  if (head.status == 101 || (client_.request().only_websocket && head.status < 300)) {
    co_await relay_tunnel(head);
    co_return;
  }
  if (head.status >= 500 && !route.upstream_error_bodies) {
    co_await hide_error(head);
    co_return;
  }
  if (head.status >= 500) worker_.count_waiver(*t_.plan->running, route.waivers.error_bodies);
  rewrite_location(head);
  if (worker_.ends(door_) || connection_.outdated) client_.close_after();
  t_.outcome.status = head.status;
  dress_response(head);
  const bool trailers = client_.request().te_trailers || t_.grpc.active;
  Result<BodyPart> first = upstream_->buffered_body();
  if (!first) {
    // The response broke before any of it went out: it can still be told.
    upstream_counters().failures.add();
    co_await release_upstream();
    co_await refuse(upstream_refusal(upstream_failure(first.error()), route));
    co_return;
  }
  std::vector<http::Field> kept;
  if (t_.grpc.active) note_grpc_response(head.fields, *first);
  if (!trailers) first->trailers = {};
  dress_trailers(first->trailers, route, kept);
  if (first->last) co_await release_upstream();
  // A call may have to end with a status of the gateway's before its declared length.
  if (t_.grpc.active && !first->last && head.framing == http::Framing::kLength)
    head.framing = http::Framing::kChunked;
  Result<void> relayed = co_await client_.send_head(head, *first);
  if (relayed && first->last) co_return;
  // The head goes out at once; what came with it may wait for the client's windows until the call's
  // time is over.
  const bool expired =
      !relayed && t_.grpc.expired(worker_.loop().now()) && relayed.error().code == code::kTimedOut;
  const bool begun = relayed.has_value() || expired;
  if (relayed) relayed = co_await relay_body();
  if (expired) relayed = std::unexpected(kCallExpired);
  if (!relayed) co_await end_relay(relayed.error(), begun);
}

/// Follows a response that did not go out whole. `begun`: its head did.
io::Task<void> RequestWay::end_relay(Error failure, bool begun) {
  if (!begun && failure.code == code::kHeadTooLarge) {
    co_await release_upstream();
    failure.code = code::kUpstreamBadResponse;
    failure.blame = Blame::kUpstream;
    co_await refuse(upstream_refusal(failure, *t_.route));
    co_return;
  }
  // A client that has gone is no failure; one that was cut off for what it did not take is told of.
  if (!begun && !is_cut_off(failure) && !over()) co_return;
  co_await release_upstream();
  if (gone_ && !is_cut_off(failure)) {
    note_gone();
    co_return;
  }
  if (body_failed()) failure = pumped_;
  if (over()) failure = kCutAtEnd;
  // A call's deadline that passes within the answer says nothing of the upstream.
  const bool expired =
      failure.code == code::kUpstreamTimeout && t_.grpc.expired(worker_.loop().now());
  if (failure.blame == Blame::kUpstream && !expired) upstream_counters().failures.add();
  worker_.counters().refusals.count(failure.code);
  t_.outcome.refusal =
      telemetry::RefusalRecord{.step = "forward", .rule = rule_name(failure.code), .line = {}};
  if (begun && t_.grpc.active) co_await end_call(failure);
}

io::Task<Result<void>> RequestWay::relay_body() {
  const bool trailers = client_.request().te_trailers || t_.grpc.active;
  const milliseconds idle = t_.route->upstream->idle_timeout;
  // A fast pair of peers would keep the loop for ever: after so many bytes the others have a turn.
  constexpr std::uint64_t kBytesPerTurn = 512 * 1024;
  std::uint64_t turn = 0;
  std::vector<http::Field> kept;
  for (;;) {
    if (body_failed()) co_return std::unexpected(pumped_);
    if (over()) co_return std::unexpected(kCutAtEnd);
    Result<BodyPart> part = co_await upstream_->read_body(t_.grpc.wait(worker_.loop().now(), idle));
    const Instant now = worker_.loop().now();
    if (!part) {
      // One side of a call may be quiet for as long as the other has something to say.
      const bool quiet = t_.grpc.active && part.error().code == code::kUpstreamTimeout;
      if (quiet && !t_.grpc.expired(now) && now - moved_ < idle) continue;
      co_return std::unexpected(upstream_failure(part.error()));
    }
    moved_ = now;
    // What a fast upstream always has at hand ends with the call's time, too.
    if (t_.grpc.expired(now) && !part->last) co_return std::unexpected(kCallExpired);
    if (t_.grpc.active) note_grpc_status(part->trailers);
    if (!trailers) part->trailers = {};
    dress_trailers(part->trailers, *t_.route, kept);
    if (part->last) co_await release_upstream();
    const Result<void> sent = co_await client_.send_body(*part);
    if (!sent)
      co_return std::unexpected(t_.grpc.expired(worker_.loop().now()) ? kCallExpired
                                                                      : sent.error());
    if (part->last) co_return Result<void>{};
    turn += part->data.size();
    if (turn >= kBytesPerTurn) {
      turn = 0;
      co_await worker_.loop().yield();
    }
  }
}

}  // namespace merlon::gateway
