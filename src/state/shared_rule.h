#pragma once

#include <cstdint>
#include <string_view>

#include "base/ip.h"
#include "state/limit_table.h"

namespace merlon::state {

/// What becomes of a request that Redis has not judged in time.
enum class OnFailure : std::uint8_t {
  kLocal,   ///< this node enforces its share, the limit divided by the number of nodes
  kClosed,  ///< it is refused with 503
  kOpen,    ///< it is let through, by a waiver
};

/// One limit or quota that nodes share, compiled. Immutable.
struct SharedRule {
  enum class Kind : std::uint8_t { kRate, kHour, kDay, kMonth };
  Kind kind = Kind::kRate;
  Gcra gcra;                ///< of a rate
  std::uint64_t quota = 0;  ///< requests in a window, of the other kinds
  /// Tokens that one answer of Redis brings at most, the one that is spent at once among them; 1
  /// takes no leases.
  std::uint32_t lease = 1;
  Gcra share;  ///< what this node enforces alone
  OnFailure on_failure = OnFailure::kLocal;
  std::uint64_t scope = 0;  ///< see scope_of

  /// The window of a quota, at most.
  [[nodiscard]] seconds window() const noexcept;
};

/// Whom a request is counted for: a client address, or a name. The name lives as long as the
/// request.
struct LimitedParty {
  std::uint64_t scope = 0;  ///< of the limit, or of the names of another kind at it
  bool by_name = false;
  IpAddress client;
  std::string_view name;
};

/// How many tokens a lease of `burst` may bring when `nodes` share it.
///
/// The bound: what a node holds, and what it spent of it unknown to Redis, are together never more
/// than burst / (4 * nodes). Both may be a lease less the token spent at once, so a lease is half
/// of that bound and one. 1, no lease, where the bound is below 2.
[[nodiscard]] std::uint32_t lease_of(std::uint64_t burst, std::uint32_t nodes) noexcept;
/// What each of `nodes` enforces alone: the rate and the burst divided by them, the burst at least
/// 1.
[[nodiscard]] Gcra share_of(const Gcra& limit, std::uint32_t nodes) noexcept;

}  // namespace merlon::state
