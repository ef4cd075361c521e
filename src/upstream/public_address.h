#pragma once

#include "base/ip.h"

namespace merlon::upstream {

/// True for an address that anybody on the Internet may reach: none of the special-purpose blocks
/// (RFC 6890 and the IANA registries), nor an IPv6 form that carries such an IPv4 address (6to4,
/// NAT64). Who lets others name a host to ask must not be led to its own neighbours (CWE-918).
[[nodiscard]] bool is_public(const IpAddress& address) noexcept;

}  // namespace merlon::upstream
