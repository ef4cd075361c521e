#pragma once

#include <map>
#include <string>
#include <string_view>
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

/// The scopes of servers that other hosts reach, by the sockets of this host that they pass on to.
class Fronts {
 public:
  explicit Fronts(const Model& model);

  /// True when only this host reaches the server of `scope`, and no front is known to hand it the
  /// header `field` as its client wrote it: whoever is in front speaks for it.
  [[nodiscard]] bool speak_for(const Scope& scope, std::string_view field) const;

 private:
  const Model& model_;
  std::multimap<std::string, const Scope*> scopes_;  ///< by port, or "unix:/path"
};

/// Where a scope has the keys fetched that verify its tokens.
struct KeySource {
  const Directive* request = nullptr;  ///< auth_jwt_key_request
  const Location* location = nullptr;  ///< the one that it asks
};
[[nodiscard]] std::vector<KeySource> key_sources(const Model& model);

}  // namespace merlon::audit::nginx
