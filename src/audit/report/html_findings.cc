#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "audit/report/html_parts.h"

namespace merlon::audit::report {
namespace {

constexpr std::size_t kAffectedShownMax = 30;
constexpr std::size_t kDiffLinesMax = 60;

/// The open findings of one rule.
struct Group {
  std::string_view rule;
  Level worst = Level::kInfo;
  std::vector<const Finding*> findings;
};

std::vector<Group> groups_of(const AuditResult& result) {
  std::map<std::string_view, std::size_t> position;
  std::vector<Group> out;
  for (const Finding& finding : result.findings) {
    if (status_of(finding) != Status::kOpen) continue;
    const auto [found, added] = position.try_emplace(finding.rule, out.size());
    if (added) out.push_back({finding.rule, finding.level, {}});
    Group& group = out[found->second];
    group.worst = std::max(group.worst, finding.level);
    group.findings.push_back(&finding);
  }
  // The findings come gravest first, so a group starts with its worst: this only makes it sure.
  std::ranges::sort(out, [&](const Group& a, const Group& b) {
    if (a.worst != b.worst) return a.worst > b.worst;
    return position[a.rule] < position[b.rule];
  });
  return out;
}

std::size_t next_character(std::string_view text, std::size_t at) {
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80) ++at;
  return std::min(at, text.size());
}

/// Text with what stands between two backticks shown as code.
std::string with_code(std::string_view text) {
  std::string out = xml(text);
  for (std::size_t at = out.find('`'); at != std::string::npos; at = out.find('`', at)) {
    const std::size_t end = out.find('`', at + 1);
    if (end == std::string::npos) break;
    const std::string code = "<code>" + out.substr(at + 1, end - at - 1) + "</code>";
    out.replace(at, end - at + 1, code);
    at += code.size();
  }
  return out;
}

class FindingsWriter {
 public:
  FindingsWriter(Page& page, const Excerpts& excerpts) : page_(page), excerpts_(excerpts) {}

  void group(const Group& group) {
    const config::Rule* rule = rule_of(group.rule);
    page_.put(
        "<article class=\"card rule\" id=\"rule-{0}\" style=\"--edge:var(--{1})\">\n"
        "<div class=\"head\">{2}<h3>{3}</h3><span class=\"id mono\">{0}{4}{5}</span></div>\n",
        xml(group.rule), name(group.worst), level_badge(group.worst),
        xml(rule == nullptr ? group.rule : rule->title), rule == nullptr ? "" : " ",
        xml(rule == nullptr ? "" : rule->slug));
    const std::string_view shared = shared_remedy(group);
    if (!shared.empty()) {
      page_.put("<p class=\"todo\"><b>What to do:</b> {}</p>\n", with_code(shared));
    }
    if (rule != nullptr) mappings(*rule);
    for (const Finding* finding : group.findings) place(*finding, group.worst, shared);
    page_.raw("</article>\n");
  }

 private:
  /// What to do about all findings of a group; the catalogue's words when they differ.
  static std::string_view shared_remedy(const Group& group) {
    const std::string_view first = remedy_of(*group.findings.front());
    const bool same = std::ranges::all_of(
        group.findings, [&](const Finding* finding) { return remedy_of(*finding) == first; });
    const config::Rule* rule = rule_of(group.rule);
    return same ? first : rule == nullptr ? std::string_view{} : rule->remediation;
  }

  void mappings(const config::Rule& rule) {
    page_.raw("<p>");
    for (const std::string_view id : split_list(rule.owasp)) chip("OWASP", id);
    for (const std::string_view id : split_list(rule.nist)) chip("NIST", id);
    for (const std::string_view id : split_list(rule.cwe)) chip("", id);
    for (const std::string_view id : split_list(rule.cis)) chip("CIS", id);
    page_.raw("</p>\n");
  }

  void chip(std::string_view list, std::string_view id) {
    page_.put("<span class=\"chip\">{}{}{}</span>", list, list.empty() ? "" : " ", xml(id));
  }

  void place(const Finding& finding, Level worst, std::string_view shared) {
    page_.raw("<div class=\"place\">");
    page_.put("<div class=\"at\">{}</div>\n<p class=\"what\">{}{}</p>\n",
              xml(finding.at.known() ? finding.at.to_string() : "no place in a file"),
              finding.level == worst ? "" : level_badge(finding.level) + " ", xml(finding.message));
    excerpt(finding);
    page_.raw("<dl class=\"facts\">");
    if (!finding.evidence.empty()) fact("Proof", "<code>" + xml(finding.evidence) + "</code>");
    if (!finding.trail.empty()) fact("How it got there", trail_of(finding));
    if (!finding.affected.empty()) fact("Affects", affected_of(finding));
    if (remedy_of(finding) != shared) fact("Instead", with_code(remedy_of(finding)));
    if (finding.confidence != Confidence::kCertain) {
      fact("Confidence", std::string(name(finding.confidence)));
    }
    page_.raw("</dl>\n");
    for (const Edit& edit : finding.fix) diff(edit);
    page_.raw("</div>\n");
  }

