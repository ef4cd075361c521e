#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "audit/report/html_parts.h"

/// Certificates, what was accepted, and what was not looked at.
namespace merlon::audit::report {
namespace {

constexpr std::int64_t kDaySeconds = 86'400;
constexpr std::int64_t kSoonDays = 30;

std::string left_of(std::int64_t days) {
  if (days < 0)
    return fmt::format("expired {} ago", counted(static_cast<std::uint64_t>(-days), "day"));
  if (days == 0) return "expires within a day";
  return fmt::format("{} left", counted(static_cast<std::uint64_t>(days), "day"));
}

/// The stretch of time that the timelines show: from half a year ago to two years ahead, less if
/// no certificate needs it.
struct Axis {
  std::int64_t from = 0;
  std::int64_t to = 0;

  /// Where `at` stands, in percent; outside of the axis: at its end.
  [[nodiscard]] double percent(std::int64_t at) const {
    const double share =
        static_cast<double>(std::clamp(at, from, to) - from) / static_cast<double>(to - from);
    return 100.0 * share;
  }
};

Axis axis_of(const std::vector<const CertificateSeen*>& seen, std::int64_t now) {
  Axis axis{now, now};
  for (const CertificateSeen* one : seen) {
    axis.from = std::min({axis.from, one->not_before, one->not_after});
    axis.to = std::max(axis.to, one->not_after);
  }
  axis.from = std::clamp(axis.from, now - 183 * kDaySeconds, now - 14 * kDaySeconds);
  axis.to = std::clamp(axis.to, now + 60 * kDaySeconds, now + 730 * kDaySeconds);
  return axis;
}

void certificate(Page& page, const CertificateSeen& seen, const Axis& axis, std::int64_t now) {
  // Rounded down, so that what expired a minute ago is not shown as valid.
  const std::int64_t left = seen.not_after - now;
  const std::int64_t days =
      left >= 0 ? left / kDaySeconds : -((-left + kDaySeconds - 1) / kDaySeconds);
  const bool early = seen.not_before > now;
  const char* state = days < 0 ? "past" : days <= kSoonDays || early ? "soon" : "good";
  const double start = axis.percent(seen.not_before);
  page.put("<div class=\"cert\"><div class=\"t\"><b>{}</b><span class=\"{}\">{}{}</span></div>\n",
           xml(seen.subject.empty() ? seen.path : seen.subject),
           days < 0            ? "no"
           : days <= kSoonDays ? "l-medium"
                               : "yes",
           left_of(days), early ? ", not valid yet" : "");
  page.put(
      "<div class=\"track {}\"><i style=\"left:{:.2f}%;width:{:.2f}%\"></i>"
      "<u style=\"left:{:.2f}%\"></u></div>\n",
      state, start, axis.percent(seen.not_after) - start, axis.percent(now));
  std::string names;
  for (std::size_t i = 0; i < seen.names.size() && i < 12; ++i) {
    names += (i == 0 ? "" : ", ") + seen.names[i];
  }
  if (seen.names.size() > 12) names += fmt::format(" and {} more", seen.names.size() - 12);
  page.put(
      "<div class=\"sub\">{} to {} \u00b7 {} \u00b7 {}{}by {}<br><span class=\"mono\">{}"
      "</span></div></div>\n",
      date_of(seen.not_before), date_of(seen.not_after), xml(seen.key), xml(names),
      names.empty() ? "" : " \u00b7 ", xml(seen.issuer), xml(seen.path));
}

void waivers(Page& page, const AuditResult& result) {
  page.raw(
      "<h3>Waivers</h3>\n<div class=\"table\"><table class=\"stack\"><thead><tr><th>Rule</th>"
      "<th>Reason</th><th>Until</th><th>State</th><th>Place</th></tr></thead>\n<tbody>\n");
  for (const Waiver& waiver : result.waivers) {
    std::string state = waiver.used ? "<span class=\"yes\">in force</span>"
                                    : "<span class=\"none\">covers nothing: it can go</span>";
    if (!waiver.problem.empty()) {
      state = "<span class=\"no\">not in force: " + xml(waiver.problem) + "</span>";
    }
    const std::string owner = waiver.owner.empty() ? "" : " (" + xml(waiver.owner) + ")";
    page.put(
        "<tr><td data-label=\"Rule\"><span>{}</span></td><td data-label=\"Reason\"><span>{}{}"
        "</span></td><td data-label=\"Until\"{}>{}</td><td data-label=\"State\">{}</td>"
        "<td data-label=\"Place\" class=\"mono\"><span>{}</span></td></tr>\n",
        xml(waiver.rule), xml(waiver.reason), owner,
        waiver.expires.size() == 10 ? " class=\"nw\"" : "", xml(waiver.expires), state,
        xml(waiver.at.file_line()));
  }
  page.raw("</tbody></table></div>\n");
}

void accepted_findings(Page& page, const AuditResult& result) {
  page.raw(
      "<h3>Findings that do not count</h3>\n<div class=\"table\"><table class=\"stack\"><thead>"
      "<tr><th>Level</th><th>Rule</th><th>Finding</th><th>Why</th><th>Place</th></tr></thead>\n"
      "<tbody>\n");
  for (const Finding& finding : result.findings) {
    const Status status = status_of(finding);
    if (status == Status::kOpen) continue;
    page.put(
        "<tr><td data-label=\"Level\">{}</td><td data-label=\"Rule\" class=\"nw\">{}</td>"
        "<td data-label=\"Finding\"><span>{}</span></td><td data-label=\"Why\"><span>{}</span>"
        "</td><td data-label=\"Place\" class=\"mono\"><span>{}</span></td></tr>\n",
        "<span>" + level_badge(finding.level) + "</span>", xml(finding.rule), xml(finding.message),
        status == Status::kWaived ? "waived: " + xml(finding.waived)
                                  : std::string("known from the baseline"),
        xml(finding.at.file_line()));
  }
  page.raw("</tbody></table></div>\n");
}

void tile(Page& page, std::uint64_t count, std::string_view what) {
  page.put("<li><b>{}</b>{}</li>\n", count, what);
}

void gaps(Page& page, const AuditResult& result) {
  if (result.gaps.empty() && result.counts.files == 0) {
    page.raw("<p>No file was read.</p>\n");
    return;
  }
  if (result.gaps.empty()) {
    page.raw("<p>Everything that was named or included could be read.</p>\n");
    return;
  }
  page.put("<div class=\"card alert\"><h3>{} could not be read</h3>\n<ul class=\"list\">\n",
           counted(result.gaps.size(), "place"));
  for (const Gap& gap : result.gaps) {
    page.put("<li><code>{}</code>: {}{}</li>\n", xml(gap.path), xml(gap.what),
             gap.at.known()
                 ? fmt::format(" <span class=\"none\">({})</span>", xml(gap.at.file_line()))
                 : std::string{});
  }
  page.raw("</ul></div>\n");
}

}  // namespace

void write_certificates(Page& page, const AuditResult& result, std::int64_t now) {
  page.raw("<section id=\"certificates\">\n<h2>Certificates</h2>\n");
  if (result.certificates.empty()) {
    page.raw("<p class=\"lead\">None was read.</p>\n</section>\n");
    return;
  }
  std::vector<const CertificateSeen*> seen;
  seen.reserve(result.certificates.size());
  for (const CertificateSeen& one : result.certificates) seen.push_back(&one);
  const auto key = [](const CertificateSeen* one) {
    return std::tie(one->not_after, one->path, one->subject, one->not_before);
  };
  std::ranges::sort(seen, {}, key);
  // One that several servers name is one certificate.
  const auto repeated = std::ranges::unique(seen, {}, key);
  seen.erase(repeated.begin(), repeated.end());
  const Axis axis = axis_of(seen, now);
  page.raw(
      "<p class=\"lead\">The first to expire comes first. The upright line is the day of this "
      "report.</p>\n<div class=\"card timeline\">\n");
  page.put("<div class=\"axis\"><span>{}</span><span>{}</span></div>\n", date_of(axis.from),
           date_of(axis.to));
  for (const CertificateSeen* one : seen) certificate(page, *one, axis, now);
  page.raw("</div>\n</section>\n");
}

void write_accepted(Page& page, const AuditResult& result) {
  page.raw("<section id=\"accepted\">\n<h2>Waivers and baseline</h2>\n");
  const bool has_findings = std::ranges::any_of(
      result.findings, [](const Finding& finding) { return status_of(finding) != Status::kOpen; });
  if (!has_findings && result.waivers.empty()) {
    page.raw("<p class=\"lead\">Nothing was accepted: every finding counts.</p>\n</section>\n");
    return;
  }
  page.raw("<p class=\"lead\">What someone decided to live with, until when and why.</p>\n");
  if (!result.waivers.empty()) waivers(page, result);
  if (has_findings) accepted_findings(page, result);
  page.raw("</section>\n");
}

void write_not_checked(Page& page, const AuditResult& result) {
  const Counts& counts = result.counts;
  page.raw(
      "<section id=\"coverage\">\n<h2>What was read, and what was not checked</h2>\n"
      "<p class=\"lead\">A report says no more than this allows.</p>\n<ul class=\"counts\">\n");
  tile(page, counts.files, "files");
  tile(page, counts.lines, "lines");
  tile(page, counts.directives, "directives or keys");
  tile(page, counts.includes, "includes followed");
  tile(page, counts.rules, "rules judged");
  tile(page, counts.unknown_directives, "directives not known, not judged");
  page.raw("</ul>\n");
  gaps(page, result);
  if (!result.not_checked.empty()) {
    page.raw(
        "<div class=\"card\"><h3>Rules that could not be judged, or not everywhere</h3>\n<ul "
        "class=\"list\">\n");
    for (const NotChecked& rule : result.not_checked) {
      const config::Rule* known = rule_of(rule.rule);
      page.put("<li><b>{}</b> {}: {}</li>\n", xml(rule.rule),
               xml(known == nullptr ? "" : known->title), xml(rule.why));
    }
    page.raw("</ul></div>\n");
  }
  if (!result.unknown_directives.empty()) {
    page.raw("<div class=\"card\"><h3>Directives of other modules: counted, not judged</h3>\n<p>");
    for (const std::string& directive : result.unknown_directives) {
      page.put("<span class=\"chip mono\">{}</span>", xml(directive));
    }
    page.raw("</p></div>\n");
  }
  page.raw("</section>\n");
}

}  // namespace merlon::audit::report
