#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "audit/fingerprint.h"
#include "audit/report/escape.h"
#include "audit/report/taxonomy.h"
#include "audit/report/view.h"
#include "audit/report/writers.h"
#include "base/ascii.h"

/// SARIF 2.1.0 (OASIS Standard, 27 March 2020, errata 01 of 28 August 2023).
namespace merlon::audit::report {
namespace {

using Json = nlohmann::ordered_json;

std::string_view sarif_level(Level level) noexcept {
  switch (level) {
    case Level::kCritical:
    case Level::kHigh:
      return "error";
    case Level::kMedium:
      return "warning";
    case Level::kLow:
    case Level::kInfo:
      return "note";
  }
  return "note";
}

/// The number that code scanning services rank by: the middle of the level's CVSS range.
std::string_view security_severity(Level level) noexcept {
  switch (level) {
    case Level::kCritical:
      return "9.5";
    case Level::kHigh:
      return "8.0";
    case Level::kMedium:
      return "5.5";
    case Level::kLow:
      return "2.5";
    case Level::kInfo:
      return "0.0";
  }
  return "0.0";
}

bool is_placeholder(std::string_view text) noexcept {
  std::size_t i = 1;
  while (i < text.size() && ascii::is_digit(text[i])) ++i;
  return i > 1 && i < text.size() && text[i] == '}';
}

/// A plain text message: "{0}" and "[text](target)" of a configuration must stay text (§3.11.5 and
/// §3.11.6: a viewer would fill in the first and make a link of the second).
Json message_of(std::string_view text) {
  const bool has_link = text.find("](") != std::string_view::npos;
  std::string out;
  bool doubled = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '{' && is_placeholder(text.substr(i))) {
      out += '{';
      doubled = true;
    }
    if (c == '}' && doubled) {
      out += '}';
      doubled = false;
    }
    if (has_link && (c == '[' || c == ']')) out += '\\';
    out += c;
  }
  return {{"text", out}};
}

/// The 1-based character of the line that byte `column` (1-based) falls into.
std::size_t character_of(std::string_view line, std::size_t column) {
  const std::string_view before = line.substr(0, std::min(column - 1, line.size()));
  return 1 + static_cast<std::size_t>(std::ranges::count_if(
                 before, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80; }));
}

class SarifWriter {
 public:
  SarifWriter(const AuditResult& result, const RenderOptions& options)
      : result_(result), options_(options), excerpts_(result) {
    for (const Taxonomy& taxonomy : taxonomies()) categories_.push_back(categories_of(taxonomy));
    for (const auto& source : result.sources) artifact_index(source->path);
  }

  std::string write() {
    Json results = Json::array();
    const std::vector<std::string> prints = fingerprints(result_);
    for (std::size_t i = 0; i < result_.findings.size(); ++i) {
      results.push_back(result_of(result_.findings[i], prints[i]));
    }
    const Json run = {
        {"tool", {{"driver", driver()}}},  {"invocations", Json::array({invocation()})},
        {"artifacts", artifacts_},         {"columnKind", "unicodeCodePoints"},
        {"taxonomies", taxonomies_json()}, {"results", results}};
    const Json log = {{"$schema",
                       "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
                       "sarif-schema-2.1.0.json"},
                      {"version", "2.1.0"},
                      {"runs", Json::array({run})}};
    return log.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
  }

 private:
  std::size_t artifact_index(const std::string& path) {
    const auto [found, added] = artifact_of_.try_emplace(path, artifacts_.size());
    if (added) artifacts_.push_back({{"location", {{"uri", uri_of_path(path)}}}});
    return found->second;
  }

  Json artifact_location(const std::string& path) {
    return {{"uri", uri_of_path(path)}, {"index", artifact_index(path)}};
  }

  Json physical_location(const Mark& at) {
    const std::string_view line = excerpts_.line(at);
    Json region = {{"startLine", at.line}};
    if (at.column != 0 && !line.empty()) {
      const std::size_t start = character_of(line, at.column);
      region["startColumn"] = start;
      region["endColumn"] =
          std::max(start + 1, character_of(line, std::size_t{at.column} + at.length));
    }
    if (!line.empty()) region["snippet"] = {{"text", line}};
    return {{"artifactLocation", artifact_location(at.source->path)}, {"region", region}};
  }

