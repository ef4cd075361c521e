#pragma once

#include <string>

#include "audit/nginx/syntax.h"

namespace merlon::audit::nginx {

/// Why every nginx refuses the arguments of a directive that it parses by a function of its own; ""
/// when it takes them, or when what it makes of them is not known here.
[[nodiscard]] std::string refused_arguments(const Directive& directive);

}  // namespace merlon::audit::nginx
