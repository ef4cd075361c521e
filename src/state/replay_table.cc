#include "state/replay_table.h"

#include <algorithm>
#include <cstring>

namespace merlon::state {

bool ReplayTable::holds(Set set, const Entry& wanted, std::uint32_t now_s) noexcept {
  return std::ranges::any_of(set, [&](const Entry& entry) {
    return entry.expires_s >= now_s && entry.high == wanted.high && entry.low == wanted.low;
  });
}

/// An entry may stand in two sets, and goes where there is more room: so the table is as good as
/// full before any set is.
ReplayTable::Seen ReplayTable::note(std::span<const unsigned char, 32> digest,
                                    std::int64_t expires_s, std::int64_t now_s) {
  Entry made{.expires_s = static_cast<std::uint32_t>(expires_s)};
  std::memcpy(&made.high, digest.data(), sizeof made.high);
  std::memcpy(&made.low, digest.data() + sizeof made.high, sizeof made.low);
  const auto now = static_cast<std::uint32_t>(now_s);
  Shard& shard = shards_[made.high % kShards];
  const std::lock_guard lock(shard.mutex);
  if (shard.entries.empty()) shard.entries.resize(kSets * kWays);
  const auto set_at = [&](std::uint64_t number) {
    return Set(std::span(shard.entries).subspan(number % kSets * kWays).first<kWays>());
  };
  const Set sets[] = {set_at(made.high / kShards), set_at(made.high >> 32U)};
  if (holds(sets[0], made, now) || holds(sets[1], made, now)) return Seen::kBefore;
  const auto over = [&](const Entry& entry) { return entry.expires_s < now; };
  const bool second = std::ranges::count_if(sets[1], over) > std::ranges::count_if(sets[0], over);
  const Set into = sets[second ? 1 : 0];
  const auto room = std::ranges::find_if(into, over);
  if (room == into.end()) return Seen::kNoRoom;
  *room = made;
  return Seen::kNever;
}

}  // namespace merlon::state
