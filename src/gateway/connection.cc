#include "gateway/connection.h"

#include <fmt/format.h>

#include "gateway/http2_requests.h"
#include "gateway/request.h"
#include "gateway/shed.h"
#include "http/h1_write_out.h"
#include "http/proxy_protocol.h"

namespace merlon::gateway {
namespace {

using telemetry::num;
using telemetry::str;

// How much of an unread body is taken in after a refusal, and for how long, so that the answer is
// not lost to a reset (RFC 9112 §9.6).
constexpr std::size_t kLingerBytesMax = 256 * 1024;
constexpr milliseconds kLingerTime{1'000};

// What comes on a connection of HTTP/2 begins about so many requests, where many are under way.
constexpr std::uint8_t kStreamsTogether = 8;

constexpr std::string_view kHttp2PrefaceLine = "PRI * HTTP/2.0\r\n";

/// Failures of reading a head that nobody waits to hear of. Those of TLS are among them: whoever
/// speaks it wrongly understands no answer.
bool is_silent(std::uint16_t code) noexcept {
  return code == code::kTimedOut || code == code::kCancelled || code == code::kReset ||
         code == code::kClosed || code == code::kIo || is_tls_error(code) ||
         code == code::kBrokenPipe;
}

}  // namespace

ClientConnection::ClientConnection(Worker& worker, std::size_t door, io::Fd fd,
                                   const Endpoint& peer, const IpAddress& counted)
    : worker_(worker),
      facts_{.peer = peer, .client = peer.address},
      counted_(counted),
      door_(static_cast<std::uint32_t>(door)),
      proxied_(worker.plan().listener(door).proxy_protocol),
      only_watches_(worker.only_watches(door)),
      waited_for_(!only_watches_ || !worker.draining()) {
  const Listener& at = worker.plan().listener(door);
  if (at.tls != nullptr) {
    auto stream = std::make_unique<tls::TlsStream>(worker.loop(), std::move(fd), at.tls);
    tls_ = stream.get();
    facts_.tls = tls_;
    stream_ = std::move(stream);
  } else {
    stream_ = std::make_unique<io::SocketStream>(worker.loop(), std::move(fd));
  }
  next_ = worker.connections_;
  if (next_ != nullptr) next_->previous_ = this;
  worker.connections_ = this;
  if (waited_for_) worker.open_.fetch_add(1, std::memory_order_relaxed);
}

ClientConnection::~ClientConnection() {
  (previous_ == nullptr ? worker_.connections_ : previous_->next_) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
  if (!counted_.is_unspecified()) worker_.shared().clients.leave(counted_);
  worker_.shared().connections.fetch_sub(1, std::memory_order_relaxed);
  worker_.counters().connections_active.down();
  if (waited_for_) worker_.open_.fetch_sub(1, std::memory_order_release);
}

void ClientConnection::announce_end() noexcept {
  if (http2_ != nullptr) http2_->drain();
}

void ClientConnection::begin(Worker& worker, std::size_t door, io::Fd fd, const Endpoint& peer,
                             const IpAddress& counted) {
  auto* const made = new ClientConnection(worker, door, std::move(fd), peer, counted);
  if (!made->stream_->attached()) {
    delete made;
  } else if (made->tls_ == nullptr && !worker.plan().listener(door).proxy_protocol) {
    made->wait_for_request();
  } else {
    worker.tasks_.spawn(made->open_and_run());
  }
}

void ClientConnection::close_if_idle() noexcept {
  // A request that waits for its turn is served first, unless its listener has gone.
  if (!idle_ || stream_->has_event_waiting()) {
    announce_end();
  } else if (close_quietly()) {
    delete this;
  } else {
    idle_ = false;
    stream_->on_idle_event(nullptr, nullptr);
    worker_.tasks_.spawn(end());
  }
}

void ClientConnection::compare_with_plan() noexcept {
  if (facts_.outdated || !worker_.plan().has_door(door_)) return;
  const Listener& now = worker_.plan().listener(door_);
  const bool other_terms =
      now.tls != nullptr &&
      (tls_ == nullptr || !tls_->was_asked_as_by(*now.tls) || !tls_->is_permitted_by(*now.tls));
  // What a header of the PROXY protocol said counts while its sender is trusted.
  const auto& trusted = worker_.plan().plan().trusted_proxies;
  const bool disbelieved = proxied_ && !contains_any(trusted, facts_.peer.address);
  const bool stranger =
      !now.allow_from.empty() && !contains_any(now.allow_from, facts_.peer.address);
  facts_.outdated = other_terms || (now.proxy_protocol && !proxied_) || disbelieved || stranger;
}

void ClientConnection::for_each_way(const std::function<void(RequestWay&)>& f) const {
  if (way_ != nullptr) f(*way_);
  if (http2_ != nullptr) http2_->for_each_way(f);
}

void ClientConnection::abort() noexcept {
  if (idle_) {
    delete this;
    return;
  }
  aborted_ = true;
  if (http2_ != nullptr) return http2_->end();
  stream_->cancel();
  if (way_ != nullptr) way_->abort();
}

io::Task<void> ClientConnection::open_and_run() {
  const bool opened = co_await open();
  // A reload may have come during the handshake.
  compare_with_plan();
  if (!opened || facts_.outdated) {
    delete this;
  } else if (tls_ != nullptr && tls_->alpn() == "h2") {
    co_await serve_http2({});
    delete this;
  } else {
    co_await run();
  }
}

/// Serves what is at hand.
io::Task<void> ClientConnection::run() {
  bool again = worker_.plan().has_door(door_);
  while (again && stream_->readable()) {
    again = co_await serve_requests();
    again = again && worker_.plan().has_door(door_) && !facts_.outdated;
  }
  if (again) {
    wait_for_request();
    co_return;
  }
  if (!preface_.empty()) co_await serve_http2(std::move(preface_));
  co_await end();
}

/// The client may not have made room for the last of an answer.
io::Task<void> ClientConnection::end() {
  if (!aborted_ && !stream_->hand_over()) co_await linger();
  delete this;
}

void ClientConnection::wait_for_request() noexcept {
  stream_->release_idle_memory();
  idle_ = true;
  idle_until_ = worker_.idle_deadline();
  watch_idle();
}

void ClientConnection::watch_idle() noexcept {
  stream_->on_idle_event(
      [](void* self) noexcept { static_cast<ClientConnection*>(self)->on_idle_event(); }, this,
      idle_until_, only_watches_ ? 0 : 1);
}

void ClientConnection::on_idle_event() noexcept {
  if (stream_->readable()) {
    idle_ = false;
    stream_->on_idle_event(nullptr, nullptr);
    worker_.tasks_.spawn(run());
  } else if (worker_.loop().now() < idle_until_ || stream_->has_event_waiting()) {
    watch_idle();  // the timer was that of an earlier wait, or a request is here
  } else {
    static_cast<void>(close_quietly());
    delete this;
  }
}

/// Of an idle connection: closing it is then enough. A TLS client is told that this is its end (RFC
/// 8446 §6.1). False: the client has not taken all of the last answer.
bool ClientConnection::close_quietly() noexcept {
  return tls_ == nullptr ? stream_->hand_over() : tls_->finish_by_closing();
}

/// The answer goes out as far as the socket takes it: no more is done for such a client.
void ClientConnection::shed() {
  const std::unique_ptr<ShedAnswer> shed =
      shed_request(worker_, facts_, door_, "HTTP/1.1", nullptr, code::kOverloaded);
  http::HeadWriter out(http::head_scratch());
  out.status_line(shed->head.status);
  for (const http::Field& field : shed->head.fields) out.field(field.name, field.value);
  out.field("Content-Length", shed->body.size());
  out.field("Connection", "close");
  out.end();
  out.raw(shed->body);
  const iovec answer{const_cast<char*>(out.text().data()), out.size()};
  static_cast<void>(stream_->try_write({&answer, 1}));
}

/// `begun`: what was read of the connection already.
io::Task<void> ClientConnection::serve_http2(std::string begun) {
  const auto requests = std::make_unique<Http2Requests>(worker_, *stream_, facts_, door_);
  http2_ = requests.get();
  if (worker_.ends(door_)) requests->drain();
  if (!only_watches_) stream_->let_wait(kStreamsTogether);
  const Error error = co_await requests->run(begun);
  http2_ = nullptr;
  if (is_tls_error(requests->input_error())) {
    tell_tls_failure({.code = requests->input_error(),
                      .blame = Blame::kClient,
                      .what = "the connection's records cannot be read any further"});
  }
  if (error.code != 0) {
    worker_.counters().refusals.count(error.code);
    worker_.shared().events.warning(
        "http2_connection_ended",
        {str("rule", rule_name(error.code)), str("reason", error.what),
         str("peer", facts_.peer.to_string()), str("client", facts_.client.to_string())});
  }
  co_await linger();
}

/// Step 0: who is behind the peer, and TLS.
io::Task<bool> ClientConnection::open() {
  const PlanPin pin(worker_.plan());  // a reload may come while the peer is waited for
  const Plan& plan = pin->plan();
  const Listener& at = pin->listener(door_);
  const Instant begun = worker_.loop().now();
  const Instant deadline = begun + plan.timeouts.handshake;
  if (at.proxy_protocol && contains_any(plan.trusted_proxies, facts_.peer.address)) {
    const Result<void> header = co_await read_proxy_header(deadline);
    if (!header) {
      tell_refused(header.error(), at);
      co_return false;
    }
  } else if (at.proxy_protocol) {
    tell_refused({.code = code::kBadProxyHeader,
                  .blame = Blame::kClient,
                  .what = "proxy protocol from a peer that is not trusted"},
                 at);
    co_return false;
  }
  if (tls_ == nullptr) co_return true;
  const Result<void> secured = co_await tls_->handshake(deadline);
  if (!secured) {
    log_handshake_failure(secured.error());
    co_return false;
  }
  worker_.counters().handshakes.add();
  if (worker_.loop().now() - begun > kHandshakeTimeMax)
    worker_.count_waiver(*pin->running, plan.process_waivers.handshake_time);
  if (tls_->resumed()) worker_.counters().handshakes_resumed.add();
  co_return true;
}

/// Whom a proxy names is one client, wherever the proxy itself stands.
Result<void> ClientConnection::count_named_client() noexcept {
  const WorkerPlan& plan = worker_.plan();
  const auto& trusted = plan.plan().trusted_proxies;
  const bool counts = !facts_.unnamed && !only_watches_ && counted_.is_unspecified() &&
                      !contains_any(trusted, facts_.client);
  if (!counts) return {};
  const IpAddress key = facts_.client.client_key();
  if (!worker_.shared().clients.enter(key, plan.plan().limits.connections_per_client)) {
    worker_.counters().connections_refused.add();
    return fail(code::kTooManyConnections, Blame::kClient, "limits.connections_per_client");
  }
  counted_ = key;
  return {};
}

void ClientConnection::tell_refused(const Error& error, const Listener& at) {
  worker_.counters().refusals.count(error.code);
  worker_.shared().events.warning(
      "connection_refused",
      {str("rule", rule_name(error.code)), str("reason", error.what), str("listener", at.name),
       str("peer", facts_.peer.to_string()), str("client", facts_.client.to_string())});
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
    if (header->source) facts_.client = header->source->address;
    facts_.unnamed = !header->source;
    if (tls_ != nullptr) {
      if (header->destination) tls_->set_local(*header->destination);
      tls_->unread({data.data() + header->size_bytes, size - header->size_bytes});
    }
    co_return count_named_client();
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
       str("peer", facts_.peer.to_string()), str("client", facts_.client.to_string()),
       str("server_name", name), str("versions", versions), str("suites", suites),
       num("alert", failure.alert)});
}

