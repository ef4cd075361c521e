#pragma once

#include <memory>
#include <string_view>

#include "audit/nginx/syntax.h"

namespace merlon::audit::nginx {

/// The text of a file that a tool installs the same on every host, by the name under which a
/// configuration includes it: Certbot's options-ssl-nginx.conf, which lies outside of the folders
/// that are given. For where it is not among the files; nullptr for any other name.
[[nodiscard]] std::shared_ptr<const Source> well_known_file(std::string_view name);

}  // namespace merlon::audit::nginx
