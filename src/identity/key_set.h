#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "identity/algorithm.h"
#include "identity/json.h"

struct evp_pkey_st;

/// Public keys of an issuer: JWK and JWK Set (RFC 7517), read strictly.
namespace merlon::identity {

/// One public key. Immutable; shared by all workers.
class PublicKey {
 public:
  /// Takes the reference to `key`.
  PublicKey(evp_pkey_st* key, KeyType type, AlgorithmSet algorithms, std::string kid,
            std::string thumbprint);
  ~PublicKey();
  PublicKey(const PublicKey&) = delete;
  PublicKey& operator=(const PublicKey&) = delete;

  [[nodiscard]] evp_pkey_st* native() const noexcept { return key_; }
  [[nodiscard]] KeyType type() const noexcept { return type_; }
  /// What signatures it may be used for: those of its type, or the one that its `alg` names.
  [[nodiscard]] AlgorithmSet algorithms() const noexcept { return algorithms_; }
  /// Its name in its set; "" when it has none.
  [[nodiscard]] const std::string& kid() const noexcept { return kid_; }
  /// SHA-256 thumbprint of RFC 7638, in base64url.
  [[nodiscard]] const std::string& thumbprint() const noexcept { return thumbprint_; }
  /// Tells keys apart, also of different sets: made of all the above. The same key read again has
  /// the same.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// The size of its signatures in bytes, as JOSE writes them.
  [[nodiscard]] std::size_t signature_bytes() const noexcept { return signature_bytes_; }

 private:
  evp_pkey_st* key_;
  KeyType type_;
  AlgorithmSet algorithms_;
  std::string kid_;
  std::string thumbprint_;
  std::uint64_t id_ = 0;
  std::size_t signature_bytes_ = 0;
};

/// A key from its JWK. The error says what is wrong with it, without bytes of the key. Refused:
/// symmetric and private keys, RSA below 2048 or above 8192 bits or with an exponent below 65537,
/// coordinates of the wrong length, points that are not on their curve, a `use` or `key_ops` that
/// is not for verifying, an `alg` that does not belong to the type.
[[nodiscard]] std::expected<std::shared_ptr<const PublicKey>, std::string> read_jwk(JsonValue jwk);

/// What tells a JWK from others, before a key is made of it.
struct JwkText {
  std::string canonical;  ///< its digest is the thumbprint (RFC 7638 §3); "": no public key
  bool plain = false;     ///< it says nothing else: no `alg`, `use`, `kid` …
};
[[nodiscard]] JwkText describe_jwk(JsonValue jwk);

/// The keys of one issuer. Immutable.
class KeySet {
 public:
  explicit KeySet(std::vector<std::shared_ptr<const PublicKey>> keys);

  /// The key for a token: that of its `kid`, or without one the only one that fits `algorithm`.
  /// kTokenKeyUnknown when there is none, kTokenKeyAmbiguous when there are several, and
  /// kTokenAlgorithm when the key of the `kid` is for other algorithms: no newer set mends that.
  [[nodiscard]] Result<const PublicKey*> choose(std::string_view kid, bool has_kid,
                                                Algorithm algorithm) const noexcept;
  [[nodiscard]] bool has_kid(std::string_view kid) const noexcept;
  /// True when a key with this id is still in the set.
  [[nodiscard]] bool contains(std::uint64_t key_id) const noexcept;
  [[nodiscard]] const std::vector<std::shared_ptr<const PublicKey>>& keys() const noexcept {
    return keys_;
  }
  /// True when a key is for one of these.
  [[nodiscard]] bool has_key_for(AlgorithmSet algorithms) const noexcept;
  /// Tells sets apart: equal keys, equal sets.
  [[nodiscard]] bool same_keys(const KeySet& other) const noexcept;

 private:
  std::vector<std::shared_ptr<const PublicKey>> keys_;
};

inline constexpr std::size_t kKeySetBytesMax = 256UL * 1024;
inline constexpr std::size_t kKeysMax = 64;

struct ReadKeySet {
  std::shared_ptr<const KeySet> keys;  ///< of those that can be used, at least one
  std::vector<std::string> skipped;    ///< "key 2 (kid): why", for logs
};
/// A JWK Set of at most kKeySetBytesMax bytes and kKeysMax keys. Keys that cannot be used are
/// skipped; a set in which none can be used, or that is no such set, is an error.
[[nodiscard]] std::expected<ReadKeySet, std::string> read_jwks(std::string_view text);

}  // namespace merlon::identity
