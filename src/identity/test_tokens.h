#pragma once

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "identity/algorithm.h"
#include "identity/base64url.h"
#include "identity/digest.h"
#include "identity/openssl_ptr.h"

/// Keys and tokens for tests, signed by OpenSSL the way an issuer would.
namespace merlon::identity::testing {

/// A private key with the JWK of its public half.
class SigningKey {
 public:
  /// Makes a new key for the algorithm; RSA of 2048 bits.
  SigningKey(Algorithm algorithm, std::string kid) : algorithm_(algorithm), kid_(std::move(kid)) {
    switch (key_type_of(algorithm)) {
      case KeyType::kRsa:
        key_.reset(EVP_RSA_gen(2048));
        break;
      case KeyType::kP256:
        key_.reset(EVP_EC_gen("P-256"));
        break;
      case KeyType::kP384:
        key_.reset(EVP_EC_gen("P-384"));
        break;
      case KeyType::kP521:
        key_.reset(EVP_EC_gen("P-521"));
        break;
      case KeyType::kEd25519:
        key_.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
        break;
    }
  }

  [[nodiscard]] EVP_PKEY* native() const noexcept { return key_.get(); }

  /// The public key as a JWK; `extra` is put inside: `,"use":"enc"`.
  [[nodiscard]] std::string jwk(std::string_view extra = "") const {
    const std::string kid = kid_.empty() ? "" : fmt::format(R"("kid":"{}",)", kid_);
    switch (key_type_of(algorithm_)) {
      case KeyType::kRsa:
        return fmt::format(R"({{{}"kty":"RSA","n":"{}","e":"{}"{}}})", kid, number("n", 256),
                           number("e", 3), extra);
      case KeyType::kEd25519: {
        std::array<unsigned char, 32> raw{};
        std::size_t size = raw.size();
        EVP_PKEY_get_raw_public_key(key_.get(), raw.data(), &size);
        return fmt::format(R"({{{}"kty":"OKP","crv":"Ed25519","x":"{}"{}}})", kid,
                           base64url_encode(as_text(raw)), extra);
      }
      case KeyType::kP256:
      case KeyType::kP384:
      case KeyType::kP521:
        break;
    }
    return fmt::format(R"({{{}"kty":"EC","crv":"{}","x":"{}","y":"{}"{}}})", kid, curve(),
                       number("qx", half()), number("qy", half()), extra);
  }
  /// `{"keys":[…]}` of this key alone.
  [[nodiscard]] std::string jwks(std::string_view extra = "") const {
    return fmt::format(R"({{"keys":[{}]}})", jwk(extra));
  }
  /// The signature in JOSE's form, base64url.
  [[nodiscard]] std::string sign(std::string_view text) const {
    const DigestContextPtr context(EVP_MD_CTX_new());
    EVP_PKEY_CTX* key_context = nullptr;
    const bool ed = algorithm_ == Algorithm::kEdDsa;
    const Hasher hasher;
    EVP_DigestSignInit(context.get(), &key_context,
                       ed ? nullptr : hasher.native(hash_of(algorithm_)), nullptr, key_.get());
    if (name_of(algorithm_).starts_with("PS")) {
      EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST);
    }
    std::vector<unsigned char> out(1024);
    std::size_t size = out.size();
    EVP_DigestSign(context.get(), out.data(), &size,
                   reinterpret_cast<const unsigned char*>(text.data()), text.size());
    out.resize(size);
    if (half() == 0) return base64url_encode(as_text(out));
    return base64url_encode(raw_ecdsa(out));
  }
  /// A token with the head `{"alg":…,"kid":…}` and what `head_extra` adds to it.
  [[nodiscard]] std::string token(std::string_view payload,
                                  std::string_view head_extra = "") const {
    return token_with_head(
        fmt::format(R"({{"alg":"{}","kid":"{}"{}}})", name_of(algorithm_), kid_, head_extra),
        payload);
  }
  /// A token whose head is the given text.
  [[nodiscard]] std::string token_with_head(std::string_view head, std::string_view payload) const {
    const std::string text = base64url_encode(head) + "." + base64url_encode(payload);
    return text + "." + sign(text);
  }

 private:
  [[nodiscard]] std::size_t half() const {
    switch (key_type_of(algorithm_)) {
      case KeyType::kP256:
        return 32;
      case KeyType::kP384:
        return 48;
      case KeyType::kP521:
        return 66;
      case KeyType::kRsa:
      case KeyType::kEd25519:
        return 0;
    }
    return 0;
  }
  [[nodiscard]] std::string_view curve() const {
    return half() == 32 ? "P-256" : half() == 48 ? "P-384" : "P-521";
  }
  [[nodiscard]] std::string number(const char* name, std::size_t bytes) const {
    BIGNUM* n = nullptr;
    EVP_PKEY_get_bn_param(key_.get(), name, &n);
    const BigNumberPtr owned(n);
    std::vector<unsigned char> out(bytes);
    BN_bn2binpad(n, out.data(), static_cast<int>(bytes));
    return base64url_encode(as_text(out));
  }
  [[nodiscard]] std::string raw_ecdsa(const std::vector<unsigned char>& der) const {
    const unsigned char* at = der.data();
    ECDSA_SIG* signature = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
    std::string out(2 * half(), '\0');
    auto* to = reinterpret_cast<unsigned char*>(out.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), to, static_cast<int>(half()));
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), to + half(), static_cast<int>(half()));
    ECDSA_SIG_free(signature);
    return out;
  }

  Algorithm algorithm_;
  std::string kid_;
  KeyPtr key_;
};

}  // namespace merlon::identity::testing