  std::size_t rule_index(const Finding& finding) {
    const auto [found, added] = rule_of_.try_emplace(finding.rule, rules_.size());
    if (added) rules_.push_back(descriptor(finding));
    return found->second;
  }

  Json descriptor(const Finding& finding) {
    const config::Rule* rule = rule_of(finding.rule);
    if (rule == nullptr) return {{"id", finding.rule}};
    const Level level = static_cast<Level>(rule->severity);
    Json tags = Json::array({"security"});
    for (const std::string_view cwe : split_list(rule->cwe)) {
      tags.push_back("external/cwe/cwe-" +
                     std::string(cwe.substr(std::min<std::size_t>(4, cwe.size()))));
    }
    return {{"id", rule->id},
            {"name", rule->slug},
            {"shortDescription", {{"text", rule->title}}},
            {"fullDescription", {{"text", described(*rule)}}},
            {"help", {{"text", help_text(*rule)}, {"markdown", help_markdown(*rule)}}},
            {"defaultConfiguration", {{"level", sarif_level(level)}}},
            {"relationships", relationships(*rule)},
            {"properties", {{"tags", tags}, {"security-severity", security_severity(level)}}}};
  }

  static std::string described(const config::Rule& rule) {
    std::string out(rule.title);
    if (!rule.nginx_trigger.empty()) out += ". In nginx: " + std::string(rule.nginx_trigger);
    if (!rule.envoy_trigger.empty()) out += ". In Envoy: " + std::string(rule.envoy_trigger);
    return out;
  }

  static std::string help_text(const config::Rule& rule) {
    std::string out = "What to do: " + std::string(rule.remediation) + ".";
    if (!rule.nginx_remedy.empty()) out += " In nginx: " + std::string(rule.nginx_remedy) + ".";
    if (!rule.envoy_remedy.empty()) out += " In Envoy: " + std::string(rule.envoy_remedy) + ".";
    return out;
  }

  static std::string help_markdown(const config::Rule& rule) {
    std::string out = "**" + std::string(rule.title) + "**\n\n" + help_text(rule);
    for (const Taxonomy& taxonomy : taxonomies()) {
      const std::string_view ids = rule.*taxonomy.field;
      if (!ids.empty()) {
        out += "\n\n" + std::string(taxonomy.name) + ": " + std::string(ids);
      }
    }
    return out + "\n";
  }

  Json relationships(const config::Rule& rule) const {
    Json out = Json::array();
    for (std::size_t t = 0; t < taxonomies().size(); ++t) {
      for (const std::string_view id : split_list(rule.*taxonomies()[t].field)) {
        const auto found = std::ranges::find(categories_[t], id, &Category::id);
        out.push_back({{"target",
                        {{"id", id},
                         {"index", found - categories_[t].begin()},
                         {"toolComponent", {{"name", taxonomies()[t].name}, {"index", t}}}}},
                       {"kinds", Json::array({"relevant"})}});
      }
    }
    return out;
  }

  Json result_of(const Finding& finding, const std::string& print) {
    const std::size_t index = rule_index(finding);
    std::string text = finding.message;
    if (!finding.evidence.empty()) text += ". Proof: " + finding.evidence;
    Json out = {{"ruleId", finding.rule},
                {"ruleIndex", index},
                {"level", sarif_level(finding.level)},
                {"message", message_of(text)},
                {"partialFingerprints", {{"merlonFinding/v1", print}}},
                {"properties",
                 {{"level", name(finding.level)},
                  {"confidence", name(finding.confidence)},
                  {"affected", finding.affected}}}};
    if (finding.at.known()) {
      out["locations"] = Json::array({{{"physicalLocation", physical_location(finding.at)}}});
    }
    if (Json related = related_locations(finding); !related.empty()) {
      out["relatedLocations"] = related;
    }
    if (Json suppressed = suppressions(finding); !suppressed.empty()) {
      out["suppressions"] = suppressed;
    }
    if (Json changes = changes_of(finding); !changes.empty()) {
      out["fixes"] = Json::array(
          {{{"description", message_of(remedy_of(finding))}, {"artifactChanges", changes}}});
    }
    return out;
  }

  Json related_locations(const Finding& finding) {
    Json out = Json::array();
    for (const TrailStep& step : finding.trail) {
      if (!step.at.known()) continue;
      out.push_back({{"id", out.size() + 1},
                     {"physicalLocation", physical_location(step.at)},
                     {"message", message_of(step.text)}});
    }
    return out;
  }

