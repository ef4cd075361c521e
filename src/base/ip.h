#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;
struct sockaddr_storage;

namespace merlon {

/// An IPv4 or IPv6 address without zone. IPv4-mapped IPv6 addresses are held as IPv4, so that one
/// host has one representation. 17 bytes, ordered, hashable by its bytes.
class IpAddress {
 public:
  constexpr IpAddress() = default;  ///< 0.0.0.0

  [[nodiscard]] static constexpr IpAddress v4(std::uint32_t host_order) noexcept {
    IpAddress a;
    for (std::size_t i = 0; i < 4; ++i)
      a.bytes_[i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
    return a;
  }
  /// 16 bytes in network order; an IPv4-mapped address (::ffff:a.b.c.d) becomes IPv4.
  [[nodiscard]] static IpAddress v6(const std::array<std::uint8_t, 16>& bytes) noexcept;

  /// Strict textual forms only: dotted quad without leading zeros, RFC 4291 §2.2 for IPv6, no
  /// brackets, no zone, no surrounding space. nullopt otherwise.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text) noexcept;
  /// From AF_INET or AF_INET6; nullopt for other families.
  [[nodiscard]] static std::optional<IpAddress> from_sockaddr(const sockaddr* address) noexcept;

  [[nodiscard]] bool is_v6() const noexcept { return is_v6_; }
  /// Network order; the first 4 bytes for IPv4.
  [[nodiscard]] const std::array<std::uint8_t, 16>& bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool is_loopback() const noexcept;
  [[nodiscard]] bool is_unspecified() const noexcept;
  /// Canonical text (RFC 5952 for IPv6), without brackets.
  [[nodiscard]] std::string to_string() const;
  /// The address with all but the first `prefix_bits` bits cleared.
  [[nodiscard]] IpAddress masked(unsigned prefix_bits) const noexcept;
  /// The address with this bit set, of 32 or 128; 0 is the first.
  [[nodiscard]] IpAddress with_bit(unsigned bit) const noexcept;
  /// What counts as one client: the address for IPv4, its /64 for IPv6, since one subscriber
  /// commonly holds a whole /64.
  [[nodiscard]] IpAddress client_key() const noexcept { return is_v6_ ? masked(64) : *this; }

  auto operator<=>(const IpAddress&) const = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
  bool is_v6_ = false;
};

/// An address with a TCP port.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  /// "192.0.2.1:80" or "[2001:db8::1]:80". nullopt for anything else, port 0 included.
  [[nodiscard]] static std::optional<Endpoint> parse(std::string_view text) noexcept;
  [[nodiscard]] std::string to_string() const;
  /// Fills `storage`; returns the length for bind(2) and connect(2).
  std::uint32_t to_sockaddr(sockaddr_storage& storage) const noexcept;
  [[nodiscard]] static std::optional<Endpoint> from_sockaddr(const sockaddr* address) noexcept;

  auto operator<=>(const Endpoint&) const = default;
};

/// A block of addresses in CIDR notation; host bits must be zero.
struct Cidr {
  IpAddress network;
  std::uint8_t prefix_bits = 0;

  /// "10.0.0.0/8", "2001:db8::/32", or a single address. nullopt when malformed or host bits are
  /// set.
  [[nodiscard]] static std::optional<Cidr> parse(std::string_view text) noexcept;
  [[nodiscard]] bool contains(const IpAddress& address) const noexcept;
  /// True when every address of `other` is in it.
  [[nodiscard]] bool covers(const Cidr& other) const noexcept;
  [[nodiscard]] std::string to_string() const;

  auto operator<=>(const Cidr&) const = default;
};

/// True when the blocks have every address of `block` between them.
[[nodiscard]] bool covered_by(const Cidr& block, const std::vector<Cidr>& blocks) noexcept;
/// True when the blocks have every address of IPv4, or of IPv6, between them.
[[nodiscard]] bool has_everyone(const std::vector<Cidr>& blocks) noexcept;

/// True when any block contains the address. Linear: lists of trust are short.
[[nodiscard]] bool contains_any(const std::vector<Cidr>& blocks, const IpAddress& address) noexcept;

}  // namespace merlon
