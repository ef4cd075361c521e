#include "identity/token.h"

#include "base/ascii.h"
#include "identity/base64url.h"

namespace merlon::identity {
namespace {

// A head has a handful of members; every byte of it is read before anything is proven.
constexpr JsonLimits kHeadLimits{
    .bytes_max = 4096, .values_max = 64, .members_max = 16, .depth_max = 4};
constexpr std::size_t kKidBytesMax = 256;

std::unexpected<Error> malformed(const char* why) {
  return fail(code::kTokenMalformed, Blame::kClient, why);
}

/// A member that must be a text when it is there.
Result<std::string_view> optional_text(JsonValue head, std::string_view name) {
  const JsonValue value = head.find(name);
  if (value && !value.is(JsonKind::kString)) return malformed("a member of the head is no text");
  return value.text();
}

Result<void> judge_extensions(JsonValue head) {
  // RFC 7515 §4.1.11: what is critical must be understood, and nothing of it is used here.
  if (head.find("crit")) return malformed("the token has critical extensions");
  if (head.find("b64")) return malformed("an unencoded payload is no token (RFC 7797 §7)");
  if (head.find("enc") || head.find("zip")) {
    return malformed("an encrypted token does not prove who wrote it");
  }
  return {};
}

}  // namespace

Result<std::string_view> TokenReader::decode(std::string_view text, std::string& into) {
  const std::size_t room = base64url_decoded_max(text.size());
  if (into.size() < room) into.resize(room);
  const auto size = base64url_decode(text, into);
  if (!size.has_value()) return malformed("a part of the token is not canonical base64url");
  return std::string_view(into).substr(0, *size);
}

Result<TokenHead> TokenReader::read_head(std::string_view token) {
  if (token.size() > kTokenBytesMax) return malformed("the token is too long");
  const std::size_t first = token.find('.');
  const std::size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) {
    return malformed("a token has three parts");
  }
  const Result<std::string_view> bytes = decode(token.substr(0, first), head_bytes_);
  if (!bytes) return std::unexpected(bytes.error());
  const Result<JsonValue> json = head_json_.read(*bytes, kHeadLimits);
  if (!json || !json->is(JsonKind::kObject)) return malformed("the head is no strict JSON object");
  const Result<void> extensions = judge_extensions(*json);
  if (!extensions) return std::unexpected(extensions.error());
  const Result<std::string_view> algorithm = optional_text(*json, "alg");
  const Result<std::string_view> kid = optional_text(*json, "kid");
  const Result<std::string_view> type = optional_text(*json, "typ");
  if (!algorithm || !kid || !type) return malformed("a member of the head is no text");
  if (kid->size() > kKidBytesMax) return malformed("the kid is too long");
  const auto known = algorithm_named(*algorithm);
  if (!known.has_value()) {
    return fail(code::kTokenAlgorithm, Blame::kClient, "an algorithm that is not used here");
  }
  return TokenHead{.algorithm = *known,
                   .kid = *kid,
                   .has_kid = json->find("kid").exists(),
                   .type = *type,
                   .jwk = json->find("jwk"),
                   .signed_text = token.substr(0, second),
                   .payload = token.substr(first + 1, second - first - 1),
                   .signature = token.substr(second + 1)};
}

bool TokenReader::verify(const TokenHead& head, const PublicKey& key) {
  const Result<std::string_view> signature = decode(head.signature, signature_bytes_);
  return signature.has_value() &&
         signatures_.verify(key, head.algorithm, head.signed_text, *signature);
}

Result<JsonValue> TokenReader::read_claims(const TokenHead& head) {
  const Result<std::string_view> bytes = decode(head.payload, payload_bytes_);
  if (!bytes) return std::unexpected(bytes.error());
  const Result<JsonValue> claims = claims_json_.read(*bytes);
  if (!claims || !claims->is(JsonKind::kObject)) {
    return malformed("the payload is no strict JSON object");
  }
  return *claims;
}

Result<std::shared_ptr<const Identity>> TokenReader::accept(std::string_view token,
                                                            const TokenRules& rules,
                                                            const KeySet& keys, TokenTime now,
                                                            std::uint64_t& key_id) {
  const Result<TokenHead> head = read_head(token);
  if (!head) return std::unexpected(head.error());
  if (!rules.algorithms.contains(head->algorithm)) {
    return fail(code::kTokenAlgorithm, Blame::kClient, "an algorithm that is not listed");
  }
  const Result<void> type = judge_type(head->type, rules);
  if (!type) return std::unexpected(type.error());
  const Result<const PublicKey*> key = keys.choose(head->kid, head->has_kid, head->algorithm);
  if (!key) return std::unexpected(key.error());
  if (!verify(*head, **key)) {
    return fail(code::kTokenSignature, Blame::kClient, "the signature does not fit the token");
  }
  key_id = (*key)->id();
  const Result<JsonValue> claims = read_claims(*head);
  if (!claims) return std::unexpected(claims.error());
  return judge_claims(*claims, rules, now);
}

Result<void> judge_type(std::string_view type, const TokenRules& rules) {
  // RFC 7515 §4.1.9: a type without a slash is short for application/….
  constexpr std::string_view kPrefix = "application/";
  if (type.size() > kPrefix.size() && ascii::iequals(type.substr(0, kPrefix.size()), kPrefix)) {
    type.remove_prefix(kPrefix.size());
  }
  if (ascii::iequals(type, "at+jwt")) return {};
  const bool plain = type.empty() || ascii::iequals(type, "jwt");
  if (plain && !rules.access_token_type) return {};
  return fail(code::kTokenType, Blame::kClient, "a token of this type is no access token");
}

}  // namespace merlon::identity
