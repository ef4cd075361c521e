#include <string>

#include "audit/report/html_parts.h"

namespace merlon::audit::report {
namespace {

/// "<br>but for csp-html on routes.pages".
std::string exceptions(const Measure& measure) {
  std::string out;
  for (const std::string& waiver : measure.waived) {
    out += fmt::format("<br><span class=\"none\">but for <code>{}</code></span>", xml(waiver));
  }
  return out;
}

/// "all 5 routes", "3 of 5" with the names of the others.
std::string coverage(const Measure& measure) {
  if (measure.total == 0) return "<span class=\"yes\">always</span>";
  if (measure.covered == measure.total)
    return fmt::format("<span class=\"yes\">all {}</span>", measure.total);
  std::string missing;
  constexpr std::size_t kNamesMax = 12;
  for (std::size_t i = 0; i < measure.missing.size() && i < kNamesMax; ++i) {
    missing += fmt::format("{}<code>{}</code>", i == 0 ? "" : ", ", xml(measure.missing[i]));
  }
  if (measure.missing.size() > kNamesMax)
    missing += fmt::format(" and {} more", measure.missing.size() - kNamesMax);
  return fmt::format("<span class=\"{}\">{} of {}</span><br><span class=\"none\">not {}</span>",
                     measure.covered == 0 ? "no" : "some", measure.covered, measure.total, missing);
}

std::string spaced(std::string_view list) {
  std::string out;
  for (const std::string_view id : split_list(list)) {
    out += fmt::format("{}{}", out.empty() ? "" : ", ", xml(id));
  }
  return out;
}

}  // namespace

void write_measures(Page& page, const AuditResult& result) {
  if (result.measures.empty()) return;
  page.raw(
      "<section id=\"measures\">\n<h2>Measures</h2>\n<p class=\"lead\">What is done, how widely, "
      "and which risks of the OWASP API Security Top 10 (2023) and which controls of NIST SP "
      "800-53 "
      "(Rev. 5) it serves.</p>\n<div class=\"table\"><table class=\"stack\"><thead><tr>"
      "<th>Measure</th><th>Where</th><th>OWASP API</th><th>NIST "
      "800-53</th></tr></thead>\n<tbody>\n");
  for (const Measure& measure : result.measures) {
    page.put(
        "<tr><td data-label=\"Measure\"><span><b>{}</b><br><span "
        "class=\"none\">{}</span></span></td>"
        "<td data-label=\"Where\"><span>{}</span></td>"
        "<td data-label=\"OWASP API\"><span>{}</span></td>"
        "<td data-label=\"NIST 800-53\"><span>{}</span></td></tr>\n",
        xml(measure.what), xml(measure.how), coverage(measure) + exceptions(measure),
        spaced(measure.owasp), spaced(measure.nist));
  }
  page.raw("</tbody></table></div>\n</section>\n");
}

}  // namespace merlon::audit::report
