#include "state/lease_table.h"

#include <algorithm>
#include <optional>

#include "state/limit_script.h"

namespace merlon::state {
namespace {

// A value: when the lease ends in milliseconds, whether another is being taken, tokens. Time stands
// in the highest bits, so that what has ended is below the horizon of SlotTable.
constexpr unsigned kTimeShift = 24;
constexpr std::uint64_t kLow = (1ULL << kTimeShift) - 1;
constexpr std::uint64_t kTaking = 1ULL << 16;
// Longer than Redis is ever waited for: two leases of one client must not be under way at once.
constexpr seconds kTakingMax{60};
constexpr std::uint64_t kTokens = LeaseTable::kTokensMax;

std::uint64_t time_bits(Instant time) noexcept {
  const auto since = std::chrono::floor<milliseconds>(time.time_since_epoch()).count();
  return static_cast<std::uint64_t>(since) << kTimeShift;
}

/// What ends in this millisecond has ended.
std::uint64_t horizon_of(Instant now) noexcept { return time_bits(now) | kLow; }

}  // namespace

LeaseTable::Spent LeaseTable::spend(std::uint64_t hash, Instant now) noexcept {
  const std::uint64_t horizon = horizon_of(now);
  std::uint64_t tokens = 0;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    tokens = value > horizon ? value & kTokens : 0;
    return tokens > 0 ? std::optional(value - 1) : std::nullopt;
  };
  if (leases_.update(hash, horizon, step) != SlotTable::Outcome::kChanged) return {};
  const std::uint64_t elsewhere = left_.find(hash, horizon).value_or(0);
  return {.admitted = true, .left = tokens - 1 + (elsewhere > horizon ? elsewhere & kLow : 0)};
}

bool LeaseTable::begin(std::uint64_t hash, Instant now) noexcept {
  const std::uint64_t horizon = horizon_of(now);
  if (distrusted_.find(hash, horizon).value_or(0) > horizon) return false;
  bool may_lease = false;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    may_lease = value > horizon && (value & (kTaking | kTokens)) == 0;
    if (value > horizon && !may_lease) return std::nullopt;
    return may_lease ? time_bits(now + kTakingMax) | kTaking : time_bits(now + kLeaseUsed);
  };
  const bool kept = leases_.update(hash, horizon, step) == SlotTable::Outcome::kChanged;
  return kept && may_lease;
}

void LeaseTable::grant(std::uint64_t hash, std::uint32_t tokens, Instant ends,
                       std::uint64_t left) noexcept {
  const std::uint64_t time = time_bits(ends);
  // Whatever stands there is the mark of `begin`, or the entry of one that came after it timed out.
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    if ((value & kTokens) != 0) return std::nullopt;
    return time | std::min<std::uint64_t>(tokens, kTokens);
  };
  static_cast<void>(leases_.update(hash, 0, step));
  const auto keep = [&](std::uint64_t) { return std::optional(time | std::min(left, kLeftMax)); };
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
  const std::uint64_t time = time_bits(ends);
  std::uint64_t tokens = 0;
  const auto step = [&](std::uint64_t value) -> std::optional<std::uint64_t> {
    tokens = (value & ~kLow) == time && (value & kTaking) == 0 ? value & kTokens : 0;
    return tokens > 0 ? std::optional(value - tokens) : std::nullopt;
  };
  static_cast<void>(leases_.update(hash, 0, step));
  return static_cast<std::uint32_t>(tokens);
}

}  // namespace merlon::state