  static Json suppressions(const Finding& finding) {
    Json out = Json::array();
    if (!finding.waived.empty()) {
      out.push_back(
          {{"kind", "inSource"}, {"status", "accepted"}, {"justification", finding.waived}});
    }
    if (finding.baseline) {
      out.push_back({{"kind", "external"},
                     {"status", "accepted"},
                     {"justification", "listed in the baseline file"}});
    }
    return out;
  }

  Json changes_of(const Finding& finding) {
    Json out = Json::array();
    for (const Edit& edit : finding.fix) {
      if (!excerpts_.may_show(edit)) continue;
      const Json deleted = {{"startLine", edit.first_line},
                            {"startColumn", 1},
                            {"endLine", std::max(edit.last_line + 1, edit.first_line)},
                            {"endColumn", 1}};
      Json replacement = {{"deletedRegion", deleted}};
      if (!edit.replacement.empty()) replacement["insertedContent"] = {{"text", edit.replacement}};
      out.push_back({{"artifactLocation", artifact_location(edit.file->path)},
                     {"replacements", Json::array({replacement})}});
    }
    return out;
  }

  /// Called after the results: they fill `rules_`.
  Json driver() {
    Json supported = Json::array();
    for (std::size_t t = 0; t < taxonomies().size(); ++t) {
      supported.push_back({{"name", taxonomies()[t].name}, {"index", t}});
    }
    return {{"name", "merlon"},
            {"version", MERLON_VERSION},
            {"semanticVersion", MERLON_VERSION},
            {"rules", rules_},
            {"supportedTaxonomies", supported}};
  }

  Json invocation() {
    Json unread = Json::array();
    for (const Gap& gap : result_.gaps) {
      Json note = {{"level", "error"},
                   {"message", message_of(gap.path + ": not read: " + gap.what)}};
      if (gap.at.known()) {
        note["locations"] = Json::array({{{"physicalLocation", physical_location(gap.at)}}});
      }
      unread.push_back(note);
    }
    Json settings = Json::array();
    for (const NotChecked& rule : result_.not_checked) {
      settings.push_back(
          {{"level", "note"}, {"message", message_of(rule.rule + " was not judged: " + rule.why)}});
    }
    for (const Waiver& waiver : result_.waivers) {
      if (waiver.problem.empty()) continue;
      Json note = {{"level", "warning"},
                   {"message", message_of("the waiver of " + waiver.rule +
                                          " is not in force: " + waiver.problem)}};
      if (waiver.at.known()) {
        note["locations"] = Json::array({{{"physicalLocation", physical_location(waiver.at)}}});
      }
      settings.push_back(note);
    }
    return {{"executionSuccessful", result_.gaps.empty() && result_.counts.files != 0},
            {"endTimeUtc", date_time_of(options_.now)},
            {"toolExecutionNotifications", unread},
            {"toolConfigurationNotifications", settings}};
  }

  Json taxonomies_json() const {
    Json out = Json::array();
    for (std::size_t t = 0; t < taxonomies().size(); ++t) {
      const Taxonomy& taxonomy = taxonomies()[t];
      Json taxa = Json::array();
      for (const Category& category : categories_[t]) {
        Json taxon = {{"id", category.id}};
        if (!category.name.empty()) {
          taxon["name"] = category.name;
          taxon["shortDescription"] = {{"text", category.name}};
        }
        taxa.push_back(taxon);
      }
      out.push_back({{"name", taxonomy.name},
                     {"version", taxonomy.version},
                     {"organization", taxonomy.publisher},
                     {"informationUri", taxonomy.url},
                     {"shortDescription", {{"text", taxonomy.title}}},
                     {"isComprehensive", taxonomy.complete},
                     {"taxa", taxa}});
    }
    return out;
  }

  const AuditResult& result_;
  const RenderOptions& options_;
  const Excerpts excerpts_;
  std::vector<std::vector<Category>> categories_;  ///< of each taxonomy
  std::map<std::string, std::size_t> artifact_of_;
  std::map<std::string, std::size_t> rule_of_;
  Json artifacts_ = Json::array();
  Json rules_ = Json::array();
};

}  // namespace

std::string render_sarif(const AuditResult& result, const RenderOptions& options) {
  return SarifWriter(result, options).write();
}

}  // namespace merlon::audit::report
