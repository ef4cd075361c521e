#include "upstream/health_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "http/grpc.h"
#include "http/h1_client.h"
#include "http/h2_client.h"
#include "io/signal.h"
#include "tls/client_context.h"
#include "tls/tls_stream.h"

namespace merlon::upstream {
namespace {

using Outcome = ProbeResult::Outcome;

constexpr std::string_view kGrpcPath = "/grpc.health.v1.Health/Check";
constexpr std::size_t kGrpcPrefixBytes = 5;

/// One HTTP/2 connection for one check.
class H2Probe final : private http::H2Client::Owner {
 public:
  H2Probe(io::SocketStream& stream, const Upstream& upstream)
      : client(stream, *this,
               {.settings = http::H2Client::settings_for(1),
                .scheme = upstream.tls != nullptr ? "https" : "http",
                .head_timeout = upstream.health->timeout,
                .idle_timeout = upstream.health->timeout}),
        changed_(stream.loop()) {}

  io::Task<void> live() {
    [[maybe_unused]] const Error why = co_await client.run();
    over_ = true;
    changed_.notify_all();
  }
  io::Task<Result<void>> greeting(Instant deadline) {
    while (!over_ && !client.greeted()) {
      const Result<void> waited = co_await changed_.wait(deadline);
      if (!waited) co_return std::unexpected(waited.error());
    }
    if (client.greeted() && !over_) co_return Result<void>{};
    co_return fail(code::kUpstreamNotH2, Blame::kUpstream, "the upstream does not speak HTTP/2");
  }

  http::H2Client client;

