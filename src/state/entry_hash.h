#pragma once

#include <cstdint>
#include <string_view>

#include "base/ip.h"
#include "state/keyed_hash.h"

/// The hashes under which the tables keep what they count.
namespace merlon::state {

/// The number that stands for a limit in the tables. The same text gives the same number in every
/// process, so a limit that a reload did not change keeps its counts. Texts are the configuration's
/// own; what clients send is hashed with a secret key (below).
[[nodiscard]] std::uint64_t scope_of(std::string_view identity) noexcept;

/// Of an address, or of a block of them with the other bits cleared.
[[nodiscard]] std::uint64_t entry_hash(const KeyedHash& hash, std::uint64_t scope,
                                       const IpAddress& block) noexcept;
/// Of a name of any length.
[[nodiscard]] std::uint64_t entry_hash(const KeyedHash& hash, std::uint64_t scope,
                                       std::string_view name) noexcept;

/// What is counted together when there is no room to tell its members apart: the /24 of an IPv4
/// address, the /48 of an IPv6 one.
[[nodiscard]] inline IpAddress neighbours(const IpAddress& client) noexcept {
  return client.masked(client.is_v6() ? 48 : 24);
}

}  // namespace merlon::state
