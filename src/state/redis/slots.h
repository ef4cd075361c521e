#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "state/redis/reply.h"

/// Which node of a cluster has which keys (Redis Cluster Specification, "Keys distribution model").
namespace merlon::state::redis {

inline constexpr std::uint16_t kSlots = 16'384;

/// The slot of a key: CRC16 (XMODEM) of all of it. Keys of ours have no `{`.
[[nodiscard]] std::uint16_t slot_of(std::string_view key) noexcept;

/// Slots `first` to `last` are with `node`.
struct SlotRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  Endpoint node;
};
/// What CLUSTER SLOTS answers; ranges whose master has no address are left out. nullopt for
/// anything else.
[[nodiscard]] std::optional<std::vector<SlotRange>> parse_slots(const Reply& reply);

/// "MOVED 3999 127.0.0.1:6381": where the slot is now, or (ASK) while it moves.
struct Redirection {
  bool ask = false;
  std::uint16_t slot = 0;
  Endpoint node;
};
[[nodiscard]] std::optional<Redirection> parse_redirection(std::string_view error);

}  // namespace merlon::state::redis
