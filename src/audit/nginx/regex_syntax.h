#pragma once

#include <string>
#include <string_view>

namespace merlon::audit::nginx {

/// What keeps PCRE, in every version that nginx is built with, from compiling a pattern; "" when
/// nothing does, or when versions may differ about it.
[[nodiscard]] std::string refused_regex(std::string_view pattern);

}  // namespace merlon::audit::nginx
