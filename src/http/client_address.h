#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"
#include "http/fields.h"

namespace merlon::http {

/// The scheme that the client used, as far as a trusted proxy says.
enum class Scheme : std::uint8_t { kUnknown, kHttp, kHttps };

/// Who the client is: computed once, used by limits, rules, logs and the forwarded fields alike.
struct ClientInfo {
  IpAddress address;                 ///< the client
  bool peer_trusted = false;         ///< the peer may speak for its clients
  Scheme scheme = Scheme::kUnknown;  ///< asserted by the trusted peer
  /// Host that the trusted peer was asked for (X-Forwarded-Host, Forwarded host=); empty when not
  /// said. For information: routes go by the authority of the request. View into the fields.
  std::string_view host;
};

/// The most addresses one request may list; longer chains are refused.
inline constexpr std::size_t kForwardedHopsMax = 32;

/// Decides who the client is.
///
/// The peer, unless it is in `trusted`; then what it says counts: the addresses of all
/// X-Forwarded-For lines (or of Forwarded `for=`, RFC 7239, when there is none) are walked from the
/// right, over trusted ones, to the first that is not trusted. When all are trusted it is the
/// leftmost; when there is none it is the peer. Ports are cut off, brackets too
/// ("[2001:db8::1]:4711").
///
/// Fields of a peer that is not trusted are not read at all. From a trusted one, what cannot be
/// read is refused rather than skipped (a skipped entry would make the next, attacker-chosen one
/// count): kBadForwarded, client blame: 400. That is: an entry which is no address (`unknown` and
/// obfuscated identifiers too) before the client is found; entries left of the client are the
/// client's own words and not judged. Also X-Forwarded-For and Forwarded that name different
/// clients, two different schemes, a scheme other than http or https, more than kForwardedHopsMax
/// entries.
[[nodiscard]] Result<ClientInfo> resolve_client(const IpAddress& peer,
                                                std::span<const Cidr> trusted,
                                                const Fields& fields) noexcept;

/// Writes the X-Forwarded-For value to send upstream into `out`: `client`, or `client, peer` when a
/// trusted peer spoke for it. What the client itself sent is never in it. Returns the value; empty
/// when it does not fit. 96 bytes always hold it.
[[nodiscard]] std::string_view write_forwarded_for(const ClientInfo& client, const IpAddress& peer,
                                                   std::span<char> out) noexcept;

/// Writes the Forwarded value (RFC 7239 §4) to send upstream:
/// `for=192.0.2.1;host="a.example";proto=https`. `host` must be a canonical host with optional
/// port. Returns it; empty when it does not fit.
[[nodiscard]] std::string_view write_forwarded(const ClientInfo& client, std::string_view host,
                                               Scheme scheme, std::span<char> out) noexcept;

}  // namespace merlon::http
