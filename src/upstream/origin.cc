#include "upstream/origin.h"

#include <algorithm>

#include "http/h1_client.h"
#include "upstream/public_address.h"

namespace merlon::upstream {
namespace {

// Servers close idle connections after a minute or less: older ones are not worth the try.
constexpr seconds kIdleAge{20};
// How many addresses of a name are tried.
constexpr std::size_t kAttemptsMax = 4;

std::unexpected<Error> bad_response(const char* why) {
  return fail(code::kUpstreamBadResponse, Blame::kUpstream, why);
}

void write_head(const FetchRequest& request, http::RequestHead& head) {
  const bool post = request.method == "POST";
  head.method = http::method_of(request.method);
  head.method_text = request.method;
  head.target.path = request.path;
  head.target.query = request.query;
  head.target.has_query = request.has_query;
  head.framing = post ? http::Framing::kLength : http::Framing::kNone;
  head.content_length = request.body.size();
  for (const auto& [name, value] : request.fields) static_cast<void>(head.fields.add(name, value));
  static_cast<void>(head.fields.add("Accept-Encoding", "identity"));
  static_cast<void>(head.fields.add("User-Agent", "merlon/" MERLON_VERSION));
}

}  // namespace

Origin::Origin(io::Loop& loop, io::Broker& broker, Resolver& resolver, Settings settings)
    : loop_(loop),
      broker_(broker),
      resolver_(resolver),
      settings_(std::move(settings)),
      authority_(HttpsUrl{.host = settings_.host, .port = settings_.port, .path = "/", .query = {}}
                     .authority()) {}

std::unique_ptr<tls::TlsStream> Origin::reuse() noexcept {
  while (!idle_.empty()) {
    Idle last = std::move(idle_.back());
    idle_.pop_back();
    if (loop_.now() - last.since < kIdleAge && !last.stream->has_unexpected_input()) {
      return std::move(last.stream);
    }
  }
  return nullptr;
}

void Origin::cancel() noexcept {
  cancelled_ = true;
  for (tls::TlsStream* const stream : in_use_) stream->cancel();
}

io::Task<Result<std::unique_ptr<tls::TlsStream>>> Origin::connect_to(IpAddress address,
                                                                     Instant deadline) {
  io::OsResult<io::Fd> socket = broker_.connect_tcp({.address = address, .port = settings_.port});
  if (!socket)
    co_return fail(io::code_of_errno(socket.error().number), Blame::kUpstream,
                   "the connection could not be opened");
  auto stream = std::make_unique<tls::TlsStream>(loop_, std::move(*socket), settings_.tls, true);
  if (!stream->attached()) {
    co_return fail(code::kResources, Blame::kInternal, "no room for a connection");
  }
  const InUse in_use(*this, *stream);
  const Result<void> connected = co_await stream->connected(deadline);
  if (!connected) co_return std::unexpected(connected.error());
  const Result<void> shaken = co_await stream->handshake(deadline);
  if (!shaken) co_return std::unexpected(shaken.error());
  co_return std::move(stream);
}

io::Task<Result<std::unique_ptr<tls::TlsStream>>> Origin::connect(Instant deadline) {
  Result<std::vector<IpAddress>> addresses = co_await resolver_.resolve(settings_.host, deadline);
  if (!addresses) co_return std::unexpected(addresses.error());
  if (settings_.public_only) {
    std::erase_if(*addresses, [](const IpAddress& address) { return !is_public(address); });
  }
  Error last{.code = code::kUpstreamForbidden,
             .blame = Blame::kUpstream,
             .what = "the host has no public address"};
  const std::size_t attempts = std::min(addresses->size(), kAttemptsMax);
  for (std::size_t i = 0; i < attempts && !cancelled_; ++i) {
    const auto share = (deadline - loop_.now()) / static_cast<std::int64_t>(attempts - i);
    Result<std::unique_ptr<tls::TlsStream>> stream =
        co_await connect_to((*addresses)[i], loop_.now() + share);
    if (stream) co_return std::move(*stream);
    last = stream.error();
  }
  co_return std::unexpected(last);
}

io::Task<Result<FetchResponse>> Origin::exchange(tls::TlsStream& stream,
                                                 const FetchRequest& request, Instant deadline,
                                                 bool& reusable) {
  const auto client = std::make_unique<http::H1Client>();
  const auto head = std::make_unique<http::RequestHead>();
  write_head(request, *head);
  client->attach(stream);
  const InUse in_use(*this, stream);
  const Result<void> sent =
      co_await client->send_head(*head, authority_, {.data = request.body, .last = true}, deadline);
  if (!sent) co_return std::unexpected(sent.error());
  Result<http::ResponseHead*> got = co_await client->read_head(deadline);
  if (!got) co_return std::unexpected(got.error());
  FetchResponse response{
      .status = (*got)->status,
      .cache_control = std::string((*got)->fields.value(http::FieldId::kCacheControl)),
      .age = std::string((*got)->fields.value(http::FieldId::kAge)),
      .expires = std::string((*got)->fields.value(http::FieldId::kExpires)),
      .date = std::string((*got)->fields.value(http::FieldId::kDate)),
      .body = {}};
  for (bool last = false; !last;) {
    if (loop_.now() >= deadline) co_return bad_response("the response took too long");
    const auto left = std::chrono::ceil<milliseconds>(deadline - loop_.now());
    const Result<http::BodyPart> part = co_await client->read_body(left);
    if (!part) co_return std::unexpected(part.error());
    if (response.body.size() + part->data.size() > request.body_bytes_max) {
      co_return bad_response("the response is too large");
    }
    response.body += part->data;
    last = part->last;
  }
  reusable = client->reusable();
  co_return response;
}

io::Task<Result<FetchResponse>> Origin::fetch(FetchRequest request, Instant deadline) {
  std::unique_ptr<tls::TlsStream> stream = reuse();
  for (bool kept = stream != nullptr;; kept = false) {
    if (!kept) {
      Result<std::unique_ptr<tls::TlsStream>> made = co_await connect(deadline);
      if (!made) co_return std::unexpected(made.error());
      stream = std::move(*made);
    }
    bool reusable = false;
    Result<FetchResponse> response = co_await exchange(*stream, request, deadline, reusable);
    // A kept connection may have been closed by the server at this very moment.
    const bool again = kept && !response && !cancelled_ && loop_.now() < deadline;
    if (again) continue;
    if (response && reusable && idle_.size() < kIdleMax) {
      idle_.push_back({.stream = std::move(stream), .since = loop_.now()});
    }
    co_return response;
  }
}

}  // namespace merlon::upstream
