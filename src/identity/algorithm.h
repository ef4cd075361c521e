#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

/// The signature algorithms of RFC 7518 §3.1 and RFC 8037 that can be configured. `none` and HMAC
/// have no name here, so no configuration and no token can lead to them.
namespace merlon::identity {

enum class Algorithm : std::uint8_t {
  kRs256,
  kRs384,
  kRs512,
  kPs256,
  kPs384,
  kPs512,
  kEs256,
  kEs384,
  kEs512,
  kEdDsa,
};
inline constexpr std::size_t kAlgorithmCount = 10;

[[nodiscard]] std::string_view name_of(Algorithm algorithm) noexcept;
/// By the exact name of the registry ("RS256"); names are compared with their case.
[[nodiscard]] std::optional<Algorithm> algorithm_named(std::string_view name) noexcept;

/// What a key is made of. Each algorithm belongs to one type, and a key of another type is never
/// tried with it: confusing the two was behind a row of forgeries (RFC 8725 §2.1).
enum class KeyType : std::uint8_t { kRsa, kP256, kP384, kP521, kEd25519 };
[[nodiscard]] KeyType key_type_of(Algorithm algorithm) noexcept;

class AlgorithmSet {
 public:
  constexpr AlgorithmSet() = default;
  constexpr AlgorithmSet(std::initializer_list<Algorithm> all) noexcept {
    for (const Algorithm a : all) add(a);
  }
  constexpr void add(Algorithm a) noexcept { bits_ = bits_ | bit(a); }
  constexpr void add(AlgorithmSet others) noexcept { bits_ = bits_ | others.bits_; }
  [[nodiscard]] constexpr bool contains(Algorithm a) const noexcept {
    return (bits_ & bit(a)) != 0;
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr AlgorithmSet common_with(AlgorithmSet other) const noexcept {
    AlgorithmSet both;
    both.bits_ = bits_ & other.bits_;
    return both;
  }
  bool operator==(const AlgorithmSet&) const = default;

 private:
  static constexpr std::uint32_t bit(Algorithm a) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(a);
  }
  std::uint32_t bits_ = 0;
};

/// What is accepted where the configuration lists nothing.
inline constexpr AlgorithmSet kDefaultAlgorithms = {Algorithm::kRs256, Algorithm::kEs256};

}  // namespace merlon::identity
