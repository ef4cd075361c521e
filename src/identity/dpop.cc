#include "identity/dpop.h"

#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstdlib>

#include "base/ascii.h"
#include "http/host.h"
#include "http/path.h"
#include "identity/base64url.h"

namespace merlon::identity {
namespace {

constexpr std::size_t kTokenIdBytesMax = 256;
constexpr std::size_t kNonceBytes = 16;

std::unexpected<Error> invalid(const char* why) {
  return fail(code::kProofInvalid, Blame::kClient, why);
}

/// A secret of this process; another process gives out other nonces, and clients ask again.
const std::array<unsigned char, 32>& nonce_key() {
  static const std::array<unsigned char, 32> key = [] {
    std::array<unsigned char, 32> made{};
    if (RAND_bytes(made.data(), static_cast<int>(made.size())) != 1) std::abort();
    return made;
  }();
  return key;
}

std::string nonce_of(TokenTime period) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  unsigned size = 0;
  const auto& key = nonce_key();
  const unsigned char* const hashed =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(&period), sizeof period, digest, &size);
  if (hashed == nullptr || size < kNonceBytes) return {};  // accepts nothing
  return base64url_encode(as_text(std::span(digest).first(kNonceBytes)));
}

/// The scheme of `htu`, taken off it; nullopt for another.
std::optional<bool> take_scheme(std::string_view& uri) noexcept {
  for (const auto& [scheme, secure] : {std::pair{std::string_view("https://"), true},
                                       std::pair{std::string_view("http://"), false}}) {
    if (uri.size() < scheme.size() || !ascii::iequals(uri.substr(0, scheme.size()), scheme))
      continue;
    uri.remove_prefix(scheme.size());
    return secure;
  }
  return std::nullopt;
}

/// RFC 9449 §4.3: without query and fragment, after normalisation: both sides go through the one
/// reading that requests go through.
bool is_target(std::string_view uri, const ProofTarget& target) {
  const std::optional<bool> secure = take_scheme(uri);
  if (secure != target.secure) return false;
  uri = uri.substr(0, uri.find_first_of("?#"));
  const std::string_view authority = uri.substr(0, uri.find('/'));
  std::array<char, http::kHostBytesMax> host_room{};
  const Result<http::CanonicalHost> host = http::canonical_host(authority, host_room);
  if (!host) return false;
  const std::uint16_t usual = target.secure ? 443 : 80;
  const auto port_of = [&](std::uint16_t port) { return port == 0 ? usual : port; };
  if (host->name != target.host || port_of(host->port) != port_of(target.port)) return false;
  std::string_view path = uri.substr(authority.size());
  if (path.empty()) path = "/";
  std::string path_room(path.size(), '\0');
  const Result<http::CanonicalPath> read = http::canonical_path(path, path_room);
  return read && read->text == target.path;
}

bool is_proof_type(std::string_view type) noexcept {
  return ascii::iequals(type, "dpop+jwt") || ascii::iequals(type, "application/dpop+jwt");
}

std::string_view text_of(JsonValue claims, std::string_view name) {
  const JsonValue value = claims.find(name);
  return value.is(JsonKind::kString) ? value.text() : std::string_view();
}

Result<void> judge_claims_of_proof(JsonValue claims, const ProofTarget& target,
                                   std::string_view token, const ProofRules& rules, TokenTime now,
                                   Hasher& hasher) {
  if (text_of(claims, "htm") != target.method) return invalid("the proof is for another method");
  if (!is_target(text_of(claims, "htu"), target)) return invalid("the proof is for another URI");
  bool hashed = false;
  const Sha256 digest = hasher.sha256(token, hashed);
  if (!hashed || text_of(claims, "ath") != base64url_encode(as_text(digest))) {
    return invalid("the proof is for another token");
  }
  const auto made = claims.find("iat").integer();
  if (!made.has_value() || *made > now + rules.leeway_s ||
      *made < now - kProofAge_s - rules.leeway_s) {
    return invalid("the proof has no current `iat`");
  }
  const std::string_view id = text_of(claims, "jti");
  if (id.empty() || id.size() > kTokenIdBytesMax) return invalid("the proof has no `jti`");
  if (rules.nonces != nullptr && !rules.nonces->accepts(text_of(claims, "nonce"), now)) {
    return fail(code::kProofNonce, Blame::kClient, "the proof has no valid nonce of the gateway");
  }
  return {};
}

/// The key that the proof carries, when it is the token's and has signed the proof.
Result<std::shared_ptr<const PublicKey>> judge_key(const TokenHead& head,
                                                   std::string_view thumbprint,
                                                   TokenReader& reader) {
  // Before a key is made of it: that is the dear part.
  const JwkText jwk = describe_jwk(head.jwk);
  bool hashed = false;
  const Sha256 digest = reader.signatures().hasher().sha256(jwk.canonical, hashed);
  if (!hashed || base64url_encode(as_text(digest)) != thumbprint) {
    return invalid("the token is bound to another key");
  }
  // One that says more of itself may limit what it is good for: it is read each time.
  std::shared_ptr<const PublicKey> key;
  if (jwk.plain) key = reader.proof_keys().find(thumbprint);
  const bool known = key != nullptr;
  if (!known) {
    auto made = read_jwk(head.jwk);
    if (!made.has_value()) return invalid("the proof carries no public key that can be used");
    key = std::move(*made);
  }
  if (!key->algorithms().contains(head.algorithm) || !reader.verify(head, *key)) {
    return invalid("the signature does not fit the proof");
  }
  if (jwk.plain && !known) reader.proof_keys().keep(key);
  return key;
}

}  // namespace

void DpopNonces::refresh(TokenTime now) {
  const TokenTime period = now / kPeriod_s;
  if (period == period_) return;
  period_ = period;
  current_ = nonce_of(period);
  previous_ = nonce_of(period - 1);
}

std::string_view DpopNonces::current(TokenTime now) {
  refresh(now);
  return current_;
}

bool DpopNonces::accepts(std::string_view nonce, TokenTime now) {
  refresh(now);
  return !nonce.empty() && (nonce == current_ || nonce == previous_);
}

Result<Proof> judge_proof(std::string_view proof, const ProofTarget& target, std::string_view token,
                          std::string_view thumbprint, const ProofRules& rules, TokenTime now,
                          TokenReader& reader) {
  if (proof.size() > kProofBytesMax) return invalid("the proof is too long");
  const Result<TokenHead> head = reader.read_head(proof);
  if (!head) return invalid("the proof is no signed JWT");
  if (!is_proof_type(head->type)) return invalid("the proof is a JWT of another type");
  if (!rules.algorithms.contains(head->algorithm)) {
    return invalid("the proof is signed in a way that is not listed");
  }
  const auto key = judge_key(*head, thumbprint, reader);
  if (!key) return std::unexpected(key.error());
  const Result<JsonValue> claims = reader.read_claims(*head);
  if (!claims) return invalid("the proof's payload is no strict JSON object");
  Hasher& hasher = reader.signatures().hasher();
  const Result<void> judged = judge_claims_of_proof(*claims, target, token, rules, now, hasher);
  if (!judged) return std::unexpected(judged.error());
  bool hashed = false;
  const Sha256 known_by =
      hasher.sha256((*key)->thumbprint() + "\n" + std::string(text_of(*claims, "jti")), hashed);
  if (!hashed) return invalid("the proof cannot be hashed");
  return Proof{.known_by = known_by, .made = *claims->find("iat").integer()};
}

}  // namespace merlon::identity
