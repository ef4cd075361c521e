#pragma once

#include <cstdint>

#include "base/time.h"
#include "state/slot_table.h"

namespace merlon::state {

/// What the node holds on lease of shared limits: for each limit and client so many requests that
/// may be admitted without asking Redis. One for the process, shared by all workers without a lock;
/// fixed size, 122,880 leases in 2 MiB, as much for what is told to clients, and as much for
/// clients that get no lease. Where a set is full nothing is leased: each request asks.
///
/// An entry is found by the hash of its limit and client (entry_hash). Times are of the loop's
/// clock. A lease of which tokens are left is used up before another is asked for, so what a node
/// has of one client is one lease at most.
class LeaseTable {
 public:
  static constexpr std::uint32_t kTokensMax = 0xffff;
  static constexpr std::uint64_t kLeftMax = 0xff'ffff;

  LeaseTable() : LeaseTable(1U << 13) {}
  /// `sets` is a power of two.
  explicit LeaseTable(std::size_t sets) : leases_(sets), left_(sets), distrusted_(sets) {}

  /// One request out of a lease in hand.
  struct Spent {
    bool admitted = false;
    std::uint64_t left = 0;  ///< requests that would be admitted at once, as far as it is known
  };
  [[nodiscard]] Spent spend(std::uint64_t hash, Instant now) noexcept;

  /// Before Redis is asked: true when this request may take a lease, which `grant` or `abandon`
  /// must follow. False for a client that has not been seen for a while (a lease of it would lie
  /// idle), or while another request of it takes one; then a single token is asked for.
  [[nodiscard]] bool begin(std::uint64_t hash, Instant now) noexcept;
  /// The tokens that are left of a lease, to be used before `ends`; `left`: what Redis has.
  void grant(std::uint64_t hash, std::uint32_t tokens, Instant ends, std::uint64_t left) noexcept;
  void abandon(std::uint64_t hash, Instant now) noexcept;
  /// Instead of `abandon`, or after a lease was not taken back: what it brought may be lost, so
  /// this client is given no other lease before `until`. One that is in hand is good, and is used
  /// up.
  void distrust(std::uint64_t hash, Instant now, Instant until) noexcept;
  /// Ends the lease that was to be used before `ends`: the tokens left of it, for the caller to
  /// give back. 0 when it is used up, or another one has taken its place. Until they are given
  /// back (`returned`), or taken for lost (`distrust`), no other lease may be taken.
  [[nodiscard]] std::uint32_t close(std::uint64_t hash, Instant ends) noexcept;
  void returned(std::uint64_t hash, Instant now) noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept {
    return leases_.bytes() + left_.bytes() + distrusted_.bytes();
  }

 private:
  SlotTable leases_;
  SlotTable left_;
  SlotTable distrusted_;  ///< until when
};

}  // namespace merlon::state
