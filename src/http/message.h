#pragma once

#include <cstdint>
#include <string_view>

#include "http/fields.h"

namespace merlon::http {

/// Methods that code asks for by name (RFC 9110 §9.3, RFC 5789). Any token is a method: the others
/// are kOther and told apart by their text.
enum class Method : std::uint8_t {
  kGet,
  kHead,
  kPost,
  kPut,
  kDelete,
  kPatch,
  kOptions,
  kTrace,
  kConnect,
  kOther,
};

/// The method of an exact (case-sensitive) token; kOther for one that is not listed.
[[nodiscard]] Method method_of(std::string_view token) noexcept;
/// "GET"; empty for kOther.
[[nodiscard]] std::string_view method_name(Method method) noexcept;
/// Defined to be safe (RFC 9110 §9.2.1). False for kOther.
[[nodiscard]] bool is_safe(Method method) noexcept;
/// Defined to be idempotent (RFC 9110 §9.2.2): may be retried on another connection.
[[nodiscard]] bool is_idempotent(Method method) noexcept;

/// The four forms of a request target (RFC 9112 §3.2). Authority form belongs to CONNECT, which
/// Merlon refuses, so it never reaches a parsed head.
enum class TargetForm : std::uint8_t { kOrigin, kAbsolute, kAsterisk };

/// A request target as received: checked bytes, nothing decoded. path.h gives the one reading.
struct Target {
  TargetForm form = TargetForm::kOrigin;
  std::string_view scheme;     ///< absolute form only: "http" or "https" in any case
  std::string_view authority;  ///< absolute form only
  std::string_view path;       ///< starts with '/'; "*" in asterisk form
  std::string_view query;      ///< without '?'
  bool has_query = false;      ///< tells "/?" from "/"
};

/// How the end of a body is known (RFC 9112 §6.3).
enum class Framing : std::uint8_t { kNone, kLength, kChunked, kUntilClose };

/// The head of a request. Views point into the buffer that was parsed, until it is released.
struct RequestHead {
  Method method = Method::kOther;
  std::string_view method_text;
  Target target;
  /// Whom the request is for: the target's authority in absolute form, else Host. Both agree when
  /// both are there. Empty only for HTTP/1.0 without Host. host.h gives the one reading.
  std::string_view authority;
  std::uint8_t minor_version = 1;  ///< of HTTP/1: 0 or 1
  Framing framing = Framing::kNone;
  std::uint64_t content_length = 0;  ///< for kLength; may be 0
  bool keep_alive = true;            ///< the client lets the connection be used again
  bool expect_continue = false;      ///< wants 100 before it sends the body; never from HTTP/1.0
  bool te_trailers = false;          ///< said `TE: trailers`
  bool wants_websocket = false;      ///< a whole RFC 6455 handshake asked for (§4.2.1)
  /// An extended CONNECT (RFC 8441), which reads as the GET that it stands for. It is answered with
  /// a tunnel or a failure, never as that GET would be.
  bool only_websocket = false;
  /// The Upgrade value when Connection names upgrade on HTTP/1.1, else empty. Whatever it is, the
  /// request is served as HTTP/1.1 unless the route opens it.
  std::string_view upgrade;
  Fields fields;  ///< lines that Connection nominates are dropped already; other hop-by-hop are not
};

/// The head of a response, interim (1xx) ones too. Views as in RequestHead.
struct ResponseHead {
  std::uint16_t status = 0;        ///< 100 to 599
  std::string_view reason;         ///< may be empty
  std::uint8_t minor_version = 1;  ///< of HTTP/1: 0 or 1
  Framing framing = Framing::kNone;
  std::uint64_t content_length =
      0;  ///< for kLength; also of a HEAD or 304 answer, whose framing is kNone
  bool has_content_length = false;  ///< Content-Length was there (a HEAD answer forwards it)
  bool keep_alive = true;           ///< the upstream lets the connection be used again
  std::string_view upgrade;         ///< of a 101: the protocol switched to
  Fields fields;                    ///< as in RequestHead

  [[nodiscard]] bool is_interim() const noexcept { return status < 200; }
};

/// Bounds on one head. The defaults are safe on the open Internet.
struct HeadLimits {
  std::uint32_t head_bytes_max =
      16 * 1024;  ///< start line and fields with all line ends; over: 431
  std::uint32_t fields_max = Fields::kReceivedMax;  ///< field lines; over: 431
  std::uint32_t target_bytes_max = 8 * 1024;        ///< request target; over: 414
};

/// Drops what belongs to this connection only (RFC 9110 §7.6.1), so that the rest may be forwarded.
/// Framing is written anew from `framing`: Content-Length is dropped too. Call it after whoever
/// judges Upgrade, TE and Expect has done so.
void drop_hop_by_hop(Fields& fields) noexcept;

/// Drops everything that only a trusted proxy or Merlon itself may say
/// (FieldTrait::kStrippedFromClients). Call it after resolve_client() and before the gateway's own
/// fields are added.
void drop_client_claims(Fields& fields) noexcept;

}  // namespace merlon::http
