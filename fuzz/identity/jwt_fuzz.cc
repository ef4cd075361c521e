// Tokens: whatever is read, nothing is accepted that the one key did not sign; what base64url
// decodes is its own canonical form; strict JSON is read the same a second time.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "identity/base64url.h"
#include "identity/token.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr std::string_view kKeys =
    R"({"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})";

void check_base64url(std::string_view text) {
  const auto bytes = merlon::identity::base64url_decode(text);
  if (bytes.has_value()) require(merlon::identity::base64url_encode(*bytes) == text);
}

void check_claims(std::string_view text) {
  namespace identity = merlon::identity;
  static identity::JsonDocument document;
  const auto value = document.read(text);
  if (!value) return;
  identity::TokenRules rules;
  rules.issuer = "i";
  rules.audiences = {"a"};
  rules.claims = {"/a", "/a/b"};
  const auto judged = identity::judge_claims(*value, rules, 2'000'000'000);
  if (!judged) return;
  require((*judged)->expires().has_value());
  static_cast<void>((*judged)->has_scope("a"));
  static_cast<void>((*judged)->claim_text(1));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace identity = merlon::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static identity::TokenReader reader;
  static const auto keys = identity::read_jwks(kKeys);
  require(keys.has_value());
  identity::TokenRules rules;
  rules.issuer = "i";
  rules.audiences = {"a"};
  std::uint64_t key_id = 0;
  // The private key is not here: an accepted token would be a forgery.
  require(!reader.accept(text, rules, *keys->keys, 2'000'000'000, key_id).has_value());
  check_base64url(text);
  check_claims(text);
  return 0;
}
