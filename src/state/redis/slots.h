#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
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
/// What CLUSTER SLOTS answers.
struct SlotMap {
  std::vector<SlotRange> ranges;
  /// Nodes that the cluster announces by host name, with the address that it tells beside it.
  std::map<std::string, IpAddress, std::less<>> names;
  /// Host names without an address; their ranges are left out.
  std::vector<std::string> unresolved;
};
/// `asked` is where the answer comes from: a node whose host is absent is reached there. nullopt
/// for what is no such answer.
[[nodiscard]] std::optional<SlotMap> parse_slots(const Reply& reply, const IpAddress& asked);

/// "MOVED 3999 127.0.0.1:6381": where the slot is now, or (ASK) while it moves. The host is a view
/// into the error: an address, a name, or empty for the host that was asked.
struct Redirection {
  bool ask = false;
  std::uint16_t slot = 0;
  std::string_view host;
  std::uint16_t port = 0;
};
[[nodiscard]] std::optional<Redirection> parse_redirection(std::string_view error);

}  // namespace merlon::state::redis
