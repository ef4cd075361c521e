#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace merlon::audit {

/// Where the comments of a YAML text begin, in bytes from its start and in order. A "#" in a quoted
/// or in a block scalar begins none, but those of an Envoy configuration that a Kubernetes
/// ConfigMap holds as a block scalar count.
[[nodiscard]] std::vector<std::size_t> yaml_comments(std::string_view text);

}  // namespace merlon::audit
