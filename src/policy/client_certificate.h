#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policy/auth_config.h"
#include "policy/policy.h"

namespace merlon::tls {
struct ClientCertificate;
}  // namespace merlon::tls

namespace merlon::policy {

/// Of a connection that `explain` made up, where clients are asked for certificates: what one would
/// say is open.
inline constexpr char kShownAtRunTime[] = "client certificates are shown at run time only";

/// Who is asking, by the certificate of the connection, step 7: 403 without one (no field of HTTP
/// could ask for it), and 403 for one that has none of the listed names, or comes from none of the
/// listed issuers. Where the route asks for nothing else, the name that fitted is the identity, or
/// without names that of the certificate's subject.
class CertificateCheck final : public Policy {
 public:
  /// `alone`: the route asks for no other credentials.
  CertificateCheck(const ClientCertConfig& config, bool alone);

  [[nodiscard]] std::string_view name() const noexcept override { return "auth"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kAuthenticate; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;
  /// True when not every certificate that the listener takes is let in.
  [[nodiscard]] bool picks() const noexcept { return !names_.empty() || !issuers_.empty(); }

 private:
  struct Name {
    NameKind kind;
    std::string text;
    /// Made once: whoever holds the name is the same to all that follows.
    std::shared_ptr<const identity::Identity> identity;
  };
  struct Issuer {
    bool digest = false;
    std::string text;  ///< a distinguished name, or 64 hexadecimal digits
  };
  [[nodiscard]] const Name* held_by(const tls::ClientCertificate& shown) const noexcept;
  [[nodiscard]] bool issued(const tls::ClientCertificate& shown) const noexcept;

  std::vector<Name> names_;
  std::vector<Issuer> issuers_;
  Mark at_;
  bool alone_;
};

}  // namespace merlon::policy
