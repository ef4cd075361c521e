#include "state/lease_table.h"

#include <algorithm>
#include <optional>

#include "state/limit_script.h"

namespace merlon::state {
namespace {

// A value: until when it is kept in milliseconds, whether it is a lease, whether another is being
// taken, tokens. Time stands in the highest bits, so that what has ended is below the horizon of
// SlotTable. A lease is kept for longer than it may be used: its tokens are still to be given back.
constexpr unsigned kTimeShift = 24;
constexpr std::uint64_t kLow = (1ULL << kTimeShift) - 1;
constexpr std::uint64_t kTaking = 1ULL << 16;
constexpr std::uint64_t kLease = 1ULL << 17;
// Longer than Redis is ever waited for: two leases of one client must not be under way at once.
constexpr seconds kTakingMax{60};
// Longer than a worker is ever late to close its leases.
constexpr seconds kKeptBeyond{60};
constexpr std::uint64_t kBeyondBits = std::uint64_t{milliseconds{kKeptBeyond}.count()}
                                      << kTimeShift;
constexpr std::uint64_t kTokens = LeaseTable::kTokensMax;

std::uint64_t time_bits(Instant time) noexcept {
  const auto since = std::chrono::floor<milliseconds>(time.time_since_epoch()).count();
  return static_cast<std::uint64_t>(since) << kTimeShift;
}

/// What ends in this millisecond has ended.
std::uint64_t horizon_of(Instant now) noexcept { return time_bits(now) | kLow; }

}  // namespace

LeaseTable::Spent LeaseTable::spend(std::uint64_t hash, Instant now) noexcept {
  const std::uint64_t ended = horizon_of(now + kKeptBeyond);
  std::uint64_t tokens = 0;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    tokens = (value & kLease) != 0 && value > ended ? value & kTokens : 0;
    if (tokens == 0) return std::nullopt;
    // With the last one nothing is left to give back.
    return tokens > 1 ? value - 1 : (value & ~kLow) - kBeyondBits;
  };
  const std::uint64_t horizon = horizon_of(now);
  if (leases_.update(hash, horizon, step) != SlotTable::Outcome::kChanged) return {};
  const std::uint64_t elsewhere = left_.find(hash, horizon).value_or(0);
  return {.admitted = true, .left = tokens - 1 + (elsewhere > horizon ? elsewhere & kLow : 0)};
}

bool LeaseTable::begin(std::uint64_t hash, Instant now) noexcept {
  const std::uint64_t horizon = horizon_of(now);
  if (distrusted_.find(hash, horizon).value_or(0) > horizon) return false;
  bool may_lease = false;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    // Tokens of a lease that has ended are still to be given back: none may take their place.
    may_lease = value > horizon && (value & (kTaking | kTokens)) == 0;
    if (value > horizon && !may_lease) return std::nullopt;
    return may_lease ? time_bits(now + kTakingMax) | kTaking : time_bits(now + kLeaseUsed);
  };
  const bool changed = leases_.update(hash, horizon, step) == SlotTable::Outcome::kChanged;
  return changed && may_lease;
}

void LeaseTable::grant(std::uint64_t hash, std::uint32_t tokens, Instant ends,
                       std::uint64_t left) noexcept {
  const std::uint64_t lease =
      time_bits(ends + kKeptBeyond) | kLease | std::min<std::uint64_t>(tokens, kTokens);
  // Whatever stands there is the mark of `begin`, or the entry of one that came after it timed out.
  const auto step = [&](std::uint64_t value) {
    return (value & kTokens) == 0 ? std::optional(lease) : std::nullopt;
  };
  static_cast<void>(leases_.update(hash, 0, step));
  const auto keep = [&](std::uint64_t) {
    return std::optional(time_bits(ends) | std::min(left, kLeftMax));
  };
  static_cast<void>(left_.update(hash, 0, keep));
}

void LeaseTable::abandon(std::uint64_t hash, Instant now) noexcept {
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    return (value & kTaking) != 0 ? std::optional(time_bits(now + kLeaseUsed)) : std::nullopt;
  };
  static_cast<void>(leases_.update(hash, horizon_of(now), step));
}

void LeaseTable::distrust(std::uint64_t hash, Instant now, Instant until) noexcept {
  abandon(hash, now);
  const auto longest = [&](std::uint64_t value) {
    return std::optional(std::max(value, time_bits(until)));
  };
  static_cast<void>(distrusted_.update(hash, horizon_of(now), longest));
}

std::uint32_t LeaseTable::close(std::uint64_t hash, Instant ends) noexcept {
  const std::uint64_t lease = time_bits(ends + kKeptBeyond) | kLease;
  std::uint64_t tokens = 0;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    tokens = (value & ~kTokens) == lease ? value & kTokens : 0;
    return tokens > 0 ? std::optional(time_bits(ends + kTakingMax) | kTaking) : std::nullopt;
  };
  static_cast<void>(leases_.update(hash, 0, step));
  return static_cast<std::uint32_t>(tokens);
}

void LeaseTable::returned(std::uint64_t hash, Instant now) noexcept {
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    return (value & kTaking) != 0 ? std::optional(time_bits(now)) : std::nullopt;
  };
  static_cast<void>(leases_.update(hash, horizon_of(now), step));
}

}  // namespace merlon::state
