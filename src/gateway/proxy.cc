#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "gateway/identity_fields.h"
#include "gateway/own_fields.h"
#include "gateway/request.h"
#include "http/ip_text.h"
#include "http/status.h"
#include "telemetry/traceparent.h"
#include "tls/tls_stream.h"

/// Step 12: the request goes to an upstream and its response comes back.
namespace merlon::gateway {

using http::BodyPart;
using http::FieldId;

namespace {

// The pseudonym in Via (RFC 9110 §7.6.3): no product, no host name.
std::string_view via_of(std::string_view protocol) noexcept {
  if (protocol == "HTTP/2.0") return "2.0 gateway";
  return protocol == "HTTP/1.0" ? "1.0 gateway" : "1.1 gateway";
}

Error upstream_failure(Error error) {
  if (error.blame != Blame::kUpstream) error.blame = Blame::kUpstream;
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

constexpr Error kBodyLate{.code = code::kBodyTooSlow,
                          .blame = Blame::kClient,
                          .what = "the body was not whole when the route's time was over"};

/// The gateway ended it for want of the client's reading.
bool is_cut_off(const Error& error) noexcept {
  return error.code == code::kH2WindowStalled || error.code == code::kTimedOut;
}

constexpr Error kCallExpired{.code = code::kUpstreamTimeout,
                             .blame = Blame::kUpstream,
                             .what = "the deadline of the call has passed"};

// No upstream is to blame for it.
constexpr Error kCutAtEnd{.code = code::kDraining,
                          .blame = Blame::kInternal,
                          .what = "the gateway ended before the response did"};

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
  refusal = upstream_refusal(upstream::kNoHealthyEndpoint, route);
  return false;
}

/// Changes the client's head into the upstream's: what belongs to the connection or only a gateway
/// may say goes out, then the gateway's own goes in, so that no client can take it away again.
void RequestWay::prepare_upstream_head(http::RequestHead& out, OwnFields& own) {
  const Route& route = *t_.route;
  http::Fields& fields = out.fields;
  http::drop_client_claims(fields);
  http::drop_hop_by_hop(fields);
  fields.drop(FieldId::kExpect);  // answered by the gateway itself
  const std::optional<std::uint32_t> hops = hops_left(out);
  fields.drop(FieldId::kMaxForwards);
  if (hops) {
    const auto text = fmt::format_to_n(own.max_forwards.data(), own.max_forwards.size(), "{}",
                                       *hops - 1);  // 0 was answered here
    fields.add("Max-Forwards", {own.max_forwards.data(), text.size}, FieldId::kMaxForwards);
  }
  fields.drop(FieldId::kVia);
  fields.drop(FieldId::kXRequestId);
  if (!route.forward_authorization) {
    fields.drop(FieldId::kAuthorization);
    fields.drop(FieldId::kDpop);
  }
  if (!route.credential_field.empty()) fields.drop(std::string_view(route.credential_field));
  if (t_.identity != nullptr && !route.identity_fields.empty())
    add_identity_fields(route, *t_.identity, t_.identity_text, fields);
  const auto parent = telemetry::parse_traceparent(fields.value(FieldId::kTraceparent));
  fields.drop(FieldId::kTraceparent);
  if (!parent) fields.drop(FieldId::kTracestate);
  const telemetry::TraceContext trace = parent ? telemetry::child_of(*parent, worker_.ids())
                                               : telemetry::new_trace(t_.id, worker_.ids(), false);
  own.traceparent = telemetry::format_traceparent(trace);

  const bool secure = connection_.secure() || t_.reading.client.scheme == http::Scheme::kHttps;
  const http::Scheme scheme = secure ? http::Scheme::kHttps : http::Scheme::kHttp;
  fields.add("X-Forwarded-For",
             http::write_forwarded_for(t_.reading.client, connection_.client, own.forwarded_for),
             FieldId::kXForwardedFor);
  fields.add("X-Forwarded-Proto", secure ? "https" : "http", FieldId::kXForwardedProto);
  if (!t_.reading.authority.empty())
    fields.add("X-Forwarded-Host", t_.reading.authority, FieldId::kXForwardedHost);
  const std::string_view forwarded =
      http::write_forwarded(t_.reading.client, t_.reading.authority, scheme, own.forwarded);
  if (!forwarded.empty()) fields.add("Forwarded", forwarded, FieldId::kForwarded);
  fields.add("Via", via_of(client_.protocol()), FieldId::kVia);
  if (route.forward_client_cert && connection_.tls != nullptr &&
      connection_.tls->client_certificate() != nullptr) {
    fields.add("Client-Cert", connection_.tls->client_certificate()->field, FieldId::kClientCert);
  }
  fields.add("X-Request-Id", t_.id.view(), FieldId::kXRequestId);
  fields.add("traceparent", own.traceparent.view(), FieldId::kTraceparent);
  prepare_handshake(out, own);
  out.target.path = upstream_path(route, t_.reading.path, t_.path);
}

/// What is left of it, for each attempt anew: waiting for a body or a place takes time.
void RequestWay::pass_deadline_on(http::RequestHead& out, OwnFields& own) const noexcept {
  if (!t_.grpc.deadline) return;
  own.grpc_timeout = http::GrpcTimeoutText(*t_.grpc.deadline - worker_.loop().clock().now());
  out.fields.drop(FieldId::kGrpcTimeout);
  out.fields.add("grpc-timeout", own.grpc_timeout.view(), FieldId::kGrpcTimeout);
}

io::Task<void> RequestWay::proxy() {
  const Route& route = *t_.route;
  upstream::Cluster& cluster = *t_.plan->clusters[route.upstream->index];
  telemetry::UpstreamCounters& counted =
      worker_.counters().upstreams.at(t_.plan->running->upstream_slots[route.upstream->index]);
  http::RequestHead& head = client_.request();
  const bool repeatable = http::is_idempotent(head.method);
  const bool expects = head.expect_continue;
  const Instant now = worker_.loop().now();
  t_.outcome.upstream = route.upstream->name;

  const bool held = route.content != nullptr && !t_.held.view().empty();
  Result<BodyPart> first =
      held ? BodyPart{.data = t_.held.view(), .last = true} : client_.buffered_body();
  if (t_.grpc.active) {
    t_.grpc.bounded = route.grpc_service;
    t_.grpc.messages.reset(route.body_bytes_max);
    if (route.upstream->protocol == Protocol::kHttp2)
      client_.expect_messages(route.upstream->idle_timeout,
                              t_.grpc.deadline.value_or(Instant::max()));
  }
  if (first) {
    const Result<void> fits = check_body_size(first->data);
    if (!fits) first = std::unexpected(fits.error());
  }
  if (t_.grpc.expired(now)) {
    co_await refuse(upstream_refusal(kCallExpired, route));
    co_return;
  }
  if (!first) {
    co_await refuse_body(first.error());
    co_return;
  }
  OwnFields own;
  prepare_upstream_head(head, own);
  if (expects && !first->last && first->data.empty()) {
    const Result<void> told = co_await client_.send_continue();
    if (!told) co_return;
  }
  // Waited for before an upstream is asked: a slow client holds no connection of it, and what is
  // whole may be sent once more.
  if (!first->last && !t_.grpc.active && client_.body_fits()) {
    first = co_await client_.gather_body(*first, now + route.timeout);
    if (!first && gone_) {
      note_gone();
      co_return;
    }
    if (!first) {
      co_await refuse_body(first.error());
      co_return;
    }
  }
  // Counts from here, so that an upstream has all of it however long the client took.
  const Instant deadline =
      std::min(worker_.loop().now() + route.timeout, t_.grpc.deadline.value_or(Instant::max()));

  for (unsigned attempt = 0;; ++attempt) {
    upstream::Lease lease;
    if (attempt == 0) lease = cluster.reuse();
    if (lease) {
      counted.reuses.add();
    } else {
      const Instant begun = worker_.loop().now();
      Result<upstream::Lease> opened = co_await open(cluster, deadline);
      if (!opened && gone_) {
        note_gone();
        co_return;
      }
      if (!opened) {
        if (opened.error().code == code::kResources)
          worker_.note_shed("file descriptors or local ports");
        Error failure = opened.error();
        if (t_.grpc.expired(worker_.loop().now())) failure = kCallExpired;
        if (worker_.over()) failure = kCutAtEnd;
        co_await refuse(upstream_refusal(failure, route));
        co_return;
      }
      lease = std::move(*opened);
      // Whoever waited for a place may have been handed a connection that came free.
      (lease.reused() && lease.h2() == nullptr ? counted.reuses : counted.connects).add();
      t_.outcome.upstream_connect =
          std::chrono::duration_cast<microseconds>(worker_.loop().now() - begun);
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
    const Result<void> done = co_await exchange(cluster, lease, *first, deadline);
    if (done) co_return;
    if (gone_) {
      note_gone();
      co_return;
    }
    if (done.error().blame == Blame::kUpstream) counted.failures.add();
    // A pooled connection may have been closed while it was idle: the request has not been answered
    // by anyone, so it may go out once more if it can be repeated and all of it is still here.
    const bool lost = attempt == 0 && reused && repeatable;
    const bool drains = done.error().code == code::kH2GoAway;
    const bool untouched =
        attempt < (drains ? kDrainingMax : kRefusedMax) && is_untouched(done.error());
    const bool again = (lost || untouched) && done.error().retryable && first->last;
    if (!again) {
      if (!reused && done.error().blame == Blame::kUpstream && !too_hasty(done.error(), asked))
        cluster.note_failure(endpoint, done.error());
      if (client_.head_sent()) co_return;
      if (done.error().blame == Blame::kUpstream || done.error().code == code::kDraining) {
        co_await refuse(upstream_refusal(done.error(), route));
      } else {
        co_await refuse_body(done.error());
      }
      co_return;
    }
    counted.retries.add();
  }
}

/// A connection that has to be made or waited for. Counts the attempts that fail.
io::Task<Result<upstream::Lease>> RequestWay::open(upstream::Cluster& cluster, Instant deadline) {
  if (gone_) co_return fail(code::kCancelled, Blame::kInternal, "the client has gone");
  telemetry::UpstreamCounters& counted =
      worker_.counters().upstreams.at(t_.plan->running->upstream_slots[t_.route->upstream->index]);
  upstream::Search search(deadline, t_.grpc.deadline == deadline);
  search_ = &search;
  Result<upstream::Lease> opened = co_await cluster.open(search);
  search_ = nullptr;
  const std::uint32_t failed = search.failures();
  if (failed > 0) {
    t_.outcome.endpoint = search.failed_endpoint();
    t_.outcome.upstream_attempts += failed;
    counted.retries.add(opened ? failed : failed - 1);
  }
  const bool in_vain = !opened && !gone_;
  counted.failures.add(in_vain ? std::max(failed, 1U) : failed);
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
  const std::uint16_t why = worker_.over() ? code::kDraining : code::kClosed;
  t_.outcome.refusal =
      telemetry::RefusalRecord{.step = "forward", .rule = rule_name(why), .line = {}};
}

/// Sends the request while the response is awaited: an upstream may answer before it has all.
io::Task<void> RequestWay::pump_request() {
  const milliseconds idle = t_.route->upstream->idle_timeout;
  while (!stop_pump_) {
    const Instant asked = worker_.loop().now();
    const bool owed = std::exchange(client_owes_, true);
    const Result<BodyPart> part = co_await client_.read_body(Instant::max());
    if (worker_.loop().now() == asked) client_owes_ = owed;
    if (!part) {
      // A client may be quiet for as long as the upstream has something to say to it.
      const bool quiet = t_.grpc.active && part.error().code == code::kBodyTooSlow;
      if (quiet && worker_.loop().now() - moved_ < idle) continue;
      pumped_ = part.error();
      break;
    }
    moved_ = worker_.loop().now();
    const Result<void> fits = check_body_size(part->data);
    if (!fits) {
      pumped_ = fits.error();
      break;
    }
    BodyPart onward = *part;
    onward.trailers = {};  // a client's trailers are for the gateway, which has no use for them
    const Instant given = worker_.loop().now();
    const bool owes = std::exchange(client_owes_, false);
    const Result<void> sent = co_await upstream_->send_body(onward);
    if (worker_.loop().now() == given) client_owes_ = owes;
    if (!sent) {
      // The upstream does not want more; what it answers is told by the reader.
      break;
    }
    if (part->last) co_return;
    co_await worker_.loop().yield();
  }
  // The upstream cannot be left waiting for a body that will not come.
  if (pumped_.code != 0 && upstream_ != nullptr) upstream_->cancel_read();
}

/// The same, where the upstream takes its time for what goes out with the head. What becomes of
/// that the reader of the response is told.
io::Task<void> RequestWay::pump_opened(io::Task<Result<void>> opened, bool last) {
  client_owes_ = false;
  const Result<void> sent = co_await opened;
  if (sent && !last) co_await pump_request();
}

/// Follows a wait that ended in a timeout while the request's body was on its way: the upstream
/// need not have answered, so its time begins anew. A stream of messages may go on for as long as
/// it is not quiet.
io::Task<Result<http::ResponseHead*>> RequestWay::await_head_longer(const io::Fork& pump,
                                                                    Instant deadline) {
  const Upstream& upstream = *t_.route->upstream;
  const bool messages = t_.grpc.active && upstream.protocol == Protocol::kHttp2;
  if (messages) deadline = t_.grpc.deadline.value_or(Instant::max());
  for (;;) {
    const bool streaming = !pump.done();
    const Instant next = std::min(deadline, worker_.loop().now() + upstream.response_timeout);
    Result<http::ResponseHead*> head = co_await upstream_->read_head(next);
    const bool again = !head && streaming && head.error().code == code::kUpstreamTimeout;
    const Instant now = worker_.loop().now();
    const bool quiet = messages && now - moved_ >= upstream.idle_timeout;
    if (!again || now >= deadline || quiet) co_return head;
  }
}

/// What is left of the request's body is of no use any more.
io::Task<void> RequestWay::stop_pump() {
  if (!pump_->done()) {
    stop_pump_ = true;
    if (client_.body_unread()) {
      client_.close_after();
      client_.cancel_body();
    }
    upstream_->cancel_send();
  }
  co_await pump_->join();
  pump_ = nullptr;
}

/// Begins an exchange on what was lent.
http::ClientExchange& RequestWay::attach(upstream::Lease& lease, const Upstream& upstream) {
  lease_ = &lease;
  t_.outcome.endpoint = lease.endpoint_text();
  if (http::H2Client* const h2 = lease.h2(); h2 != nullptr) {
    if (t_.h2_client == nullptr)
      t_.h2_client = std::make_unique<http::H2ClientStream>(worker_.loop());
    t_.h2_client->attach(*h2, upstream.idle_timeout);
    upstream_ = t_.h2_client.get();
  } else {
    if (t_.h1_client == nullptr) t_.h1_client = std::make_unique_for_overwrite<http::H1Client>();
    t_.h1_client->attach(lease.stream());
    upstream_ = t_.h1_client.get();
  }
  return *upstream_;
}

/// Ends it, if that was not done before. What came of the response stays where it is.
void RequestWay::detach(bool good) noexcept {
  if (upstream_ == nullptr) return;
  const bool keep = good && upstream_->reusable();
  if (lease_->h2() != nullptr) t_.h2_client->detach();
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

io::Task<Result<void>> RequestWay::exchange(upstream::Cluster& cluster, upstream::Lease& lease,
                                            BodyPart first, Instant deadline) {
  const Upstream& upstream = *t_.route->upstream;
  http::ClientExchange& client = attach(lease, upstream);
  const std::string_view host =
      upstream.host.empty() ? t_.reading.authority : std::string_view(upstream.host);
  const Instant sent_at = worker_.loop().now();
  BodyPart opening = first;
  opening.trailers = {};
  io::Task<Result<void>> opened = client.send_head(client_.request(), host, opening, deadline);
  const Result<void>* const sent = opened.result();
  Error failure{};
  bool failed = sent != nullptr && !*sent;
  if (failed) {
    failure = upstream_failure(sent->error());
    failure.retryable = true;
    if (failure.code == code::kTimedOut) {
      failure.code = code::kUpstreamTimeout;
    } else if (!is_untouched(failure) && failure.code != code::kUpstreamTimeout) {
      failure.code = code::kUpstreamReset;
    }
  }
  if (!failed) {
    pumped_ = {};
    moved_ = sent_at;
    stop_pump_ = false;
    client_owes_ = true;
    Instant until = std::min(deadline, worker_.loop().now() + upstream.response_timeout);
    // A client that said how long it waits is taken at its word, while the stream is not idle for
    // too long: what a call does before its first message is the service's affair.
    if (t_.grpc.deadline && upstream.protocol == Protocol::kHttp2)
      until = std::min(*t_.grpc.deadline, worker_.loop().now() + std::max(upstream.response_timeout,
                                                                          upstream.idle_timeout));
    std::optional<io::Fork> pump;
    if (sent == nullptr) {
      pump_ = &pump.emplace(pump_opened(std::move(opened), first.last));
    } else if (!first.last) {
      pump_ = &pump.emplace(pump_request());
    }
    const bool streaming = pump && !pump->done();
    Result<http::ResponseHead*> head = std::unexpected(pumped_);
    // A body that went wrong at once found nobody waiting whom it could tell.
    if (pumped_.code == 0) head = co_await client.read_head(until);
    if (!head && streaming && head.error().code == code::kUpstreamTimeout &&
        worker_.loop().now() < deadline)
      head = co_await await_head_longer(*pump, deadline);
    if (head) {
      t_.outcome.upstream_first_byte =
          std::chrono::duration_cast<microseconds>(worker_.loop().now() - sent_at);
      worker_.counters().upstream_time.observe(t_.outcome.upstream_first_byte);
      if (t_.route->has_waivers) count_upstream_waivers(lease);
      co_await relay_response(cluster, **head);
    } else {
      failed = true;
      failure = upstream_failure(head.error());
      failure.retryable = !client.response_started() &&
                          (failure.code == code::kUpstreamReset || is_untouched(failure));
      // An upstream need not answer what it has not got: the client took all of the time.
      const bool waits_for_client = pump && !pump->done() && client_owes_ && !t_.grpc.active;
      if (failure.code == code::kUpstreamTimeout && waits_for_client) failure = kBodyLate;
    }
    if (pump_ != nullptr) co_await stop_pump();
    if (failed && pumped_.code != 0 && pumped_.code != code::kCancelled) failure = pumped_;
  }
  detach(!failed);
  if (failed && worker_.over()) failure = kCutAtEnd;
  if (failed) co_return std::unexpected(failure);
  co_return Result<void>{};
}

io::Task<void> RequestWay::relay_response(upstream::Cluster& cluster, http::ResponseHead& head) {
  const Route& route = *t_.route;
  http::drop_hop_by_hop(head.fields);
  if (head.status == 101 || (client_.request().only_websocket && head.status < 300)) {
    co_await relay_tunnel(head);
    co_return;
  }
  if (head.status >= 500 && !route.upstream_error_bodies) {
    // What the upstream says of its failure is for its operators, not for clients.
    // A body that is here whole is taken in, so that the connection can be used again.
    static_cast<void>(upstream_->buffered_body());
    co_await release_upstream();
    make_refusal(head.status, {});
    const std::string_view retry_after = head.fields.value(FieldId::kRetryAfter);
    if (!retry_after.empty()) t_.reply.fields.add("Retry-After", retry_after, FieldId::kRetryAfter);
    co_await send_own();
    co_return;
  }
  if (head.status >= 500) worker_.count_waiver(*t_.plan->running, route.waivers.error_bodies);
  const std::string_view location = head.fields.value(FieldId::kLocation);
  if (!location.empty()) {
    const std::string_view host = route.upstream->host.empty()
                                      ? t_.reading.authority
                                      : std::string_view(route.upstream->host);
    t_.location = rewritten_location(route, location, host);
    if (!t_.location.empty()) {
      head.fields.drop(FieldId::kLocation);
      head.fields.add("Location", t_.location, FieldId::kLocation);
    }
  }
  if (worker_.ends(door_) || connection_.outdated) client_.close_after();
  t_.outcome.status = head.status;
  dress_response(head);
  const bool trailers = client_.request().te_trailers || t_.grpc.active;
  Result<BodyPart> first = upstream_->buffered_body();
  if (!first) {
    // The response broke before any of it went out: it can still be told.
    co_await release_upstream();
    co_await refuse(upstream_refusal(upstream_failure(first.error()), route));
    co_return;
  }
  if (!trailers) first->trailers = {};
  if (t_.grpc.active) note_grpc_response(head.fields, *first);
  if (first->last) co_await release_upstream();
  Result<void> relayed = co_await client_.send_head(head, *first);
  const bool begun = relayed.has_value();
  if (begun && first->last) co_return;
  if (begun) relayed = co_await relay_body(cluster);
  // A client that has gone is no failure; one that was cut off for what it did not take is told of.
  if (relayed || (!begun && !is_cut_off(relayed.error()))) co_return;
  co_await release_upstream();
  if (worker_.over()) relayed = std::unexpected(kCutAtEnd);
  worker_.counters().refusals.count(relayed.error().code);
  t_.outcome.refusal = telemetry::RefusalRecord{
      .step = "forward", .rule = rule_name(relayed.error().code), .line = {}};
  if (begun && t_.grpc.active) co_await end_call(relayed.error());
}

io::Task<Result<void>> RequestWay::relay_body(const upstream::Cluster& cluster) {
  const bool trailers = client_.request().te_trailers || t_.grpc.active;
  const milliseconds idle = cluster.upstream().idle_timeout;
  // A fast pair of peers would keep the loop for ever: after so many bytes the others have a turn.
  constexpr std::uint64_t kBytesPerTurn = 512 * 1024;
  std::uint64_t turn = 0;
  for (;;) {
    Result<BodyPart> part = co_await upstream_->read_body(t_.grpc.wait(worker_.loop().now(), idle));
    const Instant now = worker_.loop().now();
    if (!part) {
      // One side of a call may be quiet for as long as the other has something to say.
      const bool quiet = t_.grpc.active && part.error().code == code::kUpstreamTimeout;
      if (quiet && !t_.grpc.expired(now) && now - moved_ < idle) continue;
      co_return std::unexpected(part.error());
    }
    moved_ = now;
    // What a fast upstream always has at hand ends with the call's time, too.
    if (t_.grpc.expired(now) && !part->last) co_return std::unexpected(kCallExpired);
    if (!trailers) part->trailers = {};
    if (t_.grpc.active) note_grpc_status(part->trailers);
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
