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

/// A node as CLUSTER SLOTS has it: [address, port, id …] at `at`.
std::optional<Endpoint> node_at(const Reply& reply, std::size_t at) {
  const std::span<const Value> values = reply.values();
  if (at + 2 >= values.size() || values[at].kind != Value::Kind::kArray || values[at].integer < 2)
    return std::nullopt;
  const auto address = IpAddress::parse(reply.text(values[at + 1]));
  const std::int64_t port = values[at + 2].integer;
  if (!address || port <= 0 || port > UINT16_MAX) return std::nullopt;
  return Endpoint{.address = *address, .port = static_cast<std::uint16_t>(port)};
}

}  // namespace

std::uint16_t slot_of(std::string_view key) noexcept {
  unsigned crc = 0;
  for (const char c : key)
    crc = ((crc << 8U) & 0xffffU) ^ kCrc[((crc >> 8U) ^ static_cast<unsigned char>(c)) & 0xffU];
  return static_cast<std::uint16_t>(crc % kSlots);
}

std::optional<std::vector<SlotRange>> parse_slots(const Reply& reply) {
  const std::span<const Value> values = reply.values();
  if (values.empty() || reply.top().kind != Value::Kind::kArray) return std::nullopt;
  std::vector<SlotRange> ranges;
  std::size_t at = 1;
  for (std::int64_t i = 0; i < reply.top().integer; ++i) {
    // [first, last, [address, port, id], replicas …]
    if (at + 3 >= values.size() || values[at].kind != Value::Kind::kArray || values[at].integer < 3)
      return std::nullopt;
    const auto first = slot_number(values[at + 1]);
    const auto last = slot_number(values[at + 2]);
    if (!first || !last || *first > *last) return std::nullopt;
    if (const auto node = node_at(reply, at + 3))
      ranges.push_back({.first = *first, .last = *last, .node = *node});
    at = reply.skip(at);
  }
  return ranges;
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
  const auto address = IpAddress::parse(error.substr(space + 1, colon - space - 1));
  const auto port = number<std::uint16_t>(error.substr(colon + 1));
  if (!slot || *slot >= kSlots || !address || !port || *port == 0) return std::nullopt;
  to.slot = *slot;
  to.node = {.address = *address, .port = *port};
  return to;
}

}  // namespace merlon::state::redis
