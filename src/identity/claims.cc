#include <algorithm>

#include "base/ascii.h"
#include "identity/base64url.h"
#include "identity/token.h"

namespace merlon::identity {
namespace {

constexpr std::size_t kAudiencesMax = 64;

std::unexpected<Error> bad(const char* why) {
  return fail(code::kTokenClaims, Blame::kClient, why);
}

/// A date as RFC 7519 §2 has it, but whole seconds only, and not before 1970.
Result<std::optional<TokenTime>> date_of(JsonValue claims, std::string_view name) {
  const JsonValue value = claims.find(name);
  if (!value) return std::nullopt;
  // Ends of time are no dates: sums with them must not overflow.
  constexpr TokenTime kMax = TokenTime{1} << 40U;
  const auto seconds = value.integer();
  if (!seconds.has_value() || *seconds < 0 || *seconds > kMax) {
    return bad("a date is no whole number of seconds");
  }
  return seconds;
}

/// A claim that must be a text when it is there, and not an empty one.
Result<std::string_view> text_of(JsonValue claims, std::string_view name) {
  const JsonValue value = claims.find(name);
  if (!value) return std::string_view();
  if (!value.is(JsonKind::kString) || value.text().empty()) return bad("a claim is no text");
  return value.text();
}

bool is_wanted(std::string_view audience, const TokenRules& rules) {
  return std::ranges::find(rules.audiences, audience) != rules.audiences.end();
}

Result<void> judge_audience(JsonValue audience, const TokenRules& rules) {
  if (!audience) return bad("the token has no `aud`");
  if (audience.is(JsonKind::kString)) {
    if (is_wanted(audience.text(), rules)) return {};
    return fail(code::kTokenAudience, Blame::kClient, "the token is for another audience");
  }
  if (!audience.is(JsonKind::kArray)) return bad("`aud` is neither a text nor a list");
  bool wanted = false;
  std::size_t count = 0;
  for (JsonValue one = audience.first(); one; one = one.next()) {
    if (!one.is(JsonKind::kString) || ++count > kAudiencesMax)
      return bad("`aud` is no list of texts");
    wanted = wanted || is_wanted(one.text(), rules);
  }
  if (wanted) return {};
  return fail(code::kTokenAudience, Blame::kClient, "the token is for another audience");
}

/// ID tokens, logout tokens and security events are signed by the same keys (RFC 8725 §2.8).
Result<void> judge_purpose(JsonValue claims) {
  for (const std::string_view name : {"nonce", "at_hash", "c_hash", "s_hash"}) {
    if (claims.find(name)) return fail(code::kTokenType, Blame::kClient, "it is an ID token");
  }
  if (claims.find("events")) {
    return fail(code::kTokenType, Blame::kClient, "it is a security event token");
  }
  return {};
}

struct Dates {
  std::optional<TokenTime> expires;
  std::optional<TokenTime> not_before;
  std::optional<TokenTime> issued;
};

Result<Dates> read_dates(JsonValue claims, const TokenRules& rules, TokenTime now) {
  const auto expires = date_of(claims, "exp");
  const auto not_before = date_of(claims, "nbf");
  const auto issued = date_of(claims, "iat");
  if (!expires || !not_before || !issued) return bad("a date is no whole number of seconds");
  if (!expires->has_value()) return bad("the token has no `exp`");
  // Without `iat` nobody knows when it began: then its rest counts.
  const TokenTime from = issued->value_or(now);
  if (**expires - from > rules.lifetime_max_s + (*issued ? 0 : rules.leeway_s)) {
    return fail(code::kTokenLifetime, Blame::kClient, "the token lives too long");
  }
  return Dates{.expires = *expires, .not_before = *not_before, .issued = *issued};
}

struct Binding {
  std::string_view dpop;
  std::string_view certificate;
};

/// RFC 7800 §3.1, RFC 8705 §3.1, RFC 9449 §6.1. A binding that is not understood cannot be
/// checked, and a token taken without its check is a bearer token that its issuer never gave out.
Result<Binding> read_binding(JsonValue confirmation) {
  Binding binding;
  if (!confirmation) return binding;
  const auto refuse = [] {
    return fail(code::kTokenBinding, Blame::kClient, "the token is bound in a way not known here");
  };
  if (!confirmation.is(JsonKind::kObject) || !confirmation.first()) return refuse();
  for (JsonValue one = confirmation.first(); one; one = one.next()) {
    const auto digest = base64url_decode(one.text());
    const bool thumbprint =
        one.is(JsonKind::kString) && digest.has_value() && digest->size() == sizeof(Sha256);
    if (thumbprint && one.name() == "jkt") {
      binding.dpop = one.text();
    } else if (thumbprint && one.name() == "x5t#S256") {
      binding.certificate = one.text();
    } else {
      return refuse();
    }
  }
  return binding;
}

bool has_rfc9068_claims(JsonValue claims) {
  return std::ranges::all_of(
      std::initializer_list<std::string_view>{"sub", "client_id", "iat", "jti"},
      [&](std::string_view name) { return claims.find(name).exists(); });
}

void append_value(JsonValue value, std::vector<std::string_view>& out) {
  switch (value.kind()) {
    case JsonKind::kString:
    case JsonKind::kNumber:
      out.push_back(value.text());
      return;
    case JsonKind::kTrue:
      out.emplace_back("true");
      return;
    case JsonKind::kFalse:
      out.emplace_back("false");
      return;
    case JsonKind::kNull:
    case JsonKind::kArray:
    case JsonKind::kObject:
      return;
  }
}

}  // namespace

std::vector<std::vector<std::string_view>> collect_claims(
    JsonValue claims, const std::vector<std::string>& pointers) {
  std::vector<std::vector<std::string_view>> out(pointers.size());
  for (std::size_t i = 0; i < pointers.size(); ++i) {
    const JsonValue value = claims.at(pointers[i]);
    if (!value.is(JsonKind::kArray)) {
      append_value(value, out[i]);
      continue;
    }
    for (JsonValue one = value.first(); one; one = one.next()) append_value(one, out[i]);
  }
  return out;
}

std::optional<std::string> collect_scopes(JsonValue claims) {
  JsonValue value = claims.find("scope");
  if (!value) value = claims.find("scp");
  if (!value) return std::string();
  if (value.is(JsonKind::kString)) return std::string(value.text());
  if (!value.is(JsonKind::kArray)) return std::nullopt;
  std::string all;
  for (JsonValue one = value.first(); one; one = one.next()) {
    // A space inside one would make two of it.
    if (!one.is(JsonKind::kString) || one.text().contains(' ')) return std::nullopt;
    if (!all.empty()) all += ' ';
    all += one.text();
  }
  return all;
}

Result<void> judge_dates(const Identity& identity, std::int64_t leeway_s, TokenTime now) noexcept {
  if (const auto expires = identity.expires(); expires && now - leeway_s >= *expires) {
    return fail(code::kTokenExpired, Blame::kClient, "the token has expired");
  }
  const auto not_before = identity.not_before();
  const auto issued = identity.issued();
  if ((not_before && now + leeway_s < *not_before) || (issued && now + leeway_s < *issued)) {
    return fail(code::kTokenNotYetValid, Blame::kClient, "the token is not valid yet");
  }
  return {};
}

namespace {

/// What claims and answers have in common, made an identity of.
Result<std::shared_ptr<const Identity>> identity_of(JsonValue claims, const TokenRules& rules,
                                                    const Dates& dates, Method method,
                                                    TokenTime now) {
  const Result<Binding> binding = read_binding(claims.find("cnf"));
  if (!binding) return std::unexpected(binding.error());
  const auto subject = text_of(claims, "sub");
  const auto client = text_of(claims, "client_id");
  const auto token_id = text_of(claims, "jti");
  const auto scopes = collect_scopes(claims);
  if (!subject || !client || !token_id || !scopes) return bad("a claim is no text");
  auto identity = Identity::make({.method = method,
                                  .subject = *subject,
                                  .client_id = *client,
                                  .token_id = *token_id,
                                  .scopes = *scopes,
                                  .dpop_thumbprint = binding->dpop,
                                  .certificate_thumbprint = binding->certificate,
                                  .expires = dates.expires,
                                  .not_before = dates.not_before,
                                  .issued = dates.issued,
                                  .claims = collect_claims(claims, rules.claims)});
  if (identity == nullptr) return bad("the claims are too long");
  const Result<void> valid = judge_dates(*identity, rules.leeway_s, now);
  if (!valid) return std::unexpected(valid.error());
  return identity;
}

Result<Dates> read_optional_dates(JsonValue answer) {
  const auto expires = date_of(answer, "exp");
  const auto not_before = date_of(answer, "nbf");
  const auto issued = date_of(answer, "iat");
  if (!expires || !not_before || !issued) return bad("a date is no whole number of seconds");
  return Dates{.expires = *expires, .not_before = *not_before, .issued = *issued};
}

/// Some servers answer for refresh and other tokens as well, and say so.
bool is_access_token(JsonValue type) {
  return !type || (type.is(JsonKind::kString) &&
                   (ascii::iequals(type.text(), "Bearer") || ascii::iequals(type.text(), "DPoP") ||
                    ascii::iequals(type.text(), "access_token")));
}

}  // namespace

Result<std::shared_ptr<const Identity>> judge_claims(JsonValue claims, const TokenRules& rules,
                                                     TokenTime now) {
  const JsonValue issuer = claims.find("iss");
  if (!issuer.is(JsonKind::kString)) return bad("the token has no `iss`");
  if (issuer.text() != rules.issuer) {
    return fail(code::kTokenIssuer, Blame::kClient, "the token is of another issuer");
  }
  const Result<void> audience = judge_audience(claims.find("aud"), rules);
  if (!audience) return std::unexpected(audience.error());
  const Result<void> purpose = judge_purpose(claims);
  if (!purpose) return std::unexpected(purpose.error());
  if (rules.access_token_type && !has_rfc9068_claims(claims)) {
    return bad("the token lacks claims that RFC 9068 requires");
  }
  const Result<Dates> dates = read_dates(claims, rules, now);
  if (!dates) return std::unexpected(dates.error());
  return identity_of(claims, rules, *dates, Method::kJwt, now);
}

Result<std::shared_ptr<const Identity>> judge_introspected(JsonValue answer,
                                                           const TokenRules& rules, TokenTime now) {
  if (!is_access_token(answer.find("token_type"))) {
    return fail(code::kTokenType, Blame::kClient, "a token of this type is no access token");
  }
  const bool says_dpop = ascii::iequals(answer.find("token_type").text(), "DPoP");
  if (says_dpop && !answer.find("cnf").find("jkt")) {
    return fail(code::kTokenBinding, Blame::kClient,
                "the token is bound to a key, but does not say which");
  }
  const JsonValue issuer = answer.find("iss");
  if (!rules.issuer.empty() && issuer && issuer.text() != rules.issuer) {
    return fail(code::kTokenIssuer, Blame::kClient, "the token is of another issuer");
  }
  if (!rules.audiences.empty()) {
    const Result<void> audience = judge_audience(answer.find("aud"), rules);
    if (!audience) return std::unexpected(audience.error());
  }
  const Result<Dates> dates = read_optional_dates(answer);
  if (!dates) return std::unexpected(dates.error());
  return identity_of(answer, rules, *dates, Method::kIntrospection, now);
}

}  // namespace merlon::identity
