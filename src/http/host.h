#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"

namespace merlon::http {

/// The one reading of an authority: what routes match and what is forwarded.
struct CanonicalHost {
  /// Lower case, without port, brackets or trailing dot. An IPv6 literal in its RFC 5952 form.
  /// Points into the input when that was canonical already, else into `scratch`.
  std::string_view name;
  std::uint16_t port = 0;            ///< 0: none given
  std::optional<IpAddress> address;  ///< set when the name is an IP literal
};

/// The longest name, RFC 1035 §2.3.4; enough for any scratch.
inline constexpr std::size_t kHostBytesMax = 253;

/// Reads `host [":" port]` (RFC 3986 §3.2.2, RFC 9110 §7.2). `scratch` needs kHostBytesMax bytes.
/// A name is labels of letters, digits, '-' and '_', of 1 to 63 bytes, 253 in all; one trailing dot
/// is taken off. All-numeric last labels must be a dotted-quad IPv4 address, since some resolvers
/// would read them as one. The port is 1 to 65535 without leading zeros. Errors: kBadHost, client
/// blame, for all else: empty, userinfo, percent-encoding, non-ASCII, zones, IPvFuture, an empty
/// port.
[[nodiscard]] Result<CanonicalHost> canonical_host(std::string_view authority,
                                                   std::span<char> scratch) noexcept;

}  // namespace merlon::http