/// Of an open connection. One that ends without close_notify is common, and harms nobody between
/// requests.
void ClientConnection::tell_tls_failure(const Error& error) {
  if (error.code == code::kTlsTruncated) return;
  worker_.counters().refusals.count(error.code);
  worker_.shared().events.warning(
      "tls_connection_ended",
      {str("rule", rule_name(error.code)), str("reason", error.what),
       str("peer", facts_.peer.to_string()), str("client", facts_.client.to_string())});
}

/// Serves requests while their bytes are at hand. False: the connection is done.
io::Task<bool> ClientConnection::serve_requests() {
  std::unique_ptr<Transaction> transaction = worker_.take_transaction(door_);
  if (transaction == nullptr) {
    shed();
    co_await linger();
    co_return false;
  }
  std::unique_ptr<http::H1Server> server = worker_.take_h1_server();
  server->attach(*stream_);
  Next next = Next::kRequest;
  // A reload may take the door away between two requests of a pipeline.
  for (std::uint64_t in_a_row = 1; next == Next::kRequest && worker_.plan().has_door(door_);
       ++in_a_row) {
    next = co_await serve_one(*server, *transaction);
    if (!server->buffered()) break;
    // A pipeline gives way to the other connections now and then.
    if (in_a_row % 16 == 0) co_await worker_.loop().yield();
  }
  worker_.give_back(std::move(server));
  worker_.give_back(std::move(transaction));
  // Whoever has been answered holds no place of others.
  if (next == Next::kLinger) co_await linger();
  co_return next == Next::kRequest;
}

