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

/// The routes behind one listener, in the order of the hosts.
struct Listener {
  std::string_view name;
  std::vector<const ExposureRow*> rows;
};

std::vector<Listener> listeners_of(const AuditResult& result) {
  std::map<std::string_view, std::size_t> position;
  std::vector<Listener> out;
  for (const ExposureRow& row : result.exposure) {
    const auto [found, added] = position.try_emplace(row.listener, out.size());
    if (added) out.push_back({row.listener, {}});
    out[found->second].rows.push_back(&row);
  }
  return out;
}

void host_row(Page& page, const ExposureRow& row) {
  page.put("<tr class=\"host\"><th colspan=\"5\" scope=\"rowgroup\"><b>{}</b> {}</th></tr>\n",
           row.host.empty() || row.host == "-" ? "any host" : xml(row.host),
           row.tls == "-" || row.tls.empty() ? "<span class=\"no\">cleartext</span>"
                                             : "TLS: " + offered(row.tls, "none"));
}

void route_row(Page& page, const ExposureRow& row) {
  page.put(
      "<tr><td data-label=\"Route\"><span>{}</span></td><td "
      "data-label=\"Auth\"><span>{}</span></td>"
      "<td data-label=\"Limit\"><span>{}</span></td><td data-label=\"Goes to\"><span>{}</span></td>"
      "<td data-label=\"Upstream TLS\"><span>{}</span></td></tr>\n",
      xml(row.route), offered(row.auth, "none"), offered(row.limit, "none"),
      offered(row.upstream, "nowhere"),
      is_proxied(row) ? upstream_tls(row) : offered(row.upstream_tls, "\u2013"));
}

void listener_table(Page& page, const Listener& listener) {
  page.put(
      "<div class=\"site\">\n<div class=\"head\"><b class=\"mono\">{}</b><span "
      "class=\"none\">{}</span>"
      "</div>\n<table class=\"stack routes\"><thead><tr><th>Route</th><th>Auth</th><th>Limit</th>"
      "<th>Goes to</th><th>Upstream TLS</th></tr></thead>\n<tbody>\n",
      xml(listener.name), counted(listener.rows.size(), "route"));
  const ExposureRow* last = nullptr;
  for (const ExposureRow* row : listener.rows) {
    if (last == nullptr || last->host != row->host || last->tls != row->tls) host_row(page, *row);
    route_row(page, *row);
    last = row;
  }
  page.raw("</tbody></table></div>\n");
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

/// How many of the rules that were judged stand in each category.
std::map<std::string_view, std::size_t> rules_looking(const AuditResult& result,
                                                      const Taxonomy& taxonomy) {
  std::map<std::string_view, std::size_t> out;
  for (const std::string& id : result.rules_judged) {
    const config::Rule* rule = rule_of(id);
    if (rule == nullptr) continue;
    for (const std::string_view category : split_list(rule->*taxonomy.field)) ++out[category];
  }
  return out;
}

void matrix_row(Page& page, const Category& category, const Tally& tally, std::size_t rules) {
  page.put("<tr><td><b>{}</b> {}", xml(category.id), xml(category.name));
  if (rules == 0) page.raw(" <span class=\"none\">\u2013 not checked</span>");
  if (rules != 0 && tally.rules.empty()) {
    page.put(" <span class=\"quiet\">\u2013 nothing {}</span>",
             tally.accepted == 0 ? "found" : "open");
  }
  if (!tally.rules.empty()) {
    page.raw("<br>");
    for (const std::string_view id : tally.rules) page.put("{} ", rule_link(id));
  }
  page.put("</td><td class=\"num\" data-label=\"rules\">{}</td>", rules);
  for (std::size_t i = tally.of.size(); i-- > 0;) {
    page.put(
        "<td class=\"num {}\" data-label=\"{}\">{}</td>",
        tally.of[i] == 0 ? std::string("none") : fmt::format("l-{}", name(static_cast<Level>(i))),
        name(static_cast<Level>(i)), tally.of[i] == 0 ? "\u00b7" : fmt::format("{}", tally.of[i]));
  }
  page.put("<td class=\"num {}\" data-label=\"accepted\">{}</td></tr>\n",
           tally.accepted == 0 ? "none" : "", tally.accepted);
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
  for (const Listener& listener : listeners_of(result)) listener_table(page, listener);
  page.raw("</section>\n");
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
      "<th class=\"num\" title=\"Rules that were judged\">Rules</th>"
      "<th class=\"num\" title=\"critical\">Crit</th><th class=\"num\" title=\"high\">High</th>"
      "<th class=\"num\" title=\"medium\">Med</th><th class=\"num\" title=\"low\">Low</th>"
      "<th class=\"num\" title=\"info\">Info</th>"
      "<th class=\"num\">Accepted</th></tr></thead>\n<tbody>\n");
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
