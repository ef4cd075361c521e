#include "gateway/runtime.h"

namespace merlon::gateway {

ClientConnections::Shard& ClientConnections::shard_of(const IpAddress& client) noexcept {
  std::uint32_t hash = 2166136261U;  // FNV-1a; only spreads mutexes, so nobody gains by collisions
  for (const std::uint8_t byte : client.bytes()) hash = (hash ^ byte) * 16777619U;
  return shards_[hash % kShards];
}

bool ClientConnections::enter(const IpAddress& client, std::uint32_t max) {
  Shard& shard = shard_of(client);
  const std::lock_guard lock(shard.mutex);
  std::uint32_t& count = shard.counts[client];
  if (count >= max) return false;
  ++count;
  return true;
}

void ClientConnections::leave(const IpAddress& client) noexcept {
  Shard& shard = shard_of(client);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.counts.find(client);
  if (found != shard.counts.end() && --found->second == 0) shard.counts.erase(found);
}

}  // namespace merlon::gateway
