#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

bool mentions_method(const Message& at) {
  if (!at) return false;
  bool found = false;
  walk(*at.node(), [&](const Node& node) {
    found = found || Message(node).text("name") == ":method" ||
            Message(node).text("header_name") == ":method";
  });
  return found;
}

bool route_matches_method(const Route& route) {
  return route.match.has("grpc") || mentions_method(Message(route.match.field("headers")));
}

bool rbac_judges_method(const Hcm& hcm, const Route& route) {
  return std::ranges::any_of(hcm.filters, [&](const Filter& filter) {
    if (!filter.is("rbac") || !decides(route, filter)) return false;
    const Message rbac = rbac_of(route, filter);
    return mentions_method(rbac.message("rules")) || mentions_method(rbac.message("matcher"));
  });
}

void check_methods(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    std::vector<std::string> open;
    for (const Route* route : hcm.all_routes()) {
      if (!route->action || route->match.has("connect_matcher")) continue;
      if (answers_challenges(*route)) continue;
      if (route_matches_method(*route) || rbac_judges_method(hcm, *route)) continue;
      open.push_back(route->label());
    }
    if (open.empty()) continue;
    in.report("MTH-01", Level::kMedium, hcm.at.at(),
              "every method is forwarded: expected :method in the matches of routes, or RBAC")
        .affected = sorted(std::move(open));
  }
}

void check_trace(Inspection& in) {
  for (const Route& route : in.model.routes) {
    if (!route.action) continue;
    for (const Node& one : route.match.list("headers")) {
      const Message header(one);
      if (header.text("name") != ":method" || header.is_true("invert_match")) continue;
      bool trace = false;
      walk(one, [&](const Node& node) {
        trace = trace || node.text() == "TRACE" || node.text() == "TRACK" ||
                (node.is_scalar() && node.text().find("TRACE") != std::string_view::npos);
      });
      if (!trace) continue;
      in.report("MTH-02", Level::kLow, header.at(), "TRACE is forwarded").affected = {
          route.label()};
    }
  }
}

struct Rbac {
  const Hcm* hcm;
  const Filter* filter;
};

std::vector<Rbac> rbacs(const Inspection& in) {
  std::vector<Rbac> out;
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (filter.is("rbac") && filter.config) out.push_back({&hcm, &filter});
    }
  }
  return out;
}

void check_override(Inspection& in) {
  for (const Rbac& rbac : rbacs(in)) {
    if (!mentions_method(rbac.filter->config.message("rules"))) continue;
    std::vector<std::string> open;
    for (const Route* route : rbac.hcm->all_routes()) {
      if (route->action &&
          !removes_header(*route, "request_headers_to_remove", "x-http-method-override")) {
        open.push_back(route->label());
      }
    }
    if (open.empty()) continue;
    Finding& finding = in.report("MTH-05", Level::kLow, rbac.filter->at.at(),
                                 "methods are judged, and X-HTTP-Method-Override goes through");
    finding.affected = sorted(std::move(open));
    finding.evidence = "X-HTTP-Method-Override: DELETE";
  }
}

void check_connect(Inspection& in) {
  const auto judge = [&](const Hcm& hcm, const Message& holder, const std::string& label) {
    for (const Node& one : holder.list("upgrade_configs")) {
      const Message upgrade(one);
      const std::string_view type = upgrade.text("upgrade_type");
      if (upgrade.flag("enabled") == false) continue;
      if (ascii::iequals(type, "connect") || ascii::iequals(type, "connect-udp")) {
        in.report("MTH-06", Level::kHigh, upgrade.at("upgrade_type"),
                  "CONNECT is taken: the listener is a tunnel to what its clusters reach")
            .affected = {label};
      } else if (ascii::iequals(type, "h2c")) {
        in.report("INJ-05", Level::kHigh, upgrade.at("upgrade_type"),
                  "Upgrade: h2c is forwarded: what follows it is judged by no filter")
            .affected = {label};
      }
    }
    (void)hcm;
  };
  std::set<const RouteConfig*> seen;
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    judge(hcm, hcm.at, std::string(hcm.listener->name));
    const bool first = hcm.routes != nullptr && seen.insert(hcm.routes).second;
    if (!first) continue;
    for (const Route* route : hcm.all_routes()) judge(hcm, route->action, route->label());
  }
}

void check_refusal(Inspection& in) {
  for (const Rbac& rbac : rbacs(in)) {
    const Message rules = rbac.filter->config.message("rules");
    if (rules.word("action", enums::kRbacAction) != "DENY" || !mentions_method(rules)) continue;
    in.report("MTH-07", Level::kLow, rbac.filter->at.at(),
              "refused methods are answered 403: expected 405 with Allow");
  }
}

