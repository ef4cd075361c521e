#pragma once

#include <string>
#include <string_view>

namespace merlon::audit {

/// The password of an htpasswd field, when it is one that everyone tries first for `user`
/// ("admin", "password", the user's own name …); "" when it is none of them or the scheme is slow
/// or not known. Knows {PLAIN}, {SHA} and $apr1$; at most two dozen guesses.
[[nodiscard]] std::string well_known_password(std::string_view user, std::string_view field);

}  // namespace merlon::audit
