#pragma once

#include "audit/finding.h"
#include "gateway/load.h"

namespace merlon::audit::own {

/// What the configuration does for security, with the OWASP risks and NIST controls that each
/// measure serves: those that Merlon always takes, and those that routes ask for, with how many do.
void add_measures(const gateway::LoadResult& loaded, AuditResult& out);

}  // namespace merlon::audit::own
