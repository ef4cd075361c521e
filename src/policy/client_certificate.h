#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/auth_config.h"
#include "policy/policy.h"

namespace merlon::policy {

/// Who is asking, by the certificate of the connection, step 7: 403 without one (no field of HTTP
/// could ask for it), and 403 for one that has none of the listed names. Where the route asks for
/// nothing else, the name that fitted is the identity.
class CertificateCheck final : public Policy {
 public:
  /// `alone`: the route asks for no other credentials.
  CertificateCheck(const ClientCertConfig& config, bool alone);

  [[nodiscard]] std::string_view name() const noexcept override { return "auth"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kAuthenticate; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  struct Name {
    NameKind kind;
    std::string text;
    /// Made once: whoever holds the name is the same to all that follows.
    std::shared_ptr<const identity::Identity> identity;
  };
  std::vector<Name> names_;
  Mark at_;
  bool alone_;
};

}  // namespace merlon::policy
