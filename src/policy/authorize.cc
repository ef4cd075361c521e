#include "policy/authorize.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/provider.h"
#include "policy/authenticate.h"

namespace merlon::policy {
namespace {

Decision refused(std::uint16_t code, const char* what, const Mark& at) noexcept {
  return Decision::refuse({.status = 403,
                           .error = {.code = code, .blame = Blame::kClient, .what = what},
                           .step = "authorization",
                           .line = &at});
}

}  // namespace

Authorize::Authorize(const AuthConfig& config, const identity::Provider& provider)
    : at_(config.at) {
  std::string all;
  for (const auto& scope : config.scopes) {
    scopes_.push_back({.name = *scope, .at = scope.at});
    all += (all.empty() ? "" : " ") + *scope;
  }
  for (const auto& [name, values] : config.claims) {
    Claim claim{.number = provider.claim_number(claim_pointer(name)),
                .values = {},
                .at = values.front().at};
    for (const auto& value : values) claim.values.push_back(*value);
    claims_.push_back(std::move(claim));
  }
  if (provider.takes_tokens()) {
    std::string said = fmt::format(" realm=\"{}\", error=\"insufficient_scope\", scope=\"{}\"",
                                   provider.name(), all);
    if (!provider.metadata_url().empty()) {
      said += fmt::format(", resource_metadata=\"{}\"", provider.metadata_url());
    }
    bearer_challenge_ = "Bearer" + said;
    dpop_challenge_ = "DPoP" + said;
  }
}

Decision Authorize::check(Context& context) const noexcept {
  const identity::Identity& who = *context.identity;
  for (const Scope& scope : scopes_) {
    if (who.has_scope(scope.name)) continue;
    if (!bearer_challenge_.empty()) {
      const Result<Credentials> shown = shown_token(context.head);
      static_cast<void>(context.fields.add(
          "WWW-Authenticate", shown && shown->dpop ? dpop_challenge_ : bearer_challenge_,
          http::FieldId::kWwwAuthenticate));
    }
    return refused(code::kScopeMissing, "a scope is missing", scope.at);
  }
  for (const Claim& claim : claims_) {
    const bool fits = std::ranges::any_of(
        claim.values, [&](const std::string& value) { return who.claim_is(claim.number, value); });
    if (!fits) return refused(code::kClaimMismatch, "a claim has none of the values", claim.at);
  }
  return Decision::next();
}

}  // namespace merlon::policy