 private:
  void changed() noexcept override { changed_.notify_all(); }
  io::Signal changed_;
  bool over_ = false;
};

/// Reads the body while it fits. What came of it in time counts, whole or cut.
io::Task<Result<void>> read_body(http::ClientExchange& exchange, io::Loop& loop, Instant deadline,
                                 ProbeAnswer& answer) {
  for (bool last = false; !last && !answer.body_cut;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - loop.now());
    if (left <= milliseconds{0})
      co_return fail(code::kUpstreamTimeout, Blame::kUpstream, "the answer took too long");
    const Result<http::BodyPart> part = co_await exchange.read_body(left);
    if (!part) co_return std::unexpected(part.error());
    const std::size_t room = kProbeBodyBytesMax - answer.body.size();
    answer.body_cut = part->data.size() > room;
    answer.body += part->data.substr(0, room);
    last = part->last;
    for (const http::Field& field : part->trailers) {
      if (field.id != http::FieldId::kGrpcStatus) continue;
      std::from_chars(field.value.data(), field.value.data() + field.value.size(),
                      answer.grpc_status);
    }
  }
  co_return Result<void>{};
}

/// There is no client whose Host could be passed on. A name that the certificate is verified
/// against is one that the server answers to.
std::string host_to_ask(const Upstream& upstream, const Endpoint& endpoint) {
  if (!upstream.host.empty()) return upstream.host;
  if (upstream.tls == nullptr || IpAddress::parse(upstream.tls->server_name()).has_value())
    return endpoint.to_string();
  const std::string& name = upstream.tls->server_name();
  return endpoint.port == 443 ? name : fmt::format("{}:{}", name, endpoint.port);
}

void write_head(const Upstream& upstream, std::string_view grpc_timeout, std::size_t body_bytes,
                http::RequestHead& head) {
  const HealthCheck& check = *upstream.health;
  const bool grpc = check.kind == HealthCheck::Kind::kGrpc;
  head.method = grpc ? http::Method::kPost : http::Method::kGet;
  head.method_text = http::method_name(head.method);
  head.target.path = grpc ? kGrpcPath : std::string_view(check.path);
  head.target.query = check.query;
  head.target.has_query = check.has_query;
  head.te_trailers = grpc;
  head.framing = grpc ? http::Framing::kLength : http::Framing::kNone;
  head.content_length = body_bytes;
  static_cast<void>(head.fields.add("User-Agent", "merlon-health/" MERLON_VERSION));
  if (grpc) {
    static_cast<void>(head.fields.add("Content-Type", "application/grpc"));
    static_cast<void>(head.fields.add("grpc-timeout", grpc_timeout));
  } else {
    static_cast<void>(head.fields.add("Accept", "*/*"));
    static_cast<void>(head.fields.add("Accept-Encoding", "identity"));
  }
  if (upstream.protocol == Protocol::kHttp1)
    static_cast<void>(head.fields.add("Connection", "close"));
}

std::size_t append_varint(std::string& out, std::size_t value) {
  const std::size_t before = out.size();
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(0x80U | (value & 0x7FU));
  out += static_cast<char>(value);
  return out.size() - before;
}

/// Takes a varint off `in`; false when there is none.
bool take_varint(std::string_view& in, std::uint64_t& value) noexcept {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

/// Takes the value of a field of protobuf that means nothing here off `in`, by its wire type.
bool skip_value(std::string_view& in, std::uint64_t wire_type) noexcept {
  std::uint64_t size = 0;
  if (wire_type == 0) return take_varint(in, size);
  if (wire_type == 1) size = 8;
  if (wire_type == 5) size = 4;
  if (wire_type == 2 && !take_varint(in, size)) return false;
  if (wire_type == 3 || wire_type == 4 || wire_type > 5 || size > in.size()) return false;
  in.remove_prefix(size);
  return true;
}

/// What stands behind the prefix, where that is of one message, whole and not compressed.
std::optional<std::string_view> only_message(std::string_view framed) noexcept {
  if (framed.size() < kGrpcPrefixBytes || framed.front() != '\0') return std::nullopt;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kGrpcPrefixBytes; ++i)
    size = size << 8 | static_cast<unsigned char>(framed[i]);
  const std::string_view message = framed.substr(kGrpcPrefixBytes);
  return message.size() == size ? std::optional(message) : std::nullopt;
}

ProbeResult bad_answer(std::string reason) {
  return {.outcome = Outcome::kBadAnswer, .reason = std::move(reason)};
}

ProbeResult judge_grpc(const ProbeAnswer& answer) {
  if (answer.status != 200) return bad_answer(fmt::format("answered {}", answer.status));
  if (!answer.grpc) return bad_answer("the answer is not gRPC");
  if (answer.grpc_status != 0) {
    return bad_answer(answer.grpc_status < 0
                          ? "the answer has no grpc-status"
                          : fmt::format("answered grpc-status {}", answer.grpc_status));
  }
  switch (answer.body_cut ? -1 : health_response_status(answer.body)) {
    case 1:
      return {.outcome = Outcome::kPassed, .reason = "SERVING"};
    case 0:
      return bad_answer("answered UNKNOWN");
    case 2:
      return bad_answer("answered NOT_SERVING");
    case 3:
      return bad_answer("answered SERVICE_UNKNOWN");
    default:
      return bad_answer("the answer is none of the health protocol");
  }
}

}  // namespace

std::string_view outcome_name(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::kPassed:
      return "passed";
    case Outcome::kBadAnswer:
      return "bad_answer";
    case Outcome::kTimedOut:
      return "timed_out";
    case Outcome::kUnreachable:
      return "unreachable";
    case Outcome::kNotMade:
      break;
  }
  return "not_made";
}

std::string health_request(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    message += '\x0a';  // field 1, with a length
    append_varint(message, service.size());
    message += service;
  }
  std::string framed(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8)
    framed += static_cast<char>((message.size() >> shift) & 0xFFU);
  return framed + message;
}

