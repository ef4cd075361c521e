#include "base/ip.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace merlon {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t max) noexcept {
  if (text.empty() || text.size() > 10 || (text.size() > 1 && text.front() == '0')) return {};
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return {};
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > max) return {};
  return static_cast<std::uint32_t>(value);
}

}  // namespace

IpAddress IpAddress::v6(const std::array<std::uint8_t, 16>& bytes) noexcept {
  IpAddress a;
  if (std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin())) {
    std::copy_n(bytes.begin() + 12, 4, a.bytes_.begin());
    return a;
  }
  a.bytes_ = bytes;
  a.is_v6_ = true;
  return a;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) noexcept {
  char buffer[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof buffer) return {};
  // inet_pton stops at a NUL, so text with one inside would be read in part.
  if (text.find('\0') != std::string_view::npos) return {};
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  if (text.find(':') == std::string_view::npos) {
    in_addr v4_address{};
    if (inet_pton(AF_INET, buffer, &v4_address) != 1) return {};
    return v4(ntohl(v4_address.s_addr));
  }
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET6, buffer, bytes.data()) != 1) return {};
  return v6(bytes);
}

std::optional<IpAddress> IpAddress::from_sockaddr(const sockaddr* address) noexcept {
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    return v4(ntohl(in.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in6{};
    std::memcpy(&in6, address, sizeof in6);
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &in6.sin6_addr, bytes.size());
    return v6(bytes);
  }
  return {};
}

bool IpAddress::is_loopback() const noexcept {
  if (!is_v6_) return bytes_[0] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](auto b) { return b == 0; }) &&
         bytes_[15] == 1;
}

bool IpAddress::is_unspecified() const noexcept {
  return std::ranges::all_of(bytes_, [](auto b) { return b == 0; });
}

std::string IpAddress::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  inet_ntop(is_v6_ ? AF_INET6 : AF_INET, bytes_.data(), buffer, sizeof buffer);
  return buffer;
}

IpAddress IpAddress::masked(unsigned prefix_bits) const noexcept {
  IpAddress result = *this;
  for (std::size_t i = 0; i < result.bytes_.size(); ++i) {
    const unsigned first_bit = static_cast<unsigned>(i) * 8;
    if (first_bit >= prefix_bits) {
      result.bytes_[i] = 0;
    } else if (prefix_bits - first_bit < 8) {
      result.bytes_[i] &= static_cast<std::uint8_t>(0xff00U >> (prefix_bits - first_bit));
    }
  }
  return result;
}

IpAddress IpAddress::with_bit(unsigned bit) const noexcept {
  IpAddress result = *this;
  result.bytes_[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
  return result;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) noexcept {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (bracketed != (host.find(':') != std::string_view::npos)) return {};
  const auto address = IpAddress::parse(host);
  const auto port = parse_decimal(text.substr(colon + 1), 65535);
  if (!address || !port || *port == 0) return {};
  return Endpoint{.address = *address, .port = static_cast<std::uint16_t>(*port)};
}

std::string Endpoint::to_string() const {
  return address.is_v6() ? fmt::format("[{}]:{}", address.to_string(), port)
                         : fmt::format("{}:{}", address.to_string(), port);
}

std::uint32_t Endpoint::to_sockaddr(sockaddr_storage& storage) const noexcept {
  std::memset(&storage, 0, sizeof storage);
  if (address.is_v6()) {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    std::memcpy(&in6.sin6_addr, address.bytes().data(), 16);
    std::memcpy(&storage, &in6, sizeof in6);
    return sizeof in6;
  }
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  std::memcpy(&in.sin_addr, address.bytes().data(), 4);
  std::memcpy(&storage, &in, sizeof in);
  return sizeof in;
}

std::optional<Endpoint> Endpoint::from_sockaddr(const sockaddr* address) noexcept {
  const auto ip = IpAddress::from_sockaddr(address);
  if (!ip) return {};
  // sin_port and sin6_port stand at the same offset.
  sockaddr_in in{};
  std::memcpy(&in, address, sizeof in);
  return Endpoint{.address = *ip, .port = ntohs(in.sin_port)};
}

std::optional<Cidr> Cidr::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return {};
  const std::uint32_t widest = address->is_v6() ? 128 : 32;
  std::uint32_t bits = widest;
  if (slash != std::string_view::npos) {
    const auto parsed = parse_decimal(text.substr(slash + 1), widest);
    if (!parsed) return {};
    bits = *parsed;
  }
  if (address->masked(bits) != *address) return {};
  return Cidr{.network = *address, .prefix_bits = static_cast<std::uint8_t>(bits)};
}

bool Cidr::contains(const IpAddress& address) const noexcept {
  return address.is_v6() == network.is_v6() && address.masked(prefix_bits) == network;
}

bool Cidr::covers(const Cidr& other) const noexcept {
  return prefix_bits <= other.prefix_bits && contains(other.network);
}

bool covered_by(const Cidr& block, const std::vector<Cidr>& blocks) noexcept {
  bool any = false;
  for (const Cidr& each : blocks) {
    if (each.covers(block)) return true;
    any = any || block.covers(each);
  }
  if (!any) return false;
  const auto bits = static_cast<std::uint8_t>(block.prefix_bits + 1);
  const Cidr lower{.network = block.network, .prefix_bits = bits};
  const Cidr upper{.network = block.network.with_bit(block.prefix_bits), .prefix_bits = bits};
  return covered_by(lower, blocks) && covered_by(upper, blocks);
}

bool has_everyone(const std::vector<Cidr>& blocks) noexcept {
  return covered_by({.network = IpAddress::v4(0), .prefix_bits = 0}, blocks) ||
         covered_by({.network = IpAddress::v6({}), .prefix_bits = 0}, blocks);
}

std::string Cidr::to_string() const {
  return fmt::format("{}/{}", network.to_string(), prefix_bits);
}

bool contains_any(const std::vector<Cidr>& blocks, const IpAddress& address) noexcept {
  return std::ranges::any_of(blocks, [&](const Cidr& block) { return block.contains(address); });
}

}  // namespace merlon
