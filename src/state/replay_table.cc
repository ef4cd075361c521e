#include "state/replay_table.h"

#include <cstring>

namespace merlon::state {

ReplayTable::Seen ReplayTable::note(std::span<const unsigned char, 32> digest,
                                    std::int64_t expires_s, std::int64_t now_s) {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, digest.data(), sizeof high);
  std::memcpy(&low, digest.data() + sizeof high, sizeof low);
  Shard& shard = shards_[high % kShards];
  const std::lock_guard lock(shard.mutex);
  if (shard.entries.empty()) shard.entries.resize(kSets * kWays);
  const std::size_t first = high / kShards % kSets * kWays;
  Entry* room = nullptr;
  for (Entry& entry : std::span(shard.entries).subspan(first, kWays)) {
    const bool over = entry.expires_s < now_s;
    if (!over && entry.high == high && entry.low == low) return Seen::kBefore;
    if (over) room = &entry;
  }
  if (room == nullptr) return Seen::kNoRoom;
  *room = {.high = high, .low = low, .expires_s = expires_s};
  return Seen::kNever;
}

}  // namespace merlon::state
