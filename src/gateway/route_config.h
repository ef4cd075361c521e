#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "gateway/plan.h"
#include "gateway/upstream_config.h"
#include "policy/auth_config.h"
#include "policy/policy_list.h"

/// The keys under `routes:`.
namespace merlon::gateway {

struct MatchConfig {
  std::vector<Located<std::string>> hosts;  ///< patterns, see patterns.h
  Located<std::string> path;
};

struct RewriteConfig {
  std::optional<Located<std::string>> strip_prefix;
  std::optional<Located<std::string>> add_prefix;
  Mark at;  ///< unknown when the block is absent, as in the blocks below
};

struct HeadersConfig {
  std::map<std::string, Located<std::string>, std::less<>> set;
  std::vector<Located<std::string>> remove;
};

struct ForwardConfig {
  bool authorization = false;
  std::vector<Located<std::string>> identity;  ///< claims
  bool client_cert = false;
  Mark at;
};

struct RespondConfig {
  Located<std::uint16_t> status;
  std::optional<Located<std::string>> body;
  std::optional<Located<std::string>> content_type;
  Mark at;
};

/// With the keys of the policies, see policy_list.h.
struct RouteConfig : policy::Settings {
  std::string name;
  MatchConfig match;
  Located<std::vector<Located<std::string>>> methods;
  policy::AuthConfig auth;
  RewriteConfig rewrite;
  HeadersConfig headers;
  ForwardConfig forward;
  Located<milliseconds> timeout{.value = milliseconds{30'000}, .at = {}};
  std::optional<Located<std::string>> upstream;
  std::optional<RespondConfig> respond;
  Mark at;
};

[[nodiscard]] const config::Object<RouteConfig>& route_schema();

}  // namespace merlon::gateway
