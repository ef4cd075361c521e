#pragma once

#include <string>
#include <vector>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {

/// One way from a scope to its upstream, with constants filled in and upstream blocks looked up.
struct Hop {
  const Scope* scope = nullptr;
  const Directive* pass = nullptr;
  Target target;  ///< of the *_pass, its variables replaced where they are constant
  std::vector<std::string> hosts;  ///< the hosts of the upstream block; empty when there is none
  Distance distance = Distance::kLoopback;  ///< of the farthest host
  bool is_tls = false;
  bool resolved = false;  ///< every host is known
};

/// The hops of all scopes of http that have a *_pass.
[[nodiscard]] std::vector<Hop> hops(const Inspection& inspection);

/// Where a scope has the keys fetched that verify its tokens.
struct KeySource {
  const Directive* request = nullptr;  ///< auth_jwt_key_request
  const Location* location = nullptr;  ///< the one that it asks
};
[[nodiscard]] std::vector<KeySource> key_sources(const Model& model);

}  // namespace merlon::audit::nginx
