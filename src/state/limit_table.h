#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/ip.h"
#include "base/time.h"
#include "base/units.h"
#include "state/keyed_hash.h"
#include "state/slot_table.h"

namespace merlon::state {

/// A rate with the burst it allows, as the generic cell rate algorithm counts it (GCRA, ITU-T
/// I.371): each request moves a theoretical arrival time on by `interval`; a request that would
/// move it more than `burst` intervals ahead of now is refused and moves nothing.
///
/// So `burst` requests are admitted at once, and over any span t at most burst + t / interval.
/// There is no window whose border could be used twice.
struct Gcra {
  nanoseconds interval{seconds{1}};  ///< at least 1 ns
  std::uint32_t burst = 1;           ///< at least 1

  /// Rounds the interval up to whole nanoseconds, so that never more than `rate` gets in.
  /// `burst` intervals must fit in kHorizonMax: the configuration sees to it.
  [[nodiscard]] static Gcra of(const Rate& rate, std::uint32_t burst) noexcept;

  /// The time to refill all of the burst.
  [[nodiscard]] nanoseconds tolerance() const noexcept { return interval * burst; }

  /// How far ahead of now an arrival time may lie.
  static constexpr nanoseconds kHorizonMax = std::chrono::hours{24 * 32};
};

/// What became of one request at one limit.
struct Taken {
  bool admitted = false;
  /// Counted together with its neighbours, since the table was full where it belongs.
  bool coarse = false;
  /// For limits that delay: how long this request waits for its turn. 0 when it was refused.
  nanoseconds wait{0};
  /// When a refused request would be admitted. 0 when it was admitted.
  nanoseconds retry_after{0};
  /// How far the arrival time is ahead of now, after this request: 0 is a full budget.
  nanoseconds backlog{0};

  /// Requests that would be admitted at once now.
  [[nodiscard]] std::uint64_t remaining(const Gcra& limit) const noexcept {
    return static_cast<std::uint64_t>((limit.tolerance() - backlog) / limit.interval);
  }
};

/// How large the parts of a LimitTable are; each a power of two.
struct LimitTableSize {
  std::size_t client_sets = 1U << 17;   ///< 1,966,080 clients in 32 MiB
  std::size_t name_sets = 1U << 13;     ///< 122,880 routes and identities in 2 MiB
  std::size_t coarse_slots = 1U << 17;  ///< of each family of addresses, 1 MiB each
};

/// The arrival times of all limits of the process, exact over all of its threads.
///
/// What is counted is a pair of a limit (`scope`, see `scope_of`) and a client, or a name such as a
/// route's or an identity's. Names have a part of their own, so that no number of addresses can
/// take room from them. Where the set of an entry is full of live ones, its /24 or /48 (of a name:
/// its hash) is counted instead, in slots that are always there; IPv4 and IPv6 have their own. An
/// entry whose time has passed is as good as absent, so evicting it loses nothing; live ones are
/// never evicted.
///
/// Times are those that the caller passes, of one monotonic clock; the wall clock plays no part.
/// Callers whose `now` lies back by a few milliseconds only judge more strictly.
///
/// Memory: fixed, 17.1 bytes an entry, see LimitTableSize. Cost: about 50 ns a decision when the
/// set is in cache, two cache misses when not; no lock except for a first sight (SlotTable).
class LimitTable {
 public:
  LimitTable() : LimitTable(LimitTableSize{}) {}
  /// `hash` is given by tests only: its key must be a secret of the process.
  explicit LimitTable(const LimitTableSize& size, const KeyedHash& hash = {});

  /// Counts a request of `client` (an IPv4 address, or the /64 of an IPv6 one) if `limit` admits
  /// it.
  Taken take(std::uint64_t scope, const IpAddress& client, const Gcra& limit, Instant now) noexcept;
  /// The same for a name.
  Taken take(std::uint64_t scope, std::string_view name, const Gcra& limit, Instant now) noexcept;
  /// What `take` would say, counting nothing.
  [[nodiscard]] Taken peek(std::uint64_t scope, const IpAddress& client, const Gcra& limit,
                           Instant now) const noexcept;

  /// Bytes reserved for all parts.
  [[nodiscard]] std::size_t bytes() const noexcept;
  /// Clients that were counted with their neighbours. Any thread.
  [[nodiscard]] std::uint64_t coarse_total() const noexcept {
    return coarse_total_.load(std::memory_order_relaxed);
  }
  /// Entries in use. Reads the whole table: for tests.
  [[nodiscard]] std::size_t live(Instant now) const noexcept;

 private:
  using Coarse = std::unique_ptr<std::atomic<std::uint64_t>[]>;

  [[nodiscard]] std::atomic<std::uint64_t>& coarse_slot(std::uint64_t scope,
                                                        const IpAddress& client) const noexcept;
  Taken take_coarse(std::atomic<std::uint64_t>& slot, const Gcra& limit, Instant now) noexcept;

  const KeyedHash hash_;
  const std::size_t coarse_slots_;
  SlotTable clients_;
  SlotTable names_;
  Coarse coarse_v4_;
  Coarse coarse_v6_;
  Coarse coarse_names_;
  std::atomic<std::uint64_t> coarse_total_{0};
};

}  // namespace merlon::state
