#include "audit/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "audit/fingerprint.h"
#include "audit/nginx/files.h"

namespace merlon::audit {

void apply_baseline(AuditResult& result, const Options& options) {
  if (options.baseline_path.empty()) return;
  FileReader files(options);
  const std::size_t slash = options.baseline_path.rfind('/');
  files.allow(slash == std::string::npos ? "." : options.baseline_path.substr(0, slash + 1));
  const FileReader::Read got = files.read(options.baseline_path, options.baseline_path);
  if (got.source == nullptr) {
    result.gaps.push_back({{}, options.baseline_path, "the baseline: " + got.refusal});
    return;
  }
  std::set<std::string_view> known;
  const std::string_view text = got.source->text;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (!line.starts_with('#')) known.insert(line.substr(0, line.find_first_of(" \t\r")));
    at = end + 1;
  }
  const std::vector<std::string> prints = fingerprints(result);
  for (std::size_t i = 0; i < prints.size(); ++i) {
    result.findings[i].baseline = known.contains(prints[i]);
  }
}

std::string render_baseline(const AuditResult& result) {
  std::string out = "# Findings that are known. One fingerprint a line; the rest is for people.\n";
  const std::vector<std::string> prints = fingerprints(result);
  for (std::size_t i = 0; i < prints.size(); ++i) {
    const Finding& finding = result.findings[i];
    if (!finding.waived.empty()) continue;
    out += fmt::format("{} {} {}\n", prints[i], finding.rule, finding.at.file_line());
  }
  return out;
}

}  // namespace merlon::audit
