#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

/// The keys under a route's `auth`.
namespace merlon::policy {

using config::Located;

/// The kinds of names in a certificate (RFC 5280 §4.2.1.6) that a route can ask for.
enum class NameKind : std::uint8_t { kDns, kUri, kEmail };
/// By its form: with `://` a URI, else with `@` an e-mail address, else a DNS name.
[[nodiscard]] NameKind kind_of_name(std::string_view name) noexcept;

/// What a digest of an issuer begins with.
inline constexpr std::string_view kIssuerDigest = "sha256:";

struct ClientCertConfig {
  std::vector<Located<std::string>> names;    ///< one of them is enough; empty: not asked
  std::vector<Located<std::string>> issuers;  ///< so here; where both are there, both must fit
  Mark at;
};

struct AuthConfig {
  bool none = false;                               ///< `auth: none`: everyone
  std::optional<Located<std::string>> jwt;         ///< a name under `identity`
  std::optional<Located<std::string>> introspect;  ///< a name under `identity`
  std::optional<Located<std::string>> api_key;     ///< a name under `identity`
  std::optional<ClientCertConfig> client_cert;
  std::vector<Located<std::string>> scopes;  ///< all of them
  /// Claims by name or JSON Pointer; each must have one of the values.
  std::map<std::string, std::vector<Located<std::string>>, std::less<>> claims;
  Mark at;

  /// The name under `identity` that is used; nullptr when none is.
  [[nodiscard]] const Located<std::string>* provider() const noexcept {
    if (jwt.has_value()) return &*jwt;
    if (introspect.has_value()) return &*introspect;
    return api_key.has_value() ? &*api_key : nullptr;
  }
};

[[nodiscard]] const config::Object<AuthConfig>& auth_schema();

/// The JSON Pointer of a claim as routes name it: its name, or a pointer itself.
[[nodiscard]] std::string claim_pointer(std::string_view name);

}  // namespace merlon::policy
