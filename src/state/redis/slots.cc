#include "state/redis/slots.h"

#include <array>
#include <charconv>
#include <span>

namespace merlon::state::redis {
namespace {

constexpr std::array<std::uint16_t, 256> kCrc = [] {
  std::array<std::uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned crc = byte << 8U;
    for (int bit = 0; bit < 8; ++bit)
      crc = (crc & 0x8000U) != 0 ? (crc << 1U) ^ 0x1021U : crc << 1U;
    table[byte] = static_cast<std::uint16_t>(crc);
  }
  return table;
}();

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint16_t> slot_number(const Value& value) {
  if (value.kind != Value::Kind::kInteger || value.integer < 0 || value.integer >= kSlots)
    return std::nullopt;
  return static_cast<std::uint16_t>(value.integer);
}

/// The address that the metadata of a node tells beside its name: ["ip", "10.0.0.1", …] at `at`.
std::optional<IpAddress> told_address(const Reply& reply, std::size_t at) {
  const std::span<const Value> values = reply.values();
  if (at >= values.size() || values[at].kind != Value::Kind::kArray) return std::nullopt;
  const auto count = static_cast<std::size_t>(values[at].integer);
  for (std::size_t i = at + 1; i + 1 < values.size() && i + 1 <= at + count; i += 2) {
    if (reply.text(values[i]) == "ip") return IpAddress::parse(reply.text(values[i + 1]));
  }
  return std::nullopt;
}

/// The node as CLUSTER SLOTS has it, [host, port, id, metadata …] at `at`, as the owner of `range`.
void add_node(const Reply& reply, std::size_t at, const IpAddress& asked, SlotRange range,
              SlotMap& out) {
  const std::span<const Value> values = reply.values();
  if (at + 2 >= values.size() || values[at].kind != Value::Kind::kArray || values[at].integer < 2)
    return;
  const std::int64_t port = values[at + 2].integer;
  if (port <= 0 || port > UINT16_MAX) return;
  const std::string_view host = reply.text(values[at + 1]);
  std::optional<IpAddress> address = host.empty() ? asked : IpAddress::parse(host);
  if (!address) {
    // [host, port, id] are one value each: the metadata is the fourth.
    if (values[at].integer > 3) address = told_address(reply, at + 4);
    if (!address) {
      out.unresolved.emplace_back(host);
      return;
    }
    out.names.emplace(host, *address);
  }
  range.node = {.address = *address, .port = static_cast<std::uint16_t>(port)};
  out.ranges.push_back(range);
}

}  // namespace

std::uint16_t slot_of(std::string_view key) noexcept {
  unsigned crc = 0;
  for (const char c : key)
    crc = ((crc << 8U) & 0xffffU) ^ kCrc[((crc >> 8U) ^ static_cast<unsigned char>(c)) & 0xffU];
  return static_cast<std::uint16_t>(crc % kSlots);
}

std::optional<SlotMap> parse_slots(const Reply& reply, const IpAddress& asked) {
  const std::span<const Value> values = reply.values();
  if (values.empty() || reply.top().kind != Value::Kind::kArray) return std::nullopt;
  SlotMap map;
  std::size_t at = 1;
  for (std::int64_t i = 0; i < reply.top().integer; ++i) {
    // [first, last, [address, port, id], replicas …]
    if (at + 3 >= values.size() || values[at].kind != Value::Kind::kArray || values[at].integer < 3)
      return std::nullopt;
    const auto first = slot_number(values[at + 1]);
    const auto last = slot_number(values[at + 2]);
    if (!first || !last || *first > *last) return std::nullopt;
    add_node(reply, at + 3, asked, {.first = *first, .last = *last, .node = {}}, map);
    at = reply.skip(at);
  }
  return map;
}

std::optional<Redirection> parse_redirection(std::string_view error) {
  Redirection to;
  if (error.starts_with("MOVED ")) {
    error.remove_prefix(6);
  } else if (error.starts_with("ASK ")) {
    to.ask = true;
    error.remove_prefix(4);
  } else {
    return std::nullopt;
  }
  const std::size_t space = error.find(' ');
  const std::size_t colon = error.rfind(':');
  if (space == std::string_view::npos || colon == std::string_view::npos || colon < space)
    return std::nullopt;
  const auto slot = number<std::uint16_t>(error.substr(0, space));
  const auto port = number<std::uint16_t>(error.substr(colon + 1));
  if (!slot || *slot >= kSlots || !port || *port == 0) return std::nullopt;
  to.slot = *slot;
  to.host = error.substr(space + 1, colon - space - 1);
  to.port = *port;
  return to;
}

}  // namespace merlon::state::redis
