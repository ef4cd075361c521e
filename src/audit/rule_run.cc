#include "audit/rule_run.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "config/catalogue.h"

namespace merlon::audit {

namespace {

/// A report that left findings out must not look whole: the gap makes the exit code 3.
void note_cut(AuditResult& out, const Options& options, const Mark& at) {
  if (std::exchange(out.findings_cut, true)) return;
  out.gaps.push_back({at, at.source == nullptr ? "" : at.source->path,
                      fmt::format("more than {} findings: the gravest are told, others left out",
                                  options.findings_max)});
}

}  // namespace

Finding& add_finding(AuditResult& out, const Options& options, std::string_view rule, Level level,
                     Mark at, std::string message) {
  static thread_local Finding left_out;
  if (++out.reported[static_cast<std::size_t>(level)] > options.findings_max) {
    note_cut(out, options, at);
    left_out = {};
    return left_out;
  }
  Finding& finding = out.findings.emplace_back();
  finding.rule = rule;
  finding.level = level;
  finding.at = std::move(at);
  finding.message = std::move(message);
  return finding;
}

void cut_findings(AuditResult& out, const Options& options) {
  if (out.findings.size() <= options.findings_max) return;
  note_cut(out, options, out.findings[options.findings_max].at);
  out.findings.resize(options.findings_max);
}

void add_not_checked(AuditResult& out, std::string_view rule, std::string_view why) {
  const bool known = std::ranges::any_of(
      out.not_checked, [&](const NotChecked& other) { return other.rule == rule; });
  if (!known) out.not_checked.push_back({std::string(rule), std::string(why)});
}

void add_failure(AuditResult& out, const Options& options, std::string_view rule,
                 std::string_view what) {
  const std::string path = out.inputs.empty() ? std::string{} : out.inputs.back();
  const Mark at{.source = std::make_shared<const Source>(Source{path, {}}), .line = 1, .column = 1};
  const std::string why = fmt::format("rule {} failed and was not judged: {}", rule, what);
  add_finding(out, options, "CFG-01", Level::kHigh, at, why);
  out.gaps.push_back({at, path, why});
  add_not_checked(out, rule, "it failed");
}

std::string join_some(std::span<const std::string> words, std::size_t shown) {
  std::string out;
  for (std::size_t i = 0; i < words.size() && i < shown; ++i) {
    if (i > 0) out += i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  if (words.size() > shown) out += fmt::format(" and {} more", words.size() - shown);
  return out;
}

void fill_remedies(AuditResult& out, std::size_t first, Kind kind) {
  for (std::size_t i = first; i < out.findings.size(); ++i) {
    Finding& finding = out.findings[i];
    const config::Rule* rule = config::find_rule_by_id(finding.rule);
    if (rule == nullptr || !finding.remediation.empty()) continue;
    finding.remediation = kind == Kind::kNginx ? rule->nginx_remedy : rule->envoy_remedy;
  }
}

std::int64_t judged_at(const Options& options) {
  if (options.now != 0) return options.now;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace merlon::audit
