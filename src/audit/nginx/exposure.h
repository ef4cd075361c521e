#pragma once

#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {

/// Adds a row of the exposure map for every location that can be reached, and for every server
/// that answers without one. At most 5,000 rows.
void map_exposure(Inspection& inspection);

}  // namespace merlon::audit::nginx
