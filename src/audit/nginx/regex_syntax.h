#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace merlon::audit::nginx {

/// What keeps PCRE, in every version that nginx is built with, from compiling a pattern; "" when
/// nothing does, or when versions may differ about it.
[[nodiscard]] std::string refused_regex(std::string_view pattern);

/// What group `number` holds when `pattern` is found in `text`, as PCRE does it; nullopt when it is
/// not found, or not within a bound of steps.
[[nodiscard]] std::optional<std::string> captured(std::string_view pattern, bool ignore_case,
                                                  std::string_view text, std::size_t number);

/// Where capturing group `number` opens in a regular expression; npos when it has none.
[[nodiscard]] std::size_t start_of_group(std::string_view regex, std::size_t number);

}  // namespace merlon::audit::nginx
