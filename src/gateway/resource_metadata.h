#pragma once

#include "gateway/config.h"

namespace merlon::gateway {

/// True when something under `identity` has a `resource`.
[[nodiscard]] bool has_resource(const Config& config);

/// Adds a public route with a fixed answer for each `resource`: its metadata document (RFC 9728),
/// with the issuers and scopes of all that name it. So routing, limits, `explain` and the posture
/// report know it as they know any other. An error where no route names the host: the most specific
/// host decides alone which routes are looked at, so the document would hide all others.
void add_resource_metadata(Config& config, Diagnostics& out);

}  // namespace merlon::gateway
