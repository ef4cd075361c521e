#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "identity/algorithm.h"
#include "identity/token.h"

/// Proofs of possession of a token's key (DPoP, RFC 9449), as a resource server judges them.
namespace merlon::identity {

/// A proof is good for so long after it was made; clocks may differ by the leeway beyond that.
inline constexpr std::int64_t kProofAge_s = 60;
/// What a configuration may have as leeway at most. Proofs are remembered for as long as one that a
/// reload brings could make them good.
inline constexpr std::int64_t kLeewayMax_s = 60;
inline constexpr std::size_t kProofBytesMax = 8UL * 1024;

/// The request that a proof must be for, as the gateway reads it.
struct ProofTarget {
  std::string_view method;
  std::string_view host;   ///< canonical (http/host.h)
  std::uint16_t port = 0;  ///< 0: that of the scheme
  std::string_view path;   ///< canonical (http/path.h)
  bool secure = true;      ///< the client used https
};

/// Nonces that the gateway gives out (RFC 9449 §9): a keyed hash of the time, the same for all
/// workers and for all clients. One per thread.
class DpopNonces {
 public:
  /// The one to give out now. Valid until the next call.
  [[nodiscard]] std::string_view current(TokenTime now);
  /// True for the one of this period or of the one before.
  [[nodiscard]] bool accepts(std::string_view nonce, TokenTime now);

 private:
  static constexpr TokenTime kPeriod_s = 300;
  void refresh(TokenTime now);
  TokenTime period_ = -1;
  std::string current_;
  std::string previous_;
};

/// A proof that was found good.
struct Proof {
  Sha256 known_by{};   ///< the digest under which it is known (state::ReplayTable)
  TokenTime made = 0;  ///< `iat`: it is good until kProofAge_s and the leeway later
};

struct ProofRules {
  AlgorithmSet algorithms = kDefaultAlgorithms;
  std::int64_t leeway_s = 10;
  DpopNonces* nonces = nullptr;  ///< null: none is asked for
};

/// Judges the proof of the field DPoP that comes with `token` (RFC 9449 §4.3), all but whether it
/// was shown before: type, algorithm, signature by the key that it carries, `htm`, `htu`, `ath`,
/// `iat`, `nonce`, and that the key is the one whose thumbprint the token is bound to. Errors:
/// kProofInvalid, kProofNonce.
[[nodiscard]] Result<Proof> judge_proof(std::string_view proof, const ProofTarget& target,
                                        std::string_view token, std::string_view thumbprint,
                                        const ProofRules& rules, TokenTime now,
                                        TokenReader& reader);

}  // namespace merlon::identity
