#pragma once

#include <string>
#include <string_view>

#include "audit/audit.h"

namespace merlon::audit {

/// Marks the findings whose fingerprints the baseline file lists. The file holds one fingerprint a
/// line; what follows a blank is for people. A file that cannot be read is a gap.
void apply_baseline(AuditResult& result, const Options& options);

/// The findings that count now, as the text of a baseline file.
[[nodiscard]] std::string render_baseline(const AuditResult& result);

}  // namespace merlon::audit
