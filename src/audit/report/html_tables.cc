#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "audit/report/html_parts.h"

namespace merlon::audit::report {
namespace {

/// A cell of the exposure map: "-" and "?" in words.
std::string offered(std::string_view text, std::string_view none) {
  if (text.empty() || text == "-") return fmt::format("<span class=\"none\">{}</span>", none);
  if (text == "?") return "<span class=\"none\">not known</span>";
  return xml(text);
}

std::string upstream_tls(const ExposureRow& row) {
  if (row.upstream_tls == "verified") return "<span class=\"yes\">verified</span>";
  if (row.upstream_tls == "unverified") return "<span class=\"no\">unverified</span>";
  return offered(row.upstream_tls, "in clear");
}

bool is_proxied(const ExposureRow& row) {
  return row.upstream.find("://") != std::string::npos && !row.upstream.starts_with("redirect") &&
         !row.upstream.starts_with("return");
}

void site_head(Page& page, const ExposureRow& row) {
  page.put(
      "<div class=\"site\">\n<div class=\"head\"><b>{}</b><span class=\"mono\">{}</span>"
      "<span>{}</span></div>\n"
      "<table class=\"stack routes\"><thead><tr><th>Route</th><th>Auth</th><th>Limit</th>"
      "<th>Goes to</th><th>Upstream TLS</th></tr></thead>\n<tbody>\n",
      row.host.empty() || row.host == "-" ? "any host" : xml(row.host), xml(row.listener),
      row.tls == "-" ? "<span class=\"no\">cleartext</span>" : offered(row.tls, "cleartext"));
}

struct Tally {
  std::array<std::uint64_t, 5> of{};
  std::uint64_t accepted = 0;
  std::set<std::string_view> rules;  ///< with open findings
};

std::map<std::string_view, Tally> tallies_of(const AuditResult& result, const Taxonomy& taxonomy) {
  std::map<std::string_view, Tally> out;
  for (const Finding& finding : result.findings) {
    const config::Rule* rule = rule_of(finding.rule);
    if (rule == nullptr) continue;
    for (const std::string_view id : split_list(rule->*taxonomy.field)) {
      Tally& tally = out[id];
      if (status_of(finding) == Status::kOpen) {
        ++tally.of[static_cast<std::size_t>(finding.level)];
        tally.rules.insert(finding.rule);
      } else {
        ++tally.accepted;
      }
    }
  }
  return out;
}

/// True when the rule has a trigger in one of the languages that were read.
bool looks_at(const config::Rule& rule, const AuditResult& result) {
  return std::ranges::any_of(result.kinds, [&](Kind kind) {
    return (kind == Kind::kNginx && !rule.nginx_trigger.empty()) ||
           (kind == Kind::kEnvoy && !rule.envoy_trigger.empty()) ||
           (kind == Kind::kMerlon && !rule.merlon_trigger.empty());
  });
}

std::map<std::string_view, std::size_t> rules_looking(const AuditResult& result,
                                                      const Taxonomy& taxonomy) {
  std::map<std::string_view, std::size_t> out;
  for (const config::Rule& rule : config::rules()) {
    if (!looks_at(rule, result)) continue;
    for (const std::string_view id : split_list(rule.*taxonomy.field)) ++out[id];
  }
  return out;
}

void matrix_row(Page& page, const Category& category, const Tally& tally, std::size_t rules) {
  page.put("<tr><td><b>{}</b> {}", xml(category.id), xml(category.name));
  if (rules == 0) page.raw("<br><span class=\"none\">no rule looks here: not checked</span>");
  if (rules != 0 && tally.rules.empty()) page.raw("<br><span class=\"quiet\">nothing found</span>");
  if (!tally.rules.empty()) {
    page.raw("<br>");
    for (const std::string_view id : tally.rules) page.put("{} ", rule_link(id));
  }
  page.put("</td><td class=\"num\">{}</td>", rules);
  for (std::size_t i = tally.of.size(); i-- > 0;) {
    page.put(
        "<td class=\"num {}\">{}</td>",
        tally.of[i] == 0 ? std::string("none") : fmt::format("l-{}", name(static_cast<Level>(i))),
        tally.of[i] == 0 ? "\u00b7" : fmt::format("{}", tally.of[i]));
  }
  page.put("<td class=\"num wide\">{}</td></tr>\n", tally.accepted);
}

}  // namespace

void write_exposure(Page& page, const AuditResult& result) {
  page.raw("<section id=\"exposure\">\n<h2>Exposure map</h2>\n");
  if (result.exposure.empty()) {
    page.raw("<p class=\"lead\">No route was found in what was read.</p>\n</section>\n");
    return;
  }
  page.put(
      "<p class=\"lead\">What {} to whom, by listener and host. It shows what is "
      "configured; whether that is right stands in the findings.</p>\n",
      result.exposure.size() == 1 ? std::string("the one route offers")
                                  : fmt::format("the {} routes offer", result.exposure.size()));
  const ExposureRow* last = nullptr;
  for (const ExposureRow& row : result.exposure) {
    const bool same = last != nullptr && last->listener == row.listener && last->host == row.host &&
                      last->tls == row.tls;
    if (!same) {
      if (last != nullptr) page.raw("</tbody></table></div>\n");
      site_head(page, row);
    }
    page.put(
        "<tr><td data-label=\"Route\">{}</td><td data-label=\"Auth\">{}</td>"
        "<td data-label=\"Limit\">{}</td><td data-label=\"Goes to\">{}</td>"
        "<td data-label=\"Upstream TLS\">{}</td></tr>\n",
        "<span>" + xml(row.route) + "</span>", offered(row.auth, "none"),
        offered(row.limit, "none"), "<span>" + offered(row.upstream, "nowhere") + "</span>",
        is_proxied(row) ? upstream_tls(row) : offered(row.upstream_tls, "\u2013"));
    last = &row;
  }
  page.raw("</tbody></table></div>\n</section>\n");
}

void write_matrix(Page& page, const AuditResult& result, const Taxonomy& taxonomy,
                  std::string_view anchor) {
  page.put(
      "<section id=\"{}\">\n<h2>{} {}</h2>\n<p class=\"lead\">{}, by {}. A rule may stand in "
      "several rows. A file shows only a part of each: \u201cnothing found\u201d is not "
      "\u201cfulfilled\u201d.</p>\n",
      anchor, xml(taxonomy.name), xml(taxonomy.version), xml(taxonomy.title),
      xml(taxonomy.publisher));
  page.raw(
      "<div class=\"table\"><table class=\"matrix\"><thead><tr><th>Category</th>"
      "<th class=\"num\" title=\"Rules that look at it\">Rules</th>"
      "<th class=\"num\" title=\"critical\">Crit</th><th class=\"num\" title=\"high\">High</th>"
      "<th class=\"num\" title=\"medium\">Med</th><th class=\"num\" title=\"low\">Low</th>"
      "<th class=\"num\" title=\"info\">Info</th>"
      "<th class=\"num wide\">Accepted</th></tr></thead>\n<tbody>\n");
  const std::map<std::string_view, Tally> tallies = tallies_of(result, taxonomy);
  const std::map<std::string_view, std::size_t> looking = rules_looking(result, taxonomy);
  for (const Category& category : categories_of(taxonomy)) {
    const auto tally = tallies.find(category.id);
    const auto rules = looking.find(category.id);
    matrix_row(page, category, tally == tallies.end() ? Tally{} : tally->second,
               rules == looking.end() ? 0 : rules->second);
  }
  page.raw("</tbody></table></div>\n</section>\n");
}

}  // namespace merlon::audit::report
