#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace merlon::audit {

/// Calls `take` with user and hash of each line of an htpasswd text.
template <class F>
void for_each_password(std::string_view text, F&& take) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (line.starts_with('#') || colon == std::string_view::npos) continue;
    take(line.substr(0, colon), line.substr(colon + 1));
  }
}

/// The password of an htpasswd field, when it is one that everyone tries first for `user`
/// ("admin", "password", the user's own name …); "" when it is none of them or the scheme is slow
/// or not known. Knows {PLAIN}, {SHA} and $apr1$; at most two dozen guesses.
[[nodiscard]] std::string well_known_password(std::string_view user, std::string_view field);

}  // namespace merlon::audit
