// Proofs of possession: whatever is read, nothing is accepted, since no signature can be guessed.
// The input is a whole proof, its head, and its payload in turn.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "identity/base64url.h"
#include "identity/dpop.h"

namespace {

using merlon::identity::ProofTarget;

constexpr std::string_view kHead =
    R"({"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}})";
constexpr std::string_view kThumbprint = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";

void judge(std::string_view proof) {
  static merlon::identity::TokenReader reader;
  static merlon::identity::DpopNonces nonces;
  const ProofTarget target{.method = "GET", .host = "api.example.com", .path = "/a"};
  const auto judged = merlon::identity::judge_proof(proof, target, "token", kThumbprint,
                                                    {.nonces = &nonces}, 2'000'000'000, reader);
  if (judged.has_value()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using merlon::identity::base64url_encode;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  judge(text);
  const std::string signature = base64url_encode(std::string(64, '\1'));
  judge(base64url_encode(text) + "." + base64url_encode("{}") + "." + signature);
  judge(base64url_encode(kHead) + "." + base64url_encode(text) + "." + signature);
  return 0;
}
