// Proofs of possession. What has no signature of the token's key is never accepted. With one, which
// is made here, all of the claims are judged: an accepted proof names this request, this token and
// now. The input is a whole proof, its head, and its payload in turn.
#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "identity/base64url.h"
#include "identity/dpop.h"

namespace {

using merlon::Result;
using merlon::identity::Algorithm;
using merlon::identity::base64url_decode;
using merlon::identity::base64url_encode;
using merlon::identity::JsonDocument;
using merlon::identity::JsonKind;
using merlon::identity::JsonValue;
using merlon::identity::Proof;
using merlon::identity::ProofTarget;

constexpr merlon::identity::TokenTime kNow = 2'000'000'000;

// The key of RFC 8037 appendix A: everybody has it, and its signatures are the same each time.
constexpr std::string_view kPrivate = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
constexpr std::string_view kThumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
constexpr std::string_view kHead =
    R"({"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}})";

const unsigned char* raw(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

std::string sign(std::string_view text) {
  static EVP_PKEY* const key = [] {
    const auto seed = base64url_decode(kPrivate);
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw(*seed), seed->size());
  }();
  static EVP_MD_CTX* const context = EVP_MD_CTX_new();
  std::array<unsigned char, 64> signature{};
  std::size_t size = signature.size();
  EVP_MD_CTX_reset(context);
  if (EVP_DigestSignInit(context, nullptr, nullptr, nullptr, key) != 1 ||
      EVP_DigestSign(context, signature.data(), &size, raw(text), text.size()) != 1) {
    std::abort();
  }
  return base64url_encode({reinterpret_cast<const char*>(signature.data()), size});
}

std::string signed_proof(std::string_view head, std::string_view payload) {
  const std::string text = base64url_encode(head) + "." + base64url_encode(payload);
  return text + "." + sign(text);
}

Result<Proof> judge(std::string_view proof, bool with_nonce) {
  static merlon::identity::TokenReader reader;
  static merlon::identity::DpopNonces nonces;
  const ProofTarget target{.method = "GET", .host = "api.example.com", .path = "/a"};
  return merlon::identity::judge_proof(proof, target, "token", kThumbprint,
                                       {.algorithms = {Algorithm::kEs256, Algorithm::kEdDsa},
                                        .nonces = with_nonce ? &nonces : nullptr},
                                       kNow, reader);
}

/// No signature, or none of our nonces, can be guessed.
void never(const Result<Proof>& judged) {
  if (judged.has_value()) std::abort();
}

/// What an accepted proof must have said.
void check_claims(std::string_view payload) {
  JsonDocument document;
  const Result<JsonValue> claims = document.read(payload, {});
  if (!claims || !claims->is(JsonKind::kObject)) std::abort();
  const auto made = claims->find("iat").integer();
  const bool of_now = made.has_value() && *made >= kNow - 70 && *made <= kNow + 10;
  if (claims->find("htm").text() != "GET" || !of_now) std::abort();
  if (claims->find("ath").text() != "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A") std::abort();
  if (claims->find("jti").text().empty()) std::abort();
}

/// What is judged here is worth something only if there is a proof that passes.
bool passes_when_all_is_right() {
  constexpr std::string_view kClaims =
      R"({"htm":"GET","htu":"https://api.example.com/a","ath":"PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A","iat":2000000000,"jti":"1"})";
  if (!judge(signed_proof(kHead, kClaims), false).has_value()) std::abort();
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  [[maybe_unused]] static const bool tried = passes_when_all_is_right();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string signature = base64url_encode(std::string(64, '\1'));
  never(judge(text, true));
  never(judge(base64url_encode(text) + "." + base64url_encode("{}") + "." + signature, true));
  never(judge(base64url_encode(kHead) + "." + base64url_encode(text) + "." + signature, false));
  never(judge(signed_proof(text, "{}"), false));
  const std::string proof = signed_proof(kHead, text);
  never(judge(proof, true));
  if (judge(proof, false).has_value()) check_claims(text);
  return 0;
}