io::Task<ClientConnection::Next> ClientConnection::serve_one(http::H1Server& server,
                                                             Transaction& t) {
  t.plan = PlanPin(worker_.plan());
  const Timeouts& timeouts = t.plan->plan().timeouts;
  Result<bool> head = co_await server.next_head(worker_.loop().now() + timeouts.head);
  // A head that took its time is judged by what holds when it is whole.
  if (&*t.plan != &worker_.plan() && worker_.plan().has_door(door_))
    t.plan = PlanPin(worker_.plan());
  if (head && !*head) co_return Next::kEnd;
  if (!head && is_silent(head.error().code)) {
    if (head.error().code == code::kTimedOut) static_cast<void>(close_quietly());
    if (is_tls_error(head.error().code)) tell_tls_failure(head.error());
    co_return Next::kEnd;
  }
  // HTTP/2 with prior knowledge (RFC 9113 §3.3). Cleartext is served on loopback, or by a waiver.
  if (!head && tls_ == nullptr && !server.served() &&
      server.received().starts_with(kHttp2PrefaceLine)) {
    preface_ = server.received();
    co_return Next::kEnd;
  }
  RequestWay way(worker_, facts_, door_, server, t);
  way_ = &way;
  stream_->on_reset([](void* served) noexcept { static_cast<RequestWay*>(served)->client_gone(); },
                    &way);
  if (head) {
    co_await way.serve();
  } else {
    co_await way.answer_broken_head(head.error());
  }
  way.finish();
  stream_->on_idle_event(nullptr, nullptr);
  way_ = nullptr;
  if (aborted_) co_return Next::kEnd;
  if (head && server.finish()) co_return Next::kRequest;
  if (server.response_broken()) {
    // Cut short, and its framing says so, except to HTTP/1.0: nothing may make it look complete
    // there, a TLS close_notify least of all. A reset takes answers before it along.
    if (head && server.request().minor_version > 0) co_return Next::kLinger;
    stream_->reset_on_close();
    co_return Next::kEnd;
  }
  const bool told =
      head && server.is_last() && !stream_->readable() && stream_->finish_by_closing();
  co_return told ? Next::kEnd : Next::kLinger;
}

io::Task<void> ClientConnection::linger() {
  stream_->finish_writing();
  // The end of an answer may still wait for the client to make room.
  static_cast<void>(co_await stream_->write_paced({}));
  const Instant deadline = worker_.loop().now() + kLingerTime;
  std::string block(4 * 1024, '\0');
  for (std::size_t taken = 0; taken < kLingerBytesMax && !aborted_;) {
    const Result<std::size_t> n = co_await stream_->read(block, deadline);
    if (!n || *n == 0) break;
    taken += *n;
  }
}

}  // namespace merlon::gateway