std::optional<std::string_view> health_request_service(std::string_view framed) noexcept {
  std::optional<std::string_view> message = only_message(framed);
  std::string_view service;
  while (message.has_value() && !message->empty()) {
    std::uint64_t key = 0, size = 0;
    if (!take_varint(*message, key)) return std::nullopt;
    if (key == 0x0a) {
      if (!take_varint(*message, size) || size > message->size()) return std::nullopt;
      service = message->substr(0, size);
      message->remove_prefix(size);
    } else if (key >> 3 == 0 || key >> 3 == 1 || !skip_value(*message, key & 7U)) {
      return std::nullopt;
    }
  }
  return message.has_value() ? std::optional(service) : std::nullopt;
}

int health_response_status(std::string_view framed) noexcept {
  const std::optional<std::string_view> only = only_message(framed);
  if (!only.has_value()) return -1;
  std::string_view message = *only;
  int status = 0;  // absent: the first value of the enumeration
  while (!message.empty()) {
    std::uint64_t key = 0;
    if (!take_varint(message, key)) return -1;
    if (key == 0x08) {
      std::uint64_t value = 0;
      if (!take_varint(message, value) || value > 3) return -1;
      status = static_cast<int>(value);
    } else if (key >> 3 == 0 || key >> 3 == 1 || !skip_value(message, key & 7U)) {
      return -1;
    }
  }
  return status;
}

ProbeResult judge_answer(const HealthCheck& check, const ProbeAnswer& answer) {
  if (check.kind == HealthCheck::Kind::kGrpc) return judge_grpc(answer);
  std::string reason = fmt::format("answered {}", answer.status);
  if (answer.status < 200 || answer.status > 299) return bad_answer(std::move(reason));
  return {.outcome = Outcome::kPassed, .reason = std::move(reason)};
}

ProbeResult judge_failure(const Error& error) {
  ProbeResult result{.outcome = Outcome::kUnreachable, .reason = error.what};
  switch (error.code) {
    case code::kTimedOut:
    case code::kUpstreamTimeout:
    case code::kUpstreamConnectTimeout:
      result.outcome = Outcome::kTimedOut;
      result.reason = "it did not answer in time";
      break;
    case code::kResources:
    case code::kCancelled:
      result.outcome = Outcome::kNotMade;
      break;
    default:
      // Codes from 200 to 299 and this one: an answer came, and could not be read.
      if (error.code == code::kUpstreamBadResponse || (error.code >= 200 && error.code < 300))
        result.outcome = Outcome::kBadAnswer;
  }
  if (result.reason.empty() || result.outcome == Outcome::kUnreachable)
    result.reason = fmt::format("{}{}{}", rule_name(error.code), result.reason.empty() ? "" : ": ",
                                result.reason);
  return result;
}

io::Task<Result<ProbeAnswer>> ask_health(http::ClientExchange& exchange, io::Loop& loop,
                                         std::shared_ptr<const Upstream> upstream, std::string host,
                                         Instant deadline) {
  const HealthCheck& check = *upstream->health;
  const bool grpc = check.kind == HealthCheck::Kind::kGrpc;
  const std::string body = grpc ? health_request(check.service) : std::string();
  const auto head = std::make_unique<http::RequestHead>();
  const http::GrpcTimeoutText timeout(deadline - loop.now());
  write_head(*upstream, timeout.view(), body.size(), *head);
  const Result<void> sent =
      co_await exchange.send_head(*head, host, {.data = body, .last = true}, deadline);
  if (!sent) co_return std::unexpected(sent.error());
  const Result<http::ResponseHead*> got = co_await exchange.read_head(deadline);
  if (!got) co_return std::unexpected(got.error());
  const http::Fields& fields = (*got)->fields;
  ProbeAnswer answer{.status = (*got)->status,
                     .grpc = http::is_grpc(fields.value(http::FieldId::kContentType)),
                     .body = {}};
  const std::string_view status = fields.value(http::FieldId::kGrpcStatus);
  std::from_chars(status.data(), status.data() + status.size(), answer.grpc_status);
  const Result<void> read = co_await read_body(exchange, loop, deadline, answer);
  if (!read) co_return std::unexpected(read.error());
  co_return answer;
}

