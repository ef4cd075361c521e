#include <fmt/format.h>

#include "audit/audit.h"
#include "audit/report/escape.h"

namespace merlon::audit {

/// Names of files and words of configurations come from others: no control character of theirs
/// reaches a terminal.
using report::printable;

std::string render_lines(const AuditResult& result) {
  std::string out;
  for (const Finding& finding : result.findings) {
    std::string state;
    if (!finding.waived.empty()) state = " (waived)";
    if (finding.baseline) state = " (known)";
    out += fmt::format("{}: {} {} {}{}\n", printable(finding.at.to_string()), name(finding.level),
                       finding.rule, printable(finding.message), state);
  }
  for (const Gap& gap : result.gaps) {
    const std::string place = gap.at.known() ? gap.at.to_string() : gap.path;
    out += fmt::format("{}: not read: {}\n", printable(place), printable(gap.what));
  }
  return out;
}

}  // namespace merlon::audit
