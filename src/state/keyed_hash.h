#pragma once

#include <cstdint>
#include <string_view>

namespace merlon::state {

/// SipHash-1-3: a hash that nobody can steer who does not know its key, so that no choice of
/// addresses or names makes entries of a table meet. 64 bits; about 15 ns for 24 bytes.
/// Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF" (2012), with 1 and 3 rounds.
class KeyedHash {
 public:
  /// With a key from the kernel, different in each process. Aborts when the kernel has none, which
  /// Linux does not do once it has booted.
  KeyedHash();
  constexpr KeyedHash(std::uint64_t k0, std::uint64_t k1) noexcept : k0_(k0), k1_(k1) {}

  [[nodiscard]] std::uint64_t operator()(std::string_view bytes) const noexcept;

 private:
  std::uint64_t k0_ = 0;
  std::uint64_t k1_ = 0;
};

}  // namespace merlon::state
