#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "identity/algorithm.h"

struct evp_md_st;
struct evp_md_ctx_st;

/// Hashes, at the cost of the hash alone.
namespace merlon::identity {

using Sha256 = std::array<unsigned char, 32>;

[[nodiscard]] inline std::string_view as_text(std::span<const unsigned char> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The functions of SHA-2, looked up once, and one context that is used again and again: OpenSSL's
/// one-call forms look the function up each time, which costs more than hashing a token. One per
/// thread.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  static constexpr std::size_t kBytesMax = 64;
  enum class Function : std::uint8_t { kSha256, kSha384, kSha512 };

  /// Hashes `bytes` into `out`; returns the size of the hash, or 0 when OpenSSL fails.
  [[nodiscard]] std::size_t hash(Function function, std::string_view bytes,
                                 std::span<unsigned char, kBytesMax> out) noexcept;
  /// As above; all zero when OpenSSL fails, which `ok` tells.
  [[nodiscard]] Sha256 sha256(std::string_view bytes, bool& ok) noexcept;

  [[nodiscard]] const evp_md_st* native(Function function) const noexcept {
    return functions_[static_cast<std::size_t>(function)];
  }

 private:
  std::array<evp_md_st*, 3> functions_{};
  evp_md_ctx_st* context_ = nullptr;
};

/// The function that an algorithm signs the hash of; EdDSA does its own.
[[nodiscard]] Hasher::Function hash_of(Algorithm algorithm) noexcept;

/// For the control thread: no context of one's own. Aborts when OpenSSL has no SHA-256.
[[nodiscard]] Sha256 sha256(std::string_view bytes);

}  // namespace merlon::identity
