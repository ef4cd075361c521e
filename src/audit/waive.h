#pragma once

#include "audit/audit.h"

namespace merlon::audit {

/// Reads the waivers that stand in comments of the texts that were audited, and marks the findings
/// that they cover: `# merlon: waive HDR-01 until 2027-02-01 reason`, on the finding's line or on
/// the line before it. A waiver without a reason or a valid date, or one that is past, covers
/// nothing and says why.
void apply_waivers(AuditResult& result, const Options& options);

}  // namespace merlon::audit
