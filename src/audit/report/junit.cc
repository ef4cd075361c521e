#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "audit/report/escape.h"
#include "audit/report/view.h"
#include "audit/report/writers.h"

/// JUnit XML as CI servers read it: one suite a file, one case a finding. A file without findings
/// is one case that passes, so that a clean run shows what it looked at.
namespace merlon::audit::report {
namespace {

struct Suite {
  std::vector<const Finding*> findings;
  std::vector<const Gap*> gaps;
};

class JunitWriter {
 public:
  JunitWriter(const AuditResult& result, const RenderOptions& options)
      : result_(result), options_(options), excerpts_(result) {}

  std::string write() {
    const std::map<std::string_view, Suite> suites = sorted_by_file();
    std::size_t failures = 0;
    for (const Finding& finding : result_.findings) failures += fails(finding) ? 1 : 0;
    put("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    std::size_t cases = 0;
    for (const auto& [path, suite] : suites) cases += cases_of(suite);
    put("<testsuites name=\"merlon audit\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n", cases,
        failures, result_.gaps.size());
    for (const auto& [path, suite] : suites) this->suite(path, suite);
    put("</testsuites>\n");
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  std::map<std::string_view, Suite> sorted_by_file() const {
    std::map<std::string_view, Suite> out;
    for (const auto& source : result_.sources) out.try_emplace(source->path);
    for (const Finding& finding : result_.findings) {
      const bool placed = finding.at.source != nullptr;
      out[placed ? std::string_view(finding.at.source->path) : "(no file)"].findings.push_back(
          &finding);
    }
    for (const Gap& gap : result_.gaps) out[gap.path].gaps.push_back(&gap);
    return out;
  }

  static std::size_t cases_of(const Suite& suite) {
    return std::max<std::size_t>(1, suite.findings.size() + suite.gaps.size());
  }

  bool fails(const Finding& finding) const {
    return status_of(finding) == Status::kOpen && finding.level >= options_.fail_on;
  }

  void suite(std::string_view path, const Suite& suite) {
    std::size_t failures = 0;
    std::size_t skipped = 0;
    for (const Finding* finding : suite.findings) {
      failures += fails(*finding) ? 1 : 0;
      skipped += status_of(*finding) != Status::kOpen ? 1 : 0;
    }
    put("  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" "
        "timestamp=\"{}\">\n",
        xml(path), cases_of(suite), failures, suite.gaps.size(), skipped,
        date_time_of(options_.now).substr(0, 19));
    for (const Finding* finding : suite.findings) this->finding(path, *finding);
    for (const Gap* gap : suite.gaps) {
      put("    <testcase classname=\"{}\" name=\"read\">\n      <error type=\"not-read\" "
          "message=\"{}\"/>\n    </testcase>\n",
          xml(path), xml(gap->what));
    }
    if (suite.findings.empty() && suite.gaps.empty()) {
      put("    <testcase classname=\"{}\" name=\"no findings\"/>\n", xml(path));
    }
    put("  </testsuite>\n");
  }

  void finding(std::string_view path, const Finding& finding) {
    const config::Rule* rule = rule_of(finding.rule);
    put("    <testcase classname=\"{}\" name=\"{} {} (line {}, column {})\">\n", xml(path),
        xml(finding.rule), xml(rule == nullptr ? "" : rule->slug), finding.at.line,
        finding.at.column);
    switch (status_of(finding)) {
      case Status::kWaived:
        put("      <skipped message=\"waived: {}\"/>\n", xml(finding.waived));
        break;
      case Status::kKnown:
        put("      <skipped message=\"known from the baseline\"/>\n");
        break;
      case Status::kOpen:
        if (fails(finding)) {
          put("      <failure type=\"{}\" message=\"{}\">{}</failure>\n", name(finding.level),
              xml(finding.message), xml(details_of(finding)));
        } else {
          put("      <system-out>{}: {}\n{}</system-out>\n", name(finding.level),
              xml(finding.message), xml(details_of(finding)));
        }
        break;
    }
    put("    </testcase>\n");
  }

  std::string details_of(const Finding& finding) const {
    std::string out = finding.at.to_string() + "\n";
    if (const std::string_view line = excerpts_.line(finding.at); !line.empty()) {
      out += fmt::format("  {}\n", line);
    }
    for (const TrailStep& step : finding.trail) {
      out += fmt::format("trail: {} {}\n", step.at.file_line(), step.text);
    }
    if (!finding.evidence.empty()) out += fmt::format("proof: {}\n", finding.evidence);
    if (!finding.affected.empty()) {
      out += fmt::format("affects: {}\n", fmt::join(finding.affected, ", "));
    }
    if (const std::string_view remedy = remedy_of(finding); !remedy.empty()) {
      out += fmt::format("help: {}\n", remedy);
    }
    return out;
  }

  const AuditResult& result_;
  const RenderOptions& options_;
  const Excerpts excerpts_;
  std::string out_;
};

}  // namespace

std::string render_junit(const AuditResult& result, const RenderOptions& options) {
  return JunitWriter(result, options).write();
}

}  // namespace merlon::audit::report
