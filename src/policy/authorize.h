#pragma once

#include <string>
#include <vector>

#include "policy/auth_config.h"
#include "policy/policy.h"

namespace merlon::identity {
class Provider;
}  // namespace merlon::identity

namespace merlon::policy {

/// May they: every scope of the route, and of each claim one of its values. 403 for who is known
/// but may not (RFC 6750 §3.1 insufficient_scope).
class Authorize final : public Policy {
 public:
  Authorize(const AuthConfig& config, const identity::Provider& provider);

  [[nodiscard]] std::string_view name() const noexcept override { return "auth"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kAuthorize; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  struct Claim {
    std::size_t number = 0;  ///< in Identity
    std::vector<std::string> values;
    Mark at;
  };
  struct Scope {
    std::string name;
    Mark at;
  };

  Mark at_;
  std::vector<Scope> scopes_;
  std::vector<Claim> claims_;
  std::string bearer_challenge_;  ///< empty: not for tokens
  std::string dpop_challenge_;
};

}  // namespace merlon::policy
