#pragma once

#include "audit/envoy/rules.h"

namespace merlon::audit::envoy {

/// Adds a row of the exposure map for every route that was read.
void map_exposure(Inspection& inspection);

}  // namespace merlon::audit::envoy
