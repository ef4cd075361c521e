#pragma once

#include <string>
#include <vector>

#include "audit/nginx/model.h"

namespace merlon::audit::nginx {

/// A place of a template that was not filled in.
struct Unfilled {
  const Directive* at = nullptr;
  const Word* word = nullptr;
  std::string name;  ///< as written, "${NGINX_PORT}"
};

/// What envsubst and its like were to fill in, the first of each file: a "${NAME}" in capitals that
/// nothing in the files defines as a variable, any variable in `listen`, which takes none, and the
/// marks of ERB, Jinja and Go and an "@NAME@" where they can be nothing else. A snippet for the
/// inside of a server or location has none: whoever includes it may define it.
[[nodiscard]] std::vector<Unfilled> unfilled_places(const Model& model);

}  // namespace merlon::audit::nginx
