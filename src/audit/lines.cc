#include <fmt/format.h>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

/// Names of files and words of configurations come from others: no control character of theirs
/// reaches a terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

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