void check_order(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Filter* before = nullptr;
    for (const Filter& filter : hcm.filters) {
      if (filter.is("router") || filter.is("cache")) {
        if (before == nullptr || filter.is("router")) before = &filter;
        continue;
      }
      if (before == nullptr || !is_access_kind(filter.kind)) continue;
      in.report("LOC-02", Level::kHigh, filter.at.at(),
                fmt::format("{} stands after {}, which answers before it is asked", filter.kind,
                            before->kind))
          .affected = labels(hcm);
    }
  }
}

/// Where a holder switches a filter off, or makes it ask for nothing; unknown when it does neither.
Mark switched_off_at(const Message& holder, const Filter& filter) {
  const Message all = holder.message("typed_per_filter_config");
  if (!all) return {};
  for (const config::Member& member : all.node()->members()) {
    const bool same =
        member.key.text() == filter.name || filter_kind({}, member.key.text()) == filter.kind;
    const Typed own = own_config(Message(member.value));
    if (!same) continue;
    if (own.config.is_true("disabled")) return own.config.at("disabled");
    // Where the filter itself refuses nobody, MTH-04 speaks of a policy for everyone.
    const bool opens = allows_everyone(own.config.path("rbac.rules")) && !decides(filter);
    if (own.is("RBACPerRoute") && opens) continue;
    if (is_idle_override(own, filter)) {
      return own.config.has("requirement_name") ? own.config.at("requirement_name")
                                                : member.key.at();
    }
  }
  return {};
}

/// Visits what may switch a filter off, from the outside in: the route table, its hosts, their
/// routes to a cluster, and each of several clusters. `visit` gets the message, its label and
/// whether it is meant for everyone.
template <class F>
void each_override_holder(const RouteConfig& routes, F&& visit) {
  visit(routes.at, std::string(routes.name), false);
  for (const VirtualHost* host : routes.hosts) {
    visit(host->at, std::string(host->domains.empty() ? "" : host->domains.front()), false);
    for (const Route* route : host->routes) {
      if (!route->action) continue;
      const bool open = is_open_by_nature(route->path);
      visit(route->at, route->label(), open);
      for (const Node& one : route->weighted_clusters()) visit(Message(one), route->label(), open);
    }
  }
}

void check_switched_off(Inspection& in) {
  std::set<std::string> done;
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.routes == nullptr) continue;
    for (const Filter& filter : hcm.filters) {
      if (!is_access_kind(filter.kind) || filter.disabled) continue;
      each_override_holder(*hcm.routes,
                           [&](const Message& holder, const std::string& label, bool open) {
                             const Mark at = switched_off_at(holder, filter);
                             if (!at.known() || !done.insert(at.to_string()).second) return;
                             in.report("LOC-05", open ? Level::kInfo : Level::kMedium, at,
                                       fmt::format("{} is switched off for {}", filter.kind, label))
                                 .affected = {label};
                           });
    }
  }
}

/// Rules that refuse a path refuse it in that spelling only.
void check_case(Inspection& in) {
  for (const Rbac& rbac : rbacs(in)) {
    const Message rules = rbac.filter->config.message("rules");
    if (rules.word("action", enums::kRbacAction) != "DENY" || rbac.hcm->listener->is_local())
      continue;
    bool exact = false;
    walk(*rules.node(), [&](const Node& node) {
      const Message path = Message(node).path("url_path.path");
      exact = exact || ((path.has("exact") || path.has("prefix") || path.has("suffix")) &&
                        !path.is_true("ignore_case"));
    });
    if (!exact) continue;
    Finding& finding = in.report("PTH-05", Level::kInfo, rbac.filter->at.at(),
                                 "paths are refused in one spelling only: an upstream that ignores "
                                 "case answers the others; expected ignore_case: true");
    finding.evidence = "GET /ADMIN";
    finding.affected = labels(*rbac.hcm);
  }
}

void check_unescaping(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    if (hcm.at.word("path_with_escaped_slashes_action", enums::kEscapedSlashes) !=
        "UNESCAPE_AND_FORWARD")
      continue;
    Finding& finding =
        in.report("PTH-11", Level::kLow, hcm.at.at("path_with_escaped_slashes_action"),
                  "the upstream gets another path than the client wrote: expected "
                  "UNESCAPE_AND_REDIRECT or REJECT_REQUEST");
    finding.evidence = "GET /a%2F..%2Fb";
    finding.fix = set_field(hcm.at, "path_with_escaped_slashes_action", "REJECT_REQUEST");
    finding.affected = labels(hcm);
  }
}

constexpr RuleEntry kRules[] = {{"MTH-01", check_methods},    {"MTH-02", check_trace},
                                {"MTH-05", check_override},   {"MTH-06", check_connect},
                                {"INJ-05", nullptr},          {"MTH-07", check_refusal},
                                {"LOC-02", check_order},      {"PTH-05", check_case},
                                {"PTH-11", check_unescaping}, {"LOC-05", check_switched_off}};

}  // namespace

std::span<const RuleEntry> access_rules() { return kRules; }

}  // namespace merlon::audit::envoy
