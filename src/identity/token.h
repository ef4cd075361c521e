#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "identity/algorithm.h"
#include "identity/identity.h"
#include "identity/json.h"
#include "identity/key_set.h"
#include "identity/proof_keys.h"
#include "identity/signature.h"

/// JWT access tokens (RFC 7519, RFC 9068) by the rules of RFC 8725: signature first, one reading,
/// nothing taken from the token that says how the token is to be judged.
namespace merlon::identity {

/// A token fits the head of a request, whose fields have 16 KiB in all.
inline constexpr std::size_t kTokenBytesMax = 12UL * 1024;

/// What is asked of the tokens of one issuer.
struct TokenRules {
  std::string issuer;                  ///< `iss`, compared byte by byte
  std::vector<std::string> audiences;  ///< `aud` must have one of them; never empty
  AlgorithmSet algorithms = kDefaultAlgorithms;
  std::int64_t leeway_s = 10;  ///< for the difference of clocks; at most 60
  std::int64_t lifetime_max_s = 24 * 3600;
  /// Only `typ: at+jwt`, with the claims that RFC 9068 §2.2 requires.
  bool access_token_type = false;
  /// JSON Pointers of the claims that routes ask for; Identity keeps them in this order.
  std::vector<std::string> claims;
};

/// The head of a token, before anything is proven. Views into the token and the reader.
struct TokenHead {
  Algorithm algorithm{};
  std::string_view kid;
  bool has_kid = false;
  std::string_view type;  ///< `typ`, "" when absent
  JsonValue jwk;          ///< for DPoP proofs only (RFC 9449 §4.2); never used for tokens
  std::string_view signed_text;
  std::string_view payload;    ///< still base64url
  std::string_view signature;  ///< still base64url
};

/// Reads and verifies tokens, one after another. One per thread: its buffers are used again, and
/// the contexts of its keys are kept. Views that it returns last until the next call.
class TokenReader {
 public:
  /// Splits the compact form (RFC 7515 §7.1) and reads the head: exactly three parts, strict
  /// base64url and JSON, an algorithm with a name here, no `crit`, no `b64`, no `enc`, a `kid` that
  /// is a text of up to 256 bytes. `jku`, `x5u`, `jwk` and `x5c` mean nothing.
  [[nodiscard]] Result<TokenHead> read_head(std::string_view token);
  /// True when the signature is that of `key`; `head` is the last one read.
  [[nodiscard]] bool verify(const TokenHead& head, const PublicKey& key);
  /// The payload as a JSON object; only for tokens whose signature was verified.
  [[nodiscard]] Result<JsonValue> read_claims(const TokenHead& head);
  /// Splits, reads, verifies by the key of `keys` that belongs, and judges by `rules`. `key_id`
  /// becomes that of the key.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> accept(std::string_view token,
                                                               const TokenRules& rules,
                                                               const KeySet& keys, TokenTime now,
                                                               std::uint64_t& key_id);
  [[nodiscard]] SignatureVerifier& signatures() noexcept { return signatures_; }
  [[nodiscard]] ProofKeys& proof_keys() noexcept { return proof_keys_; }

 private:
  [[nodiscard]] Result<std::string_view> decode(std::string_view text, std::string& into);

  SignatureVerifier signatures_;
  ProofKeys proof_keys_;
  std::string head_bytes_;
  std::string payload_bytes_;
  std::string signature_bytes_;
  JsonDocument head_json_;
  JsonDocument claims_json_;
};

/// Judges the type that a head states (RFC 8725 §3.11): "at+jwt", "JWT" or none.
[[nodiscard]] Result<void> judge_type(std::string_view type, const TokenRules& rules);
/// Judges the claims, and makes an identity of them.
[[nodiscard]] Result<std::shared_ptr<const Identity>> judge_claims(JsonValue claims,
                                                                   const TokenRules& rules,
                                                                   TokenTime now);
/// Judges what an authorisation server says of a token (RFC 7662 §2.2): what `rules` name, if it
/// is there at all; dates, binding and type.
[[nodiscard]] Result<std::shared_ptr<const Identity>> judge_introspected(JsonValue answer,
                                                                         const TokenRules& rules,
                                                                         TokenTime now);
/// What passes with time: to be judged again whenever an identity is used.
[[nodiscard]] Result<void> judge_dates(const Identity& identity, std::int64_t leeway_s,
                                       TokenTime now) noexcept;
/// The values of each claim that `pointers` name, for IdentityParts.
[[nodiscard]] std::vector<std::vector<std::string_view>> collect_claims(
    JsonValue claims, const std::vector<std::string>& pointers);
/// `scope` (RFC 8693 §4.2), or else `scp`: a text, or a list of texts, as one text with single
/// spaces. nullopt when it is something else.
[[nodiscard]] std::optional<std::string> collect_scopes(JsonValue claims);

}  // namespace merlon::identity
