#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "config/schema.h"
#include "identity/algorithm.h"
#include "upstream/https_url.h"

/// The keys under `identity:`: whom callers can be known by.
namespace merlon::identity {

using config::Located;

/// What `typ` tokens must state.
enum class TokenType : std::uint8_t { kAny, kAccessToken };

struct ApiKeysConfig {
  Located<config::FilePath> file;
  Located<std::string> header{.value = "X-Api-Key", .at = {}};
  Mark at;
};

/// What the gateway trusts of those that it asks itself.
struct IdentityTls {
  std::optional<Located<config::FilePath>> ca;  ///< absent: the authorities of the system
  Mark at;
};

/// Asking an authorisation server what an opaque token is worth (RFC 7662).
struct IntrospectionConfig {
  Located<upstream::HttpsUrl> url;
  std::string client_id;
  Located<config::FilePath> secret_file;
  Located<milliseconds> cache{.value = seconds{30}, .at = {}};
  Mark at;
};

/// What of DPoP (RFC 9449) is asked for beyond what a bound token asks for by itself.
struct DpopConfig {
  bool required = false;  ///< tokens that are not bound by DPoP are refused
  bool nonce = false;     ///< proofs must show a nonce of ours
  Mark at;
};

/// What tokens open, as it calls itself (RFC 9728 §2: compared as it is written, so kept so).
struct Resource {
  std::string written;
  upstream::HttpsUrl url;

  bool operator==(const Resource&) const = default;
};

/// One entry of `identity:`: an issuer of tokens, someone to ask about them, or a file of keys.
struct ProviderConfig {
  std::optional<Located<std::string>> issuer;
  std::vector<Located<std::string>> audiences;
  std::optional<Located<config::FilePath>> jwks_file;
  std::optional<Located<upstream::HttpsUrl>> jwks_uri;
  std::vector<Located<std::string>> hosts;
  std::optional<IdentityTls> tls;
  std::optional<Located<milliseconds>> stale_for;
  std::optional<std::vector<Located<Algorithm>>> algorithms;
  std::optional<Located<milliseconds>> leeway;
  std::optional<Located<milliseconds>> lifetime_max;
  std::optional<Located<TokenType>> type;
  std::optional<Located<config::FilePath>> revocations;
  std::optional<ApiKeysConfig> api_keys;
  std::optional<IntrospectionConfig> introspection;
  std::optional<DpopConfig> dpop;
  std::optional<Located<Resource>> resource;
  Mark at;

  /// True when its keys come over the network.
  [[nodiscard]] bool fetches_keys() const noexcept {
    return issuer.has_value() && !introspection.has_value() && !jwks_file.has_value();
  }
};

[[nodiscard]] const config::Object<ProviderConfig>& provider_schema();

}  // namespace merlon::identity
