#pragma once

#include <string_view>
#include <vector>

#include "audit/nginx/model.h"

namespace merlon::audit::nginx {

/// True when ssl_protocols names `version`.
[[nodiscard]] bool offers(const Directive& protocols, std::string_view version);

/// The versions below TLSv1.2 that are offered, the oldest first, and the directive that does it.
struct Legacy {
  std::vector<std::string_view> versions;
  const Directive* by = nullptr;
};

/// What ssl_protocols offers at `scope`, and what ssl_conf_command makes of it.
[[nodiscard]] Legacy legacy_of(const Scope& scope);

}  // namespace merlon::audit::nginx
