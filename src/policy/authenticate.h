#pragma once

#include <memory>
#include <string>

#include "identity/provider.h"
#include "policy/policy.h"

namespace merlon::policy {

/// Who is asking: a token (RFC 6750) or an API key of one provider. Refuses with 401 and a
/// challenge, 503 while the issuer's keys are not there, and 429 for clients that have failed too
/// often of late. Puts the identity into the context.
class Authenticate final : public Policy {
 public:
  /// `at` is the line of the configuration that asks for it, kept by the caller's plan.
  Authenticate(std::shared_ptr<const identity::Provider> provider, Mark at);

  [[nodiscard]] std::string_view name() const noexcept override { return "auth"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kAuthenticate; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  [[nodiscard]] Result<std::shared_ptr<const identity::Identity>> authenticate(
      Context& context) const;
  [[nodiscard]] Decision refuse(Context& context, const Error& error) const noexcept;

  std::shared_ptr<const identity::Provider> provider_;
  Mark at_;
  std::string challenge_;  ///< for API keys
};

/// The token of `Authorization: Bearer TOKEN`. kCredentialsMissing without the field or with
/// another scheme, kTokenMalformed for anything but one space and one token behind the scheme.
[[nodiscard]] Result<std::string_view> bearer_token(const http::RequestHead& head) noexcept;
/// True when the query has a parameter `access_token` (RFC 6750 §2.3): it stands in logs, histories
/// and referrers by then.
[[nodiscard]] bool has_token_in_query(std::string_view query) noexcept;

}  // namespace merlon::policy
