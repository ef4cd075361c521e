#pragma once

#include <string>
#include <vector>

#include "audit/finding.h"

namespace merlon::audit {

/// A stable fingerprint of every finding, in their order, for baselines and SARIF: rule, path of
/// the file within what was given, and the text of the line, so that moving a block does not make
/// its findings new. 16 hex digits; the second and further ones that are the same end in ":2", ":3"
/// …, so that each is its own.
[[nodiscard]] std::vector<std::string> fingerprints(const AuditResult& result);

}  // namespace merlon::audit
