#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "config/schema.h"
#include "identity/algorithm.h"

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

/// One entry of `identity:`: an issuer of tokens, or a file of keys.
struct ProviderConfig {
  std::optional<Located<std::string>> issuer;
  std::vector<Located<std::string>> audiences;
  std::optional<Located<config::FilePath>> jwks_file;
  std::optional<std::vector<Located<Algorithm>>> algorithms;
  std::optional<Located<milliseconds>> leeway;
  std::optional<Located<milliseconds>> lifetime_max;
  std::optional<Located<TokenType>> type;
  std::optional<Located<config::FilePath>> revocations;
  std::optional<ApiKeysConfig> api_keys;
  Mark at;
};

[[nodiscard]] const config::Object<ProviderConfig>& provider_schema();

}  // namespace merlon::identity
