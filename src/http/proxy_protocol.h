#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"

namespace merlon::http {

/// What a PROXY protocol header says (HAProxy's proxy-protocol.txt, versions 1 and 2).
struct ProxyHeader {
  std::size_t size_bytes = 0;  ///< of the header; 0: more is needed
  /// Both ends of the client's connection. Unset when the proxy speaks for itself (LOCAL, UNKNOWN)
  /// or of a family without addresses (UNSPEC, UNIX): then the socket's own count.
  std::optional<Endpoint> source;
  std::optional<Endpoint> destination;
};

inline constexpr std::size_t kProxyV1BytesMax = 107;          ///< with CRLF, by the specification
inline constexpr std::size_t kProxyV2PayloadBytesMax = 2048;  ///< addresses and TLVs

/// Reads the header at the start of `data`, which is everything received so far. The header is
/// required: a connection without one is an error, at its first wrong byte. Whether the peer may
/// send one is the caller's to check first, by address. `size_bytes` is 0 while more is needed.
/// Errors: kBadProxyHeader, client blame: close without answer. Refused: other versions, commands,
/// families and transports than TCP and the address-less ones, v1 lines over 107 bytes or not by
/// the letter, ports out of range, v2 payloads over 2 KiB or shorter than their addresses, TLVs
/// whose lengths do not add up, a CRC32C TLV that does not match.
[[nodiscard]] Result<ProxyHeader> parse_proxy_header(std::string_view data) noexcept;

}  // namespace merlon::http
