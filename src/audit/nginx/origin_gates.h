#pragma once

#include <string_view>
#include <vector>

#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {

/// One way in which an Origin gets into the answer: what it is compared with, and where.
struct OriginGate {
  const Directive* at = nullptr;  ///< the map entry or the if
  std::string_view pattern;       ///< a regular expression, or the exact origin
  bool regex = false;
  bool ignore_case = false;
};

/// All that lets an Origin through; `open` when nothing at all stands in its way.
struct OriginGates {
  std::vector<OriginGate> list = {};
  const Directive* open = nullptr;
  bool unknown = false;  ///< something that is not understood decides
};

/// All that lets an Origin into `value`, which `header` sends in `scope`: through maps, sets, and
/// the ifs around them. What leads further than is followed is noted as not judged.
[[nodiscard]] OriginGates gates_of_origin(Inspection& in, const Directive& header,
                                          std::string_view value, const Scope& scope);

}  // namespace merlon::audit::nginx
