#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "identity/algorithm.h"
#include "identity/digest.h"
#include "identity/key_set.h"

struct evp_pkey_ctx_st;
struct evp_md_ctx_st;

namespace merlon::identity {

/// Verifies signatures with contexts that are kept for each key: making one costs as much as half a
/// verification. One per thread; holds at most kSlots contexts, which keep their keys alive.
class SignatureVerifier {
 public:
  SignatureVerifier();
  ~SignatureVerifier();
  SignatureVerifier(const SignatureVerifier&) = delete;
  SignatureVerifier& operator=(const SignatureVerifier&) = delete;

  /// True when `signature`, in JOSE's form (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1), is that of
  /// `text` by `key`. `algorithm` must be one of `key.algorithms()`; anything else is false.
  /// Fails closed: an error of OpenSSL is false.
  [[nodiscard]] bool verify(const PublicKey& key, Algorithm algorithm, std::string_view text,
                            std::string_view signature) noexcept;

  [[nodiscard]] Hasher& hasher() noexcept { return hasher_; }

 private:
  static constexpr std::size_t kSlots = 64;
  struct Slot {
    std::uint64_t key_id = 0;
    Algorithm algorithm{};
    evp_pkey_ctx_st* context = nullptr;
  };
  [[nodiscard]] evp_pkey_ctx_st* context_for(const PublicKey& key, Algorithm algorithm) noexcept;
  [[nodiscard]] bool verify_ed25519(const PublicKey& key, std::string_view text,
                                    std::string_view signature) noexcept;

  Hasher hasher_;
  std::array<Slot, kSlots> slots_{};
  evp_md_ctx_st* ed25519_ = nullptr;
};

}  // namespace merlon::identity
