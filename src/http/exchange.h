#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "http/fields.h"
#include "http/message.h"
#include "http/tunnel_end.h"
#include "io/task.h"

/// One request and its response, whichever protocol carries them. Policies and proxying see only
/// this: they never ask which version it is.
namespace merlon::http {

/// A run of body bytes, valid until the next call on the same exchange.
struct BodyPart {
  std::string_view data;              ///< may be empty, with `last` only
  bool last = false;                  ///< nothing follows
  std::span<const Field> trailers{};  ///< of the last part
};

/// The client's side of an exchange: the gateway is the server. One coroutine at a time reads the
/// body and one writes the response.
class ServerExchange {
 public:
  virtual ~ServerExchange() = default;

  [[nodiscard]] virtual RequestHead& request() noexcept = 0;
  [[nodiscard]] virtual const RequestHead& request() const noexcept = 0;
  /// "HTTP/1.1", as logs say it. Static.
  [[nodiscard]] virtual std::string_view protocol() const noexcept = 0;
  /// Some of the request's body has not been read.
  [[nodiscard]] virtual bool body_unread() const noexcept = 0;
  /// What of the body is here already, without waiting; `last` when that is all of it. May be
  /// called before read_body, with the same effect on the order of parts.
  [[nodiscard]] virtual Result<BodyPart> buffered_body() noexcept = 0;
  /// The next part of the body. Errors: grammar (kBadChunk …), kBodyTooSlow below 1 KiB/s and when
  /// none is here by `deadline`, kBodyTooShort when the client closes early.
  [[nodiscard]] virtual io::Task<Result<BodyPart>> read_body(Instant deadline) = 0;
  /// Follows `buffered_body`: the rest of the body fits here, so that `gather_body` can wait for
  /// it.
  [[nodiscard]] virtual bool body_fits() const noexcept { return false; }
  /// `first`, which `buffered_body` gave, with all that follows it. Errors as of read_body;
  /// kBodyTooSlow also when it is not whole by `deadline`.
  [[nodiscard]] virtual io::Task<Result<BodyPart>> gather_body(BodyPart first, Instant) {
    co_return first;
  }
  /// An interim response: 100 (RFC 9110 §15.2).
  [[nodiscard]] virtual io::Task<Result<void>> send_continue() = 0;
  /// The final head and the first part of the body in one write. Framing goes by `head.framing`,
  /// turned into what the client's version can take; hop-by-hop fields must be dropped already.
  [[nodiscard]] virtual io::Task<Result<void>> send_head(const ResponseHead& head,
                                                         BodyPart first) = 0;
  [[nodiscard]] virtual io::Task<Result<void>> send_body(BodyPart part) = 0;
  /// Answers a WebSocket handshake with success, in place of send_head: `head` is a 101 with
  /// Sec-WebSocket-Accept, changed here to what the client's version has (RFC 8441 §5.1). From then
  /// on `tunnel` carries bytes in place of bodies.
  [[nodiscard]] virtual io::Task<Result<void>> open_tunnel(ResponseHead& head) = 0;
  [[nodiscard]] virtual TunnelEnd& tunnel() noexcept = 0;
  /// The connection serves nothing after this exchange.
  virtual void close_after() noexcept = 0;
  /// Ends a wait in read_body with kCancelled; nothing is lost, and it may be called again.
  virtual void cancel_body() noexcept = 0;
  /// Nothing is waited for any more on the client's part: what waits for it ends with kCancelled.
  virtual void cut_off() noexcept = 0;
  /// What comes and goes is a stream of messages, which may be quiet: each wait may take `idle`, in
  /// place of a least pace, and sending lasts until `deadline` at most: kTimedOut. read_body may be
  /// called again after kBodyTooSlow.
  virtual void expect_messages(milliseconds /*idle*/, Instant /*deadline*/) noexcept {}
  /// What the client has left no room for is not sent any more; the end of the response is.
  virtual void give_up_unsent() noexcept {}

  /// The client gave the request up, and with it a connection of the upstream had to go.
  virtual void upstream_lost() noexcept {}

  [[nodiscard]] virtual std::uint64_t bytes_received() const noexcept = 0;  ///< of the body
  [[nodiscard]] virtual std::uint64_t bytes_sent() const noexcept = 0;      ///< of the body
  [[nodiscard]] virtual bool head_sent() const noexcept = 0;
};

/// The upstream's side of an exchange: the gateway is the client.
class ClientExchange {
 public:
  virtual ~ClientExchange() = default;

  /// Sends the head and the first part of the body in one write. `head.framing` says how the body
  /// is framed; `host` is the value of Host.
  [[nodiscard]] virtual io::Task<Result<void>> send_head(const RequestHead& head,
                                                         std::string_view host, BodyPart first,
                                                         Instant deadline) = 0;
  [[nodiscard]] virtual io::Task<Result<void>> send_body(BodyPart part) = 0;
  /// The final response's head; interim ones are skipped, a bounded number of them.
  [[nodiscard]] virtual io::Task<Result<ResponseHead*>> read_head(Instant deadline) = 0;
  /// The next part of the response's body, `idle` at most after the call.
  [[nodiscard]] virtual io::Task<Result<BodyPart>> read_body(milliseconds idle) = 0;
  /// What of the body is here already, without waiting.
  [[nodiscard]] virtual Result<BodyPart> buffered_body() noexcept = 0;
  /// After a 101 to a request that wants WebSocket: the bytes in place of bodies. nullptr where no
  /// tunnel can be.
  [[nodiscard]] virtual TunnelEnd* tunnel() noexcept { return nullptr; }
  /// Ends a wait in send_body.
  virtual void cancel_send() noexcept = 0;
  /// Ends a wait in read_head or read_body.
  virtual void cancel_read() noexcept = 0;
  /// Ends every wait: nobody wants the response any more.
  virtual void cancel() noexcept = 0;
  /// Some byte of the response has arrived: the request must not be sent again.
  [[nodiscard]] virtual bool response_started() const noexcept = 0;
  /// Request and response are complete and the connection can carry another exchange.
  [[nodiscard]] virtual bool reusable() const noexcept = 0;
};

/// Until when `bytes` must have moved: ten seconds to begin with, then at least 1,000 bytes a
/// second, so that a peer that crawls cannot hold a connection.
[[nodiscard]] constexpr Instant pace_deadline(Instant since, std::uint64_t bytes) noexcept {
  return since + seconds{10} + milliseconds{static_cast<std::int64_t>(bytes)};
}

}  // namespace merlon::http