  void fact(std::string_view label, std::string_view markup) {
    page_.put("<dt>{}</dt><dd>{}</dd>", label, markup);
  }

  void excerpt(const Finding& finding) {
    const Mark& at = finding.at;
    if (at.known() && excerpts_.is_secret(*at.source, at.line)) {
      page_.raw("<p class=\"secret\">The line holds a secret and is not shown.</p>\n");
      return;
    }
    std::string_view line = excerpts_.line(at);
    if (line.empty()) return;
    std::size_t from = std::min<std::size_t>(at.column == 0 ? 0 : at.column - 1, line.size());
    const std::size_t indent = std::min({line.find_first_not_of(" \t"), from, line.size()});
    line.remove_prefix(indent);
    from = next_character(line, from - indent);
    const std::size_t to =
        at.column == 0 ? from : next_character(line, from + std::max<std::uint32_t>(at.length, 1));
    page_.put("<pre><span class=\"n\">{}</span>{}<mark>{}</mark>{}</pre>\n", at.line,
              xml(line.substr(0, from)), xml(line.substr(from, to - from)), xml(line.substr(to)));
  }

  static std::string trail_of(const Finding& finding) {
    std::string out = "<ol>";
    for (const TrailStep& step : finding.trail) {
      out += fmt::format("<li>{}{}<code>{}</code></li>", xml(step.text), step.at.known() ? " " : "",
                         xml(step.at.file_line()));
    }
    return out + "</ol>";
  }

  static std::string affected_of(const Finding& finding) {
    std::string out;
    for (std::size_t i = 0; i < finding.affected.size() && i < kAffectedShownMax; ++i) {
      out += fmt::format("{}<code>{}</code>", i == 0 ? "" : ", ", xml(finding.affected[i]));
    }
    if (finding.affected.size() > kAffectedShownMax) {
      out += fmt::format(" and {} more", finding.affected.size() - kAffectedShownMax);
    }
    return out;
  }

  void diff(const Edit& edit) {
    if (!excerpts_.may_show(edit)) {
      page_.raw(
          "<p class=\"secret\">There is a mechanical fix; it is not shown, since the line "
          "holds a secret.</p>\n");
      return;
    }
    page_.put("<pre aria-label=\"Fix\"><span class=\"n\">Fix of {}, line {}</span>",
              xml(edit.file->path), edit.first_line);
    std::size_t shown = 0;
    for (std::uint32_t n = edit.first_line; n <= edit.last_line && shown < kDiffLinesMax; ++n) {
      page_.put("<del>{}</del>", xml(excerpts_.line({edit.file, n})));
      ++shown;
    }
    for (std::string_view rest = edit.replacement; !rest.empty() && shown < kDiffLinesMax;) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      page_.put("<ins>{}</ins>", xml(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      ++shown;
    }
    page_.raw("</pre>\n");
  }

  Page& page_;
  const Excerpts& excerpts_;
};

}  // namespace

std::string rule_link(std::string_view id) {
  return fmt::format("<a href=\"#rule-{0}\">{0}</a>", xml(id));
}

std::string level_badge(Level level) {
  return fmt::format("<span class=\"badge l-{0}\">{0}</span>", name(level));
}

void write_findings(Page& page, const AuditResult& result, const Excerpts& excerpts) {
  page.raw("<section id=\"findings\">\n<h2>Findings</h2>\n");
  const std::vector<Group> groups = groups_of(result);
  std::size_t open = 0;
  for (const Group& group : groups) open += group.findings.size();
  if (groups.empty()) {
    page.raw(
        "<p class=\"lead\">None that count. What was looked at, and what was not, stands "
        "below.</p>\n</section>\n");
    return;
  }
  page.put("<p class=\"lead\">{} of {}, gravest first.</p>\n", counted(open, "finding"),
           counted(groups.size(), "rule"));
  FindingsWriter writer(page, excerpts);
  for (const Group& group : groups) writer.group(group);
  page.raw("</section>\n");
}

}  // namespace merlon::audit::report
