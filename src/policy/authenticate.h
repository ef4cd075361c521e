#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "identity/provider.h"
#include "policy/policy.h"

namespace merlon::policy {

/// Who is asking: a token (RFC 6750, RFC 9449) or an API key of one provider. Refuses with 401 and
/// a challenge, 503 while the issuer cannot be asked for what is not known, and 429 for clients
/// that have failed too often of late. Puts the identity into the context.
class Authenticate final : public Policy {
 public:
  /// `at` is the line of the configuration that asks for it, kept by the caller's plan.
  Authenticate(std::shared_ptr<const identity::Provider> provider, Mark at);

  [[nodiscard]] std::string_view name() const noexcept override { return "auth"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kAuthenticate; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  using Who = Result<std::shared_ptr<const identity::Identity>>;
  [[nodiscard]] Who authenticate(Context& context) const;
  [[nodiscard]] Who authenticate_key(Context& context, identity::TokenTime now) const;
  [[nodiscard]] Who find_bearer(Context& context, std::string_view token,
                                identity::TokenTime now) const;
  [[nodiscard]] Result<void> judge_binding(Context& context, const identity::Identity& who,
                                           const struct Credentials& shown,
                                           identity::TokenTime now) const;
  [[nodiscard]] Decision refuse(Context& context, const Error& error) const noexcept;
  void add_challenges(Context& context, const Error& error) const noexcept;

  std::shared_ptr<const identity::Provider> provider_;
  Mark at_;
  std::string key_challenge_;  ///< for API keys
  std::string dpop_algorithms_;
};

/// A token as a request shows it: `Authorization: Bearer TOKEN` or `DPoP TOKEN` (RFC 9449 §7.1).
struct Credentials {
  std::string_view token;
  bool dpop = false;
};
/// The error stands for a question that nobody may ask here: whether the credentials are good is
/// open.
[[nodiscard]] bool needs_others(const Error& error) noexcept;

/// kCredentialsMissing without the field or with another scheme, kTokenMalformed for anything but
/// one space and one token behind the scheme.
[[nodiscard]] Result<Credentials> shown_token(const http::RequestHead& head) noexcept;
/// True when the query has a parameter `access_token` (RFC 6750 §2.3): it stands in logs, histories
/// and referrers by then.
[[nodiscard]] bool has_token_in_query(std::string_view query) noexcept;

}  // namespace merlon::policy
