#include "gateway/connection.h"

#include <fmt/format.h>

#include <cstring>

#include "http/ip_text.h"
#include "http/proxy_protocol.h"
#include "http/status.h"

namespace merlon::gateway {
namespace {

using telemetry::num;
using telemetry::str;

// How much of an unread body is taken in after a refusal, and for how long, so that the answer is
// not lost to a reset (RFC 9112 §9.6).
constexpr std::size_t kLingerBytesMax = 256 * 1024;
constexpr milliseconds kLingerTime{1'000};

constexpr std::string_view kShedAnswer =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: "
    "close\r\n"
    "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
    "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nReferrer-Policy: "
    "no-referrer\r\n\r\n";

bool is_health_path(std::string_view path) noexcept {
  return path == "/healthz" || path == "/readyz";
}

}  // namespace

ClientConnection::ClientConnection(Worker& worker, std::size_t door, io::Fd fd,
                                   const Endpoint& peer, const IpAddress& counted)
    : worker_(worker),
      peer_(peer),
      client_(peer.address),
      counted_(counted),
      door_(static_cast<std::uint32_t>(door)) {
  const Listener& at = worker.plan().listener(door);
  if (at.tls != nullptr) {
    auto stream = std::make_unique<tls::TlsStream>(worker.loop(), std::move(fd), at.tls);
    tls_ = stream.get();
    stream_ = std::move(stream);
  } else {
    stream_ = std::make_unique<io::SocketStream>(worker.loop(), std::move(fd));
  }
  next_ = worker.connections_;
  if (next_ != nullptr) next_->previous_ = this;
  worker.connections_ = this;
  worker.open_.fetch_add(1, std::memory_order_relaxed);
}

ClientConnection::~ClientConnection() {
  (previous_ == nullptr ? worker_.connections_ : previous_->next_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  if (!counted_.is_unspecified()) worker_.shared().clients.leave(counted_);
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  worker_.counters().connections_active.down();
  worker_.open_.fetch_sub(1, std::memory_order_release);
}

io::Task<void> ClientConnection::run() {
  if (!stream_->attached()) co_return;
  const bool opened = co_await open();
  if (!opened) co_return;
  while (!worker_.draining()) {
    stream_->release_idle_memory();
    idle_ = true;
    const Result<void> readable =
        co_await stream_->wait_readable(worker_.loop().now() + worker_.plan().plan().timeouts.idle);
    idle_ = false;
    if (!readable || aborted_ || !worker_.plan().has_door(door_)) break;
    std::unique_ptr<Transaction> transaction = worker_.take_transaction();
    if (transaction == nullptr) {
      worker_.counters().refusals.count(code::kOverloaded);
      const iovec answer{const_cast<char*>(kShedAnswer.data()), kShedAnswer.size()};
      static_cast<void>(stream_->try_write({&answer, 1}));
      break;
    }
    transaction->server.attach(*stream_);
    const bool again = co_await serve_requests(*transaction);
    worker_.give_back(std::move(transaction));
    if (!again) break;
  }
}

/// Step 0: who is behind the peer, and TLS.
io::Task<bool> ClientConnection::open() {
  const Plan& plan = worker_.plan().plan();
  const Listener& at = worker_.plan().listener(door_);
  const Instant deadline = worker_.loop().now() + plan.timeouts.handshake;
  if (at.proxy_protocol && contains_any(plan.trusted_proxies, peer_.address)) {
    const Result<void> header = co_await read_proxy_header(deadline);
    if (!header) {
      worker_.counters().refusals.count(header.error().code);
      worker_.shared().events.warning(
          "connection_refused",
          {str("reason", rule_name(header.error().code)), str("peer", peer_.to_string())});
      co_return false;
    }
  } else if (at.proxy_protocol) {
    worker_.counters().refusals.count(code::kBadProxyHeader);
    worker_.shared().events.warning(
        "connection_refused", {str("reason", "proxy protocol from a peer that is not trusted"),
                               str("peer", peer_.to_string())});
    co_return false;
  }
  if (tls_ == nullptr) co_return true;
  const Result<void> secured = co_await tls_->handshake(deadline);
  if (!secured) {
    log_handshake_failure(secured.error());
    co_return false;
  }
  worker_.counters().handshakes.add();
  if (tls_->resumed()) worker_.counters().handshakes_resumed.add();
  co_return true;
}

io::Task<Result<void>> ClientConnection::read_proxy_header(Instant deadline) {
  // A header is at most 16 bytes and 2 KiB; it is read whole before anything else.
  std::string data;
  data.resize(http::kProxyV2PayloadBytesMax + 16);
  std::size_t size = 0;
  for (;;) {
    const std::span<char> room(data.data() + size, data.size() - size);
    Result<std::size_t> n = std::size_t{0};
    if (tls_ != nullptr) {
      n = co_await tls_->read_before_tls(room, deadline);
    } else {
      n = co_await stream_->read(room.first(1),
                                 deadline);  // not beyond the header: what follows is HTTP
    }
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0) co_return fail(code::kBadProxyHeader, Blame::kClient, "closed inside the header");
    size += *n;
    const Result<http::ProxyHeader> header = http::parse_proxy_header({data.data(), size});
    if (!header) co_return std::unexpected(header.error());
    if (header->size_bytes == 0) {
      if (size == data.size())
        co_return fail(code::kBadProxyHeader, Blame::kClient, "the header is too long");
      continue;
    }
    if (header->source) client_ = header->source->address;
    if (tls_ != nullptr)
      tls_->unread({data.data() + header->size_bytes, size - header->size_bytes});
    co_return Result<void>{};
  }
}

void ClientConnection::log_handshake_failure(const Error& error) {
  const tls::HandshakeFailure failure = tls_->failure();
  worker_.counters().handshake_failures.count(error.code);
  std::string versions;
  std::string suites;
  std::string_view name;
  if (failure.offer != nullptr) {
    for (std::size_t i = 0; i < failure.offer->version_count; ++i)
      fmt::format_to(std::back_inserter(versions), "{}{:04x}", i == 0 ? "" : ",",
                     failure.offer->versions[i]);
    for (std::size_t i = 0; i < failure.offer->suite_count; ++i)
      fmt::format_to(std::back_inserter(suites), "{}{:04x}", i == 0 ? "" : ",",
                     failure.offer->suites[i]);
    name = failure.offer->server_name;
  }
  worker_.shared().events.warning(
      "tls_handshake_failed",
      {str("rule", rule_name(error.code)), str("reason", failure.reason),
       str("peer", peer_.to_string()), str("server_name", name), str("versions", versions),
       str("suites", suites), num("alert", failure.alert)});
}

/// Serves requests while their bytes are at hand. False: the connection is done.
io::Task<bool> ClientConnection::serve_requests(Transaction& t) {
  std::uint64_t in_a_row = 0;
  for (;;) {
    const bool again = co_await serve_one(t);
    if (!again) co_return false;
    if (!t.server.buffered()) co_return true;
    // A pipeline gives way to the other connections now and then.
    if (++in_a_row % 16 == 0) co_await worker_.loop().yield();
  }
}

io::Task<bool> ClientConnection::serve_one(Transaction& t) {
  t.plan = PlanPin(worker_.plan());
  const Timeouts& timeouts = t.plan->plan().timeouts;
  Result<bool> head = co_await t.server.next_head(worker_.loop().now() + timeouts.head);
  if (!head) {
    co_await answer_broken_head(t, head.error());
    co_return false;
  }
  if (!*head) co_return false;
  begin_record(t);
  co_await handle(t);
  finish_record(t);
  if (aborted_ || worker_.draining()) co_return false;
  if (t.server.finish()) co_return true;
  if (t.server.response_broken()) {
    // Cut short: nothing may make it look complete, a TLS close_notify least of all.
    stream_->reset_on_close();
  } else {
    co_await linger();
  }
  co_return false;
}

io::Task<void> ClientConnection::answer_broken_head(Transaction& t, Error error) {
  const bool silent = error.code == code::kTimedOut || error.code == code::kCancelled ||
                      error.code == code::kReset || error.code == code::kClosed ||
                      error.code == code::kIo || error.code == code::kTlsTruncated ||
                      error.code == code::kBrokenPipe;
  if (silent) co_return;
  begin_record(t);
  t.server.close_after();
  co_await refuse(t, framing_refusal(error));
  finish_record(t);
  co_await linger();
}

void ClientConnection::begin_record(Transaction& t) {
  t.started = worker_.loop().now();
  t.id = worker_.ids().next();
  t.reading = Reading{};
  t.record = telemetry::AccessRecord{};
}

bool ClientConnection::judge(Transaction& t, Refusal& refusal) {
  const http::RequestHead& head = t.server.request();
  const Plan& plan = t.plan->plan();
  const Listener& at = t.plan->listener(door_);
  const ConnectionFacts facts{
      .peer = client_, .secure = tls_ != nullptr, .listener_port = at.address.port};
  const Result<void> read = read_request(head, facts, plan, t.scratch, t.reading);
  if (!read) {
    refusal = framing_refusal(read.error());
    refusal.step = "reading";
    // Whoever sends what can be read two ways is not asked again.
    t.server.close_after();
    return false;
  }
  if (tls_ != nullptr && !tls_->covers(t.reading.host.name)) {
    refusal = {.status = 421,
               .error = {.code = code::kMisdirected,
                         .blame = Blame::kClient,
                         .what = "the certificate does not cover this host"},
               .step = "reading",
               .line = &at.at,
               .allow = {}};
    return false;
  }
  // Only what serves_status answers: any other method goes to the routes, and may find none.
  const bool reads = head.method == http::Method::kGet || head.method == http::Method::kHead;
  const bool status_page = reads && ((at.serve.health && is_health_path(t.reading.path)) ||
                                     (at.serve.metrics && t.reading.path == "/metrics"));
  if (at.redirect_to_port || !at.serve.api || status_page) return true;
  return route_request(head, plan, t.reading, refusal);
}

io::Task<void> ClientConnection::handle(Transaction& t) {
  const Listener& at = t.plan->listener(door_);
  Refusal refusal;
  if (!judge(t, refusal)) {
    co_await refuse(t, refusal);
  } else if (at.redirect_to_port) {
    co_await redirect(t, *at.redirect_to_port);
  } else if (serves_status(t, at)) {
    co_await send_own(t);
  } else if (!at.serve.api) {
    co_await refuse(t, {.status = 404,
                        .error = {.code = code::kNoRoute,
                                  .blame = Blame::kClient,
                                  .what = "this listener serves no routes"},
                        .step = "route",
                        .line = &at.at,
                        .allow = {}});
  } else if (t.reading.route->upstream == nullptr) {
    co_await respond(t);
  } else {
    co_await proxy(t);
  }
}

/// Fills the reply with a status page when this listener has one at this path.
bool ClientConnection::serves_status(Transaction& t, const Listener& at) {
  const http::Method method = t.server.request().method;
  if (method != http::Method::kGet && method != http::Method::kHead) return false;
  const bool health = at.serve.health && is_health_path(t.reading.path);
  const bool metrics = at.serve.metrics && t.reading.path == "/metrics";
  if (!health && !metrics) return false;
  StatusPage page = worker_.shared().status_page(t.reading.path);
  t.reply.status = page.status;
  t.reply.fields.clear();
  t.reply.fields.add("Content-Type", page.content_type, http::FieldId::kContentType);
  t.body = std::move(page.body);
  t.reply.framing = http::Framing::kLength;
  t.reply.content_length = t.body.size();
  t.reply.has_content_length = true;
  return true;
}

io::Task<void> ClientConnection::refuse(Transaction& t, Refusal refusal) {
  worker_.counters().refusals.count(refusal.error.code);
  t.record.refusal = {.step = refusal.step, .rule = rule_name(refusal.error.code), .line = {}};
  std::string line;
  if (refusal.line != nullptr) line = refusal.line->file_line();
  t.location = std::move(line);  // kept until the record is written
  t.record.refusal.line = t.location;
  make_problem(t.reply, t.body, refusal.status, t.id.view());
  if (refusal.status == 405) t.reply.fields.add("Allow", refusal.allow, http::FieldId::kAllow);
  if (refusal.status == 503) t.reply.fields.add("Retry-After", "1", http::FieldId::kRetryAfter);
  co_await send_own(t);
}

io::Task<void> ClientConnection::respond(Transaction& t) {
  const Respond& fixed = *t.reading.route->respond;
  t.reply.status = fixed.status;
  t.reply.fields.clear();
  if (!fixed.content_type.empty())
    t.reply.fields.add("Content-Type", fixed.content_type, http::FieldId::kContentType);
  t.body = fixed.body;
  t.reply.framing = http::Framing::kLength;
  t.reply.content_length = t.body.size();
  t.reply.has_content_length = true;
  co_await send_own(t);
}

/// Port 80: to https for requests that gave away nothing yet; others have to learn of it.
io::Task<void> ClientConnection::redirect(Transaction& t, std::uint16_t port) {
  const http::RequestHead& head = t.server.request();
  const bool harmless = (head.method == http::Method::kGet || head.method == http::Method::kHead) &&
                        !head.fields.contains(http::FieldId::kAuthorization) &&
                        !head.fields.contains(http::FieldId::kCookie) &&
                        !t.reading.host.name.empty();
  if (!harmless) {
    worker_.shared().events.warning(
        "cleartext_refused",
        {str("client", t.reading.client.address.to_string()), str("method", head.method_text)});
    const Listener& at = t.plan->listener(door_);
    co_await refuse(t, {.status = 403,
                        .error = {.code = code::kCleartextRefused,
                                  .blame = Blame::kClient,
                                  .what = "only https is served"},
                        .step = "connection",
                        .line = &at.at,
                        .allow = {}});
    co_return;
  }
  const bool v6 = t.reading.host.address && t.reading.host.address->is_v6();
  t.location = fmt::format("https://{}{}{}{}{}{}{}", v6 ? "[" : "", t.reading.host.name,
                           v6 ? "]" : "", port == 443 ? "" : fmt::format(":{}", port),
                           t.reading.path, t.reading.has_query ? "?" : "", t.reading.query);
  t.reply.status = 308;
  t.reply.fields.clear();
  t.reply.fields.add("Location", t.location, http::FieldId::kLocation);
  t.body.clear();
  t.reply.framing = http::Framing::kLength;
  t.reply.content_length = 0;
  t.reply.has_content_length = true;
  co_await send_own(t);
}

/// Sends `reply` and `body` through the door. A request body that is not here by now is not waited
/// for: the connection ends after the answer.
io::Task<void> ClientConnection::send_own(Transaction& t) {
  if (t.server.body_unread()) {
    const Result<http::BodyPart> rest = t.server.buffered_body();
    if (!rest || !rest->last) t.server.close_after();
  }
  if (worker_.draining()) t.server.close_after();
  t.record.status = t.reply.status;
  dress(t.reply, {.route = t.reading.route,
                  .secure = tls_ != nullptr,
                  .request_id = t.id.view(),
                  .date = worker_.date()});
  const Result<void> sent = co_await t.server.send_head(t.reply, {.data = t.body, .last = true});
  if (!sent) t.server.close_after();
}

io::Task<void> ClientConnection::linger() {
  stream_->finish_writing();
  const Instant deadline = worker_.loop().now() + kLingerTime;
  std::string block(16 * 1024, '\0');
  for (std::size_t taken = 0; taken < kLingerBytesMax && !aborted_;) {
    const Result<std::size_t> n = co_await stream_->read(block, deadline);
    if (!n || *n == 0) break;
    taken += *n;
  }
}

void ClientConnection::finish_record(Transaction& t) {
  telemetry::WorkerCounters& counters = worker_.counters();
  const auto total =
      std::chrono::duration_cast<microseconds>(worker_.loop().clock().now() - t.started);
  const Route* route = t.reading.route;
  const std::uint32_t slot = route == nullptr ? 0 : t.plan->running->route_slots[route->index];
  counters.count_request(slot, t.record.status, total);
  counters.received_bytes.add(t.server.bytes_received());
  counters.sent_bytes.add(t.server.bytes_sent());
  if (worker_.log() == nullptr) return;

  const http::RequestHead& head = t.server.request();
  const bool known = !t.reading.path.empty();
  const http::IpText client(known ? t.reading.client.address : client_);
  char peer[64];
  const http::IpText peer_address(peer_.address);
  const bool v6 = peer_.address.is_v6();
  const auto peer_end = fmt::format_to_n(peer, sizeof peer, "{}{}{}:{}", v6 ? "[" : "",
                                         peer_address.view(), v6 ? "]" : "", peer_.port);
  telemetry::AccessRecord& r = t.record;
  r.time = worker_.loop().clock().wall_now();
  r.request_id = t.id.view();
  r.client = client.view();
  r.peer = {peer, peer_end.size};
  r.listener = t.plan->listener(door_).name;
  if (route != nullptr) r.route = route->name;
  r.protocol = head.minor_version == 0 ? "HTTP/1.0" : "HTTP/1.1";
  if (known) {
    r.method = head.method_text;
    r.host = t.reading.host.name;
    r.path = t.reading.path;
  }
  r.request_body_bytes = t.server.bytes_received();
  r.response_body_bytes = t.server.bytes_sent();
  r.total = total;
  if (tls_ != nullptr) {
    r.tls_version = tls_->version();
    r.tls_cipher = tls_->cipher();
    r.tls_server_name = tls_->server_name();
    r.tls_resumed = tls_->resumed();
  }
  worker_.log()->write(r);
}

}  // namespace merlon::gateway
