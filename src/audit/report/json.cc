#include <nlohmann/json.hpp>
#include <string>

#include "audit/fingerprint.h"
#include "audit/report/view.h"
#include "audit/report/writers.h"

namespace merlon::audit::report {
namespace {

using Json = nlohmann::ordered_json;

Json location_of(const Mark& at) {
  if (!at.known()) return nullptr;
  return {
      {"path", at.source->path}, {"line", at.line}, {"column", at.column}, {"length", at.length}};
}

Json list_of(std::string_view text) {
  Json out = Json::array();
  for (const std::string_view part : split_list(text)) out.push_back(part);
  return out;
}

Json grade_of(const AuditResult& result) {
  const Grade grade = audit::grade(result);
  return {{"letter", std::string(1, grade.letter)}, {"reasons", grade.reasons}};
}

Json summary_of(const AuditResult& result) {
  const LevelCounts levels = count_levels(result);
  Json out;
  for (std::size_t i = std::size(levels.of); i-- > 0;) {
    out[std::string(name(static_cast<Level>(i)))] = levels.of[i];
  }
  std::uint64_t waived = 0;
  std::uint64_t known = 0;
  for (const Finding& finding : result.findings) {
    if (status_of(finding) == Status::kWaived) ++waived;
    if (status_of(finding) == Status::kKnown) ++known;
  }
  out["waived"] = waived;
  out["known"] = known;
  return out;
}

Json counts_of(const Counts& counts) {
  return {{"files", counts.files},           {"lines", counts.lines},
          {"directives", counts.directives}, {"includes", counts.includes},
          {"rules", counts.rules},           {"unknown_directives", counts.unknown_directives}};
}

Json fix_of(const Finding& finding, const Excerpts& excerpts) {
  Json out = Json::array();
  for (const Edit& edit : finding.fix) {
    if (!excerpts.may_show(edit)) continue;
    out.push_back({{"path", edit.file->path},
                   {"first_line", edit.first_line},
                   {"last_line", edit.last_line},
                   {"replacement", edit.replacement}});
  }
  return out;
}

Json trail_of(const Finding& finding) {
  Json out = Json::array();
  for (const TrailStep& step : finding.trail) {
    out.push_back({{"location", location_of(step.at)}, {"text", step.text}});
  }
  return out;
}

Json finding_of(const Finding& finding, const std::string& print, const Excerpts& excerpts) {
  const config::Rule* rule = rule_of(finding.rule);
  const auto of_rule = [&](std::string_view config::Rule::* field) {
    return rule == nullptr ? std::string_view{} : rule->*field;
  };
  Json out = {{"rule", finding.rule},
              {"slug", of_rule(&config::Rule::slug)},
              {"title", of_rule(&config::Rule::title)},
              {"level", name(finding.level)},
              {"confidence", name(finding.confidence)},
              {"status", name(status_of(finding))},
              {"fingerprint", print},
              {"location", location_of(finding.at)},
              {"source", nullptr},
              {"message", finding.message},
              {"evidence", finding.evidence},
              {"remediation", remedy_of(finding)},
              {"trail", trail_of(finding)},
              {"affected", finding.affected},
              {"fix", fix_of(finding, excerpts)},
              {"waived", finding.waived},
              {"owasp", list_of(of_rule(&config::Rule::owasp))},
              {"nist", list_of(of_rule(&config::Rule::nist))},
              {"cwe", list_of(of_rule(&config::Rule::cwe))},
              {"cis", list_of(of_rule(&config::Rule::cis))}};
  if (excerpts.may_show(finding.at)) out["source"] = excerpts.line(finding.at);
  return out;
}

Json findings_of(const AuditResult& result) {
  const Excerpts excerpts(result);
  const std::vector<std::string> prints = fingerprints(result);
  Json out = Json::array();
  for (std::size_t i = 0; i < result.findings.size(); ++i) {
    out.push_back(finding_of(result.findings[i], prints[i], excerpts));
  }
  return out;
}

Json gaps_of(const AuditResult& result) {
  Json out = Json::array();
  for (const Gap& gap : result.gaps) {
    out.push_back({{"path", gap.path}, {"location", location_of(gap.at)}, {"what", gap.what}});
  }
  return out;
}

Json not_checked_of(const AuditResult& result) {
  Json out = Json::array();
  for (const NotChecked& rule : result.not_checked) {
    out.push_back({{"rule", rule.rule}, {"why", rule.why}});
  }
  return out;
}

Json measures_of(const AuditResult& result) {
  Json out = Json::array();
  for (const Measure& measure : result.measures) {
    Json entry = {{"what", measure.what},
                  {"how", measure.how},
                  {"owasp", split_list(measure.owasp)},
                  {"nist", split_list(measure.nist)},
                  {"always", measure.total == 0},
                  {"waived", measure.waived}};
    if (measure.total != 0) {
      entry["covered"] = measure.covered;
      entry["total"] = measure.total;
      entry["missing"] = measure.missing;
    }
    out.push_back(std::move(entry));
  }
  return out;
}

Json exposure_of(const AuditResult& result) {
  Json out = Json::array();
  for (const ExposureRow& row : result.exposure) {
    out.push_back({{"location", location_of(row.at)},
                   {"listener", row.listener},
                   {"host", row.host},
                   {"route", row.route},
                   {"auth", row.auth},
                   {"limit", row.limit},
                   {"tls", row.tls},
                   {"upstream", row.upstream},
                   {"upstream_tls", row.upstream_tls}});
  }
  return out;
}

Json certificates_of(const AuditResult& result) {
  Json out = Json::array();
  for (const CertificateSeen& seen : result.certificates) {
    out.push_back({{"location", location_of(seen.at)},
                   {"path", seen.path},
                   {"subject", seen.subject},
                   {"issuer", seen.issuer},
                   {"names", seen.names},
                   {"key", seen.key},
                   {"not_before", date_time_of(seen.not_before)},
                   {"not_after", date_time_of(seen.not_after)}});
  }
  return out;
}

Json waivers_of(const AuditResult& result) {
  Json out = Json::array();
  for (const Waiver& waiver : result.waivers) {
    out.push_back({{"location", location_of(waiver.at)},
                   {"rule", waiver.rule},
                   {"reason", waiver.reason},
                   {"owner", waiver.owner},
                   {"expires", waiver.expires},
                   {"expired", waiver.expired},
                   {"used", waiver.used},
                   {"problem", waiver.problem}});
  }
  return out;
}

}  // namespace

std::string render_json(const AuditResult& result, const RenderOptions& options) {
  Json kinds = Json::array();
  for (const Kind kind : result.kinds) kinds.push_back(name(kind));
  const Json report = {{"format", "merlon-audit-report"},
                       {"format_version", 1},
                       {"tool", {{"name", "merlon"}, {"version", MERLON_VERSION}}},
                       {"generated", date_time_of(options.now)},
                       {"grade", grade_of(result)},
                       {"summary", summary_of(result)},
                       {"kinds", kinds},
                       {"inputs", result.inputs},
                       {"counts", counts_of(result.counts)},
                       {"findings", findings_of(result)},
                       {"rules_judged", result.rules_judged},
                       {"gaps", gaps_of(result)},
                       {"not_checked", not_checked_of(result)},
                       {"unknown_directives", result.unknown_directives},
                       {"exposure", exposure_of(result)},
                       {"measures", measures_of(result)},
                       {"certificates", certificates_of(result)},
                       {"waivers", waivers_of(result)}};
  // ASCII only: the report is safe to look at in a terminal, and bytes that are no UTF-8 become
  // U+FFFD instead of an exception.
  return report.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace merlon::audit::report
