#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/ip.h"
#include "base/time.h"
#include "identity/digest.h"
#include "identity/identity.h"

namespace merlon::identity {

class Provider;

/// What has to be found out elsewhere before a request can be judged: a policy asks, the request
/// waits, the agent does it, the policy judges again.
struct Errand {
  enum class Kind : std::uint8_t {
    kKeys,           ///< the keys of an issuer, for a `kid` that is not among them
    kIntrospection,  ///< what an opaque token is worth
  };
  Kind kind = Kind::kKeys;
  std::shared_ptr<const Provider> provider;
  std::string subject;    ///< the `kid`, or the token
  IpAddress client{};     ///< on whose behalf, as clients are told apart (IpAddress::client_key)
  Sha256 token_digest{};  ///< of an introspection

  // ---- Written by the request's worker once the answer is there, or the time over. ----
  bool done = false;
  /// Of an introspection who it is; of keys null when it is worth judging again. Errors:
  /// kKeysUnavailable, kTokenKeyUnknown, kTokenKeyPending, kIntrospectionFailed,
  /// kIntrospectionRefused, kAuthenticationBudget, and what speaks against the token.
  Result<std::shared_ptr<const Identity>> answer = nullptr;
  Instant good_until{};  ///< an introspection's answer may be used for so long

  /// How long a request waits for it.
  [[nodiscard]] static constexpr milliseconds patience(Kind kind) noexcept {
    return kind == Kind::kKeys ? milliseconds{3'000} : milliseconds{5'000};
  }
};

/// What the agent found out.
struct ErrandAnswer {
  Result<std::shared_ptr<const Identity>> identity = nullptr;
  Instant good_until{};  ///< unset: the answer is for this errand only
};

}  // namespace merlon::identity
