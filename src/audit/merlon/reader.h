#pragma once

#include <memory>
#include <string>

#include "audit/audit.h"

/// Merlon's own configuration, read by the gateway's own loader: what is reported is what would be
/// in force, with the waivers that make it so.
namespace merlon::audit::own {

/// Adds what the configuration says to `out`: findings (violated rules, waived or not), routes,
/// certificates, waivers, measures. Errors that are no rule's are gaps: there is no posture of what
/// cannot be loaded. `on_disk`: includes and named files are read.
void audit_file(const std::shared_ptr<const Source>& source, const Options& options, bool on_disk,
                AuditResult& out);

}  // namespace merlon::audit::own
