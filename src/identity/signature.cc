#include "identity/signature.h"

#include <openssl/rsa.h>

#include <algorithm>
#include <cstring>

#include "identity/openssl_ptr.h"

namespace merlon::identity {
namespace {

// Two INTEGERs of 66 bytes with a sign byte and 2 bytes of head each, a SEQUENCE head of 3.
constexpr std::size_t kDerBytesMax = 3 + 2 * (2 + 1 + 66);

const unsigned char* raw(std::string_view bytes) noexcept {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

bool is_pss(Algorithm a) noexcept {
  return a == Algorithm::kPs256 || a == Algorithm::kPs384 || a == Algorithm::kPs512;
}

/// Writes one half of a raw ECDSA signature as an INTEGER. 0: the number is zero, which is no
/// signature (accepting it once let anyone in: CVE-2022-21449).
std::size_t write_integer(std::string_view number, unsigned char* out) noexcept {
  while (!number.empty() && number.front() == 0) number.remove_prefix(1);
  if (number.empty()) return 0;
  const bool sign_byte = (static_cast<unsigned char>(number.front()) & 0x80U) != 0;
  std::size_t at = 0;
  out[at++] = 0x02;
  out[at++] = static_cast<unsigned char>(number.size() + (sign_byte ? 1 : 0));
  if (sign_byte) out[at++] = 0;
  std::memcpy(out + at, number.data(), number.size());
  return at + number.size();
}

/// r || s as the DER that OpenSSL wants (RFC 3279 §2.2.3). 0 when a half is zero.
std::size_t write_der(std::string_view signature,
                      std::array<unsigned char, kDerBytesMax>& out) noexcept {
  std::array<unsigned char, kDerBytesMax> body{};
  const std::size_t half = signature.size() / 2;
  const std::size_t r = write_integer(signature.substr(0, half), body.data());
  if (r == 0) return 0;
  const std::size_t s = write_integer(signature.substr(half), body.data() + r);
  if (s == 0) return 0;
  const std::size_t size = r + s;
  std::size_t at = 0;
  out[at++] = 0x30;
  if (size > 127) out[at++] = 0x81;
  out[at++] = static_cast<unsigned char>(size);
  std::memcpy(out.data() + at, body.data(), size);
  return at + size;
}

bool set_up(EVP_PKEY_CTX* context, const PublicKey& key, Algorithm algorithm, const EVP_MD* hash) {
  if (EVP_PKEY_verify_init(context) != 1) return false;
  if (EVP_PKEY_CTX_set_signature_md(context, hash) != 1) return false;
  if (key.type() != KeyType::kRsa) return true;
  const int padding = is_pss(algorithm) ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
  if (EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1) return false;
  // RFC 7518 §3.5: the salt is as long as the hash.
  return !is_pss(algorithm) ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

}  // namespace

SignatureVerifier::SignatureVerifier() : ed25519_(EVP_MD_CTX_new()) {}

SignatureVerifier::~SignatureVerifier() {
  for (const Slot& slot : slots_) EVP_PKEY_CTX_free(slot.context);
  EVP_MD_CTX_free(ed25519_);
}

evp_pkey_ctx_st* SignatureVerifier::context_for(const PublicKey& key,
                                                Algorithm algorithm) noexcept {
  Slot& slot = slots_[(key.id() + static_cast<std::uint64_t>(algorithm)) % kSlots];
  if (slot.context != nullptr && slot.key_id == key.id() && slot.algorithm == algorithm) {
    return slot.context;
  }
  KeyContextPtr made(EVP_PKEY_CTX_new_from_pkey(nullptr, key.native(), nullptr));
  if (made == nullptr || !set_up(made.get(), key, algorithm, hasher_.native(hash_of(algorithm)))) {
    return nullptr;
  }
  EVP_PKEY_CTX_free(slot.context);
  slot = {.key_id = key.id(), .algorithm = algorithm, .context = made.release()};
  return slot.context;
}

bool SignatureVerifier::verify_ed25519(const PublicKey& key, std::string_view text,
                                       std::string_view signature) noexcept {
  const bool good =
      ed25519_ != nullptr && EVP_MD_CTX_reset(ed25519_) == 1 &&
      EVP_DigestVerifyInit(ed25519_, nullptr, nullptr, nullptr, key.native()) == 1 &&
      EVP_DigestVerify(ed25519_, raw(signature), signature.size(), raw(text), text.size()) == 1;
  ERR_clear_error();
  return good;
}

bool SignatureVerifier::verify(const PublicKey& key, Algorithm algorithm, std::string_view text,
                               std::string_view signature) noexcept {
  if (!key.algorithms().contains(algorithm)) return false;
  if (signature.size() != key.signature_bytes()) return false;
  if (algorithm == Algorithm::kEdDsa) return verify_ed25519(key, text, signature);
  std::array<unsigned char, kDerBytesMax> der{};
  if (key.type() != KeyType::kRsa) {
    const std::size_t size = write_der(signature, der);
    if (size == 0) return false;
    signature = as_text({der.data(), size});
  }
  EVP_PKEY_CTX* context = context_for(key, algorithm);
  std::array<unsigned char, Hasher::kBytesMax> hash{};
  const std::size_t hash_bytes = hasher_.hash(hash_of(algorithm), text, hash);
  const bool good =
      context != nullptr && hash_bytes != 0 &&
      EVP_PKEY_verify(context, raw(signature), signature.size(), hash.data(), hash_bytes) == 1;
  if (!good) ERR_clear_error();
  return good;
}

}  // namespace merlon::identity
