#include <string>

#include "audit/report/html_parts.h"
#include "audit/report/writers.h"

/// One page that needs nothing else: no script, no font, no picture, nothing loaded.
namespace merlon::audit::report {
namespace {

std::string languages_of(const AuditResult& result) {
  std::string out;
  for (const Kind kind : result.kinds) {
    const std::string_view known = kind == Kind::kEnvoy    ? "Envoy"
                                   : kind == Kind::kMerlon ? "Merlon"
                                                           : name(kind);
    out += fmt::format("{}{}", out.empty() ? "" : ", ", known);
  }
  return out.empty() ? "no configuration" : out;
}

void head(Page& page) {
  // The policy is a second lock: should an escape ever fail, the page still runs and loads nothing.
  page.raw(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n"
      "<title>Posture report \u2013 Merlon</title>\n<style>");
  page.raw(style_sheet());
  page.raw("</style>\n</head>\n<body>\n");
}

std::string headline_of(const AuditResult& result, char letter) {
  if (letter == '?') return "Nothing could be read";
  const LevelCounts levels = count_levels(result);
  const std::uint64_t grave = levels.at_least(Level::kHigh);
  if (grave != 0) return counted(grave, "finding") + " of high or critical severity";
  const std::uint64_t all = levels.at_least(Level::kLow);
  if (all != 0) return counted(all, "finding") + ", none of high severity";
  return result.gaps.empty() ? "Nothing to mend was found" : "Nothing found, but not all was read";
}

void verdict(Page& page, const AuditResult& result) {
  const Grade grade = audit::grade(result);
  page.put(
      "<div class=\"verdict\"><div class=\"letter g-{}\" role=\"img\" aria-label=\"Grade "
      "{}\">{}</div>\n<div><h1>{}</h1>\n",
      grade.letter == '?' ? 'q' : grade.letter, grade.letter, grade.letter,
      headline_of(result, grade.letter));
  if (grade.reasons.empty()) {
    page.raw("<p class=\"lead\">No finding above info.</p>");
  } else {
    page.raw("<p class=\"lead\">What keeps the grade from being better:</p>\n<ul>\n");
    for (const std::string& reason : grade.reasons) page.put("<li>{}</li>\n", xml(reason));
    page.raw("</ul>\n");
  }
  page.raw("</div></div>\n");
}

void tiles(Page& page, const AuditResult& result) {
  const LevelCounts levels = count_levels(result);
  page.raw("<ul class=\"tiles\">\n");
  for (std::size_t i = std::size(levels.of); i-- > 0;) {
    const std::string_view level = name(static_cast<Level>(i));
    page.put("<li class=\"{}\"><b class=\"l-{}\">{}</b><span>{}</span></li>\n",
             levels.of[i] == 0 ? "zero" : "some", level, levels.of[i], level);
  }
  page.raw("</ul>\n");
}

void navigation(Page& page, bool measures) {
  page.raw(
      "<nav aria-label=\"Sections\"><ul>\n<li><a href=\"#findings\">Findings</a></li>\n"
      "<li><a href=\"#exposure\">Exposure map</a></li>\n");
  if (measures) page.raw("<li><a href=\"#measures\">Measures</a></li>\n");
  page.raw(
      "<li><a href=\"#certificates\">Certificates</a></li>\n"
      "<li><a href=\"#owasp\">OWASP</a></li>\n<li><a href=\"#nist\">NIST</a></li>\n"
      "<li><a href=\"#accepted\">Waivers</a></li>\n"
      "<li><a href=\"#coverage\">Not checked</a></li>\n</ul></nav>\n");
}

std::string inputs_of(const AuditResult& result) {
  constexpr std::size_t kShownMax = 5;
  std::string out;
  for (std::size_t i = 0; i < result.inputs.size() && i < kShownMax; ++i) {
    out += fmt::format("{}<b class=\"mono\">{}</b>", i == 0 ? "" : ", ", xml(result.inputs[i]));
  }
  if (result.inputs.size() > kShownMax) {
    out += fmt::format(" and {} more", result.inputs.size() - kShownMax);
  }
  return out;
}

}  // namespace

std::string render_html(const AuditResult& result, const RenderOptions& options) {
  const Excerpts excerpts(result);
  Page page;
  head(page);
  page.put(
      "<header>\n<p class=\"kicker\">Posture report \u00b7 {} ({}) \u00b7 <time>{}</time></p>\n",
      inputs_of(result), languages_of(result), date_of(options.now));
  verdict(page, result);
  tiles(page, result);
  page.raw("</header>\n");
  navigation(page, !result.measures.empty());
  page.raw("<main>\n");
  write_findings(page, result, excerpts);
  write_exposure(page, result);
  write_measures(page, result);
  write_certificates(page, result, options.now);
  write_matrix(page, result, taxonomies()[0], "owasp");
  write_matrix(page, result, taxonomies()[2], "nist");
  write_accepted(page, result);
  write_not_checked(page, result);
  page.put(
      "</main>\n<footer>Made by merlon {} at {}. It shows what the files say, not what a "
      "server that runs does.</footer>\n</body>\n</html>\n",
      MERLON_VERSION, date_time_of(options.now));
  return page.take();
}

}  // namespace merlon::audit::report