io::Task<Result<void>> NetworkProber::connect(std::shared_ptr<const Upstream> upstream,
                                              Endpoint endpoint, Instant deadline) {
  io::OsResult<io::Fd> socket = broker_.connect_tcp(endpoint);
  if (!socket)
    co_return fail(io::code_of_errno(socket.error().number), Blame::kUpstream,
                   "the connection could not be opened");
  if (upstream->tls != nullptr) {
    stream_ = std::make_unique<tls::TlsStream>(loop_, std::move(*socket), upstream->tls, true);
  } else {
    stream_ = std::make_unique<io::SocketStream>(loop_, std::move(*socket), true);
  }
  if (!stream_->attached())
    co_return fail(code::kResources, Blame::kInternal, "no room for a connection");
  const Result<void> connected = co_await stream_->connected(deadline);
  if (!connected || upstream->tls == nullptr) co_return connected;
  co_return co_await static_cast<tls::TlsStream&>(*stream_).handshake(deadline);
}

io::Task<Result<ProbeAnswer>> NetworkProber::ask_h1(std::shared_ptr<const Upstream> upstream,
                                                    std::string host, Instant deadline) {
  const auto client = std::make_unique_for_overwrite<http::H1Client>();
  client->attach(*stream_);
  Result<ProbeAnswer> answer =
      co_await ask_health(*client, loop_, std::move(upstream), std::move(host), deadline);
  if (answer) stream_->finish_writing();
  co_return answer;
}

io::Task<Result<ProbeAnswer>> NetworkProber::ask_h2(std::shared_ptr<const Upstream> upstream,
                                                    std::string host, Instant deadline) {
  const bool secure = upstream->tls != nullptr;
  if (secure && static_cast<tls::TlsStream&>(*stream_).alpn() != "h2")
    co_return fail(code::kUpstreamNotH2, Blame::kUpstream, "the upstream did not agree to h2");
  const auto h2 = std::make_unique<H2Probe>(*stream_, *upstream);
  h2_ = &h2->client;
  io::Fork life(h2->live());
  Result<ProbeAnswer> answer = std::unexpected(Error{});
  const Result<void> greeted = co_await h2->greeting(deadline);
  if (greeted) {
    http::H2ClientStream exchange(h2->client, upstream->health->timeout);
    answer = co_await ask_health(exchange, loop_, upstream, std::move(host), deadline);
  } else {
    answer = std::unexpected(greeted.error());
  }
  // A peer that answered hears a farewell; one that did not would only keep us waiting.
  if (answer) {
    h2->client.retire();
  } else {
    h2->client.abort();
  }
  co_await life.join();
  h2_ = nullptr;
  if (answer) stream_->finish_writing();
  co_return answer;
}

io::Task<ProbeResult> NetworkProber::probe(std::shared_ptr<const Upstream> upstream,
                                           Endpoint endpoint, Instant deadline) {
  if (cancelled_) co_return ProbeResult{.outcome = Outcome::kNotMade, .reason = {}};
  const Result<void> connected = co_await connect(upstream, endpoint, deadline);
  Result<ProbeAnswer> answer = std::unexpected(connected ? Error{} : connected.error());
  if (connected) {
    std::string host = host_to_ask(*upstream, endpoint);
    if (upstream->protocol == Protocol::kHttp2) {
      answer = co_await ask_h2(upstream, std::move(host), deadline);
    } else {
      answer = co_await ask_h1(upstream, std::move(host), deadline);
    }
  }
  stream_.reset();
  if (cancelled_) co_return ProbeResult{.outcome = Outcome::kNotMade, .reason = {}};
  if (!answer) co_return judge_failure(answer.error());
  co_return judge_answer(*upstream->health, *answer);
}

void NetworkProber::cancel() noexcept {
  cancelled_ = true;
  if (h2_ != nullptr) {
    h2_->abort();
  } else if (stream_ != nullptr) {
    stream_->cancel();
  }
}

}  // namespace merlon::upstream
