#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// True when a route is there to keep clients away from its path. A 404 for a picture that browsers
/// ask for is not.
bool refuses_a_path(const Route& route) {
  const std::string_view status = route.direct.text("status");
  if (route.path == "/*") return false;
  return status == "403" || status == "401" || (status == "404" && !is_open_by_nature(route.path));
}

/// True when a rule that is read here asks for the path.
bool names_paths(const Hcm& hcm) {
  for (const Filter& filter : hcm.filters) {
    if (!filter.config || !is_access_kind(filter.kind)) continue;
    bool found = false;
    walk(*filter.config.node(), [&](const Node& node) {
      const Message at(node);
      if (at.has("url_path") || at.text("name") == ":path") found = true;
      const Message match = at.message("match");
      // Another spelling of the only path that is open to all is asked for more, not less.
      if (filter.is("jwt_authn") && match.has("path") && !asks_for_token(at)) return;
      for (const char* key : {"prefix", "path", "safe_regex", "path_separated_prefix"}) {
        found = found || (match.has(key) && match.text(key) != "/");
      }
    });
    if (found) return true;
  }
  return std::ranges::any_of(hcm.all_routes(), [&](const Route* route) {
    return refuses_a_path(*route) || std::ranges::any_of(hcm.filters, [&](const Filter& filter) {
             if (!is_access_kind(filter.kind) || filter.disabled) return false;
             const bool opens_one = route->match.has("path") && is_disabled(*route, filter);
             return override_of(*route, filter).config && !opens_one;
           });
  });
}

/// True when who may pass depends on the path, so that a second spelling of it is a way around.
bool judges_paths(const Hcm& hcm) { return hcm.find("ext_authz") != nullptr || names_paths(hcm); }

/// True when a path that no rule names passes: a second spelling of a named one is then a way in.
/// What an authorisation service would say of it is not known.
bool passes_unnamed_paths(const Hcm& hcm) {
  const auto denies_paths = [](const Filter& filter) {
    const Message rules = filter.config.message("rules");
    if (!filter.is("rbac") || rules.word("action", enums::kRbacAction) != "DENY") return false;
    bool found = false;
    walk(*rules.node(), [&](const Node& node) {
      found = found || Message(node).has("url_path") || Message(node).text("name") == ":path";
    });
    return found;
  };
  const auto names_some = [](const Filter& filter) {
    if (!filter.is("jwt_authn")) return false;
    const auto rules = filter.config.list("rules");
    const bool all = std::ranges::any_of(rules, [](const Node& rule) {
      return Message(rule).path("match").text("prefix") == "/" && Message(rule).has("requires");
    });
    return !rules.empty() && !all;
  };
  if (std::ranges::any_of(hcm.filters, denies_paths)) return true;
  if (std::ranges::any_of(hcm.filters, names_some)) return true;
  return std::ranges::any_of(hcm.all_routes(), [](const Route* route) {
    const std::string_view status = route->direct.text("status");
    return (status == "403" || status == "401") && route->path != "/*";
  });
}

void check_normalisation(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    const bool judged = judges_paths(hcm);
    const bool normal = hcm.at.is_true("normalize_path");
    const EnumWord escaped =
        hcm.at.word("path_with_escaped_slashes_action", enums::kEscapedSlashes);
    const bool kept = escaped.empty() || escaped == "KEEP_UNCHANGED" ||
                      escaped == "IMPLEMENTATION_SPECIFIC_DEFAULT";
    if (normal && !kept) continue;
    if (!judged && (has_mutual_tls(*hcm.chain) || (normal && escaped.empty()))) continue;
    const char* key = normal ? "path_with_escaped_slashes_action" : "normalize_path";
    // With the path normalised, %2F alone is a smaller hole.
    // An authorisation service may judge paths, or not; rules that are read here do.
    const Level level = !judged                       ? Level::kLow
                        : normal || !names_paths(hcm) ? Level::kMedium
                                                      : Level::kHigh;
    Finding& finding =
        in.report("PTH-03", level, hcm.at.at(key),
                  normal ? "%2F stays as it is: the upstream may read it as a slash"
                         : "paths are judged as they were written: expected normalize_path: true");
    finding.evidence = normal ? "GET /public%2F..%2Fadmin" : "GET /public/../admin";
    finding.confidence = judged ? Confidence::kCertain : Confidence::kLikely;
    finding.fix = normal ? write_field(hcm.at, key, "UNESCAPE_AND_REDIRECT")
                         : write_field(hcm.at, key, "true");
    finding.affected = labels(hcm);
  }
}

void check_slashes(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    if (hcm.at.is_true("merge_slashes")) continue;
    const bool judged = judges_paths(hcm);
    const bool said = hcm.at.has("merge_slashes");
    if (!judged && !said) continue;
    const Level level = !judged                     ? Level::kInfo
                        : passes_unnamed_paths(hcm) ? Level::kHigh
                                                    : Level::kLow;
    Finding& finding = in.report("PTH-02", level, hcm.at.at("merge_slashes"),
                                 "//admin is not /admin for what judges paths: expected "
                                 "merge_slashes: true");
    finding.evidence = "GET //admin";
    finding.fix = write_field(hcm.at, "merge_slashes", "true");
    finding.confidence = Confidence::kLikely;
  }
}

void check_rewrites(Inspection& in) {
  for (const Route& route : in.model.routes) {
    const std::string_view to = route.action.text("prefix_rewrite");
    const std::string_view from = route.match.text("prefix");
    if (to.empty() || from.empty()) continue;
    if (!to.ends_with('/') || from.ends_with('/')) continue;
    in.report("PTH-04", Level::kLow, route.action.at("prefix_rewrite"),
              fmt::format("{}/x becomes {}/x: the prefixes should end alike", from, to))
        .affected = {route.label()};
  }
}

void check_boundaries(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Route* route : hcm.all_routes()) {
      const std::string_view prefix = route->match.text("prefix");
      // "/package." is how a gRPC package is named: what follows is its service.
      const bool bounded = prefix.ends_with('/') || prefix.ends_with('.');
      if (prefix.size() < 2 || bounded || !route->action) continue;
      const bool opened = std::ranges::any_of(hcm.filters, [&](const Filter& filter) {
        return is_access_kind(filter.kind) && !filter.disabled &&
               override_of(*route, filter).config && is_disabled(*route, filter);
      });
      if (!opened) continue;
      Finding& finding =
          in.report("PTH-06", Level::kLow, route->match.at("prefix"),
                    fmt::format("what is switched off for {} is off for {}x too: expected "
                                "path_separated_prefix",
                                prefix, prefix));
      finding.evidence = fmt::format("GET {}-admin", prefix);
      finding.affected = {route->label()};
    }
  }
}

void check_regexes(Inspection& in) {
  for (const Route& route : in.model.routes) {
    const Message regex = route.match.message("safe_regex");
    std::string_view pattern = regex.text("regex");
    if (pattern.starts_with('^')) pattern.remove_prefix(1);
    if (pattern.empty()) continue;
    constexpr std::string_view kStarts = "/.([\\";
    if (kStarts.find(pattern.front()) != std::string_view::npos) continue;
    in.report("PTH-07", Level::kMedium, regex.at("regex"),
              "the expression has to match the whole path, and no path starts like it: the route "
              "is never taken")
        .affected = {route.label()};
  }
}

/// True when no request gets past `first` to `later`. A CONNECT has no path that a route could
/// take.
bool covers(const Route& first, const Route& later) {
  return !later.match.has("connect_matcher") && takes_all_of(first.match, later.match);
}

void check_shadowed(Inspection& in) {
  constexpr std::size_t kRoutesMax = 2000;  // each is compared with all before it
  constexpr std::size_t kPatternsMax = 500'000;
  std::size_t patterns = 0;
  for (const VirtualHost& host : in.model.hosts) {
    for (std::size_t i = 1; i < std::min(host.routes.size(), kRoutesMax); ++i) {
      const Route& later = *host.routes[i];
      const auto end = host.routes.begin() + static_cast<std::ptrdiff_t>(i);
      const auto first = std::find_if(host.routes.begin(), end, [&](const Route* r) {
        if (r->match.has("safe_regex") && ++patterns > kPatternsMax) return false;
        return covers(*r, later);
      });
      if (first == end) continue;
      const std::string_view status = later.direct.text("status");
      const bool refuses = (status == "403" || status == "401") && later.path != "/*";
      Finding& finding = in.report(
          "PTH-10", refuses ? Level::kHigh : Level::kLow, later.at.at(),
          fmt::format("{} is never reached: {} stands before it", later.path, (*first)->path));
      finding.affected = {later.label()};
      finding.trail.push_back({(*first)->at.at(), "the route that is taken"});
    }
  }
  if (patterns > kPatternsMax) {
    in.not_checked("PTH-10", "too many routes by regular expression to compare each with all");
  }
}

void check_framing(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Message h1 = hcm.at.message("http_protocol_options");
    const auto report = [&](const Message& at, const char* key, Level level, std::string what) {
      if (!at.is_true(key)) return;
      in.report("INJ-02", level, at.at(key), std::move(what)).fix = set_field(at, key, "false");
    };
    report(h1, "allow_chunked_length", Level::kHigh,
           "requests with both Content-Length and chunked framing are taken: two readers may see "
           "two requests");
    report(h1, "accept_http_10", Level::kMedium, "HTTP/1.0 is taken, with its framing by close");
    report(h1, "override_stream_error_on_invalid_http_message", Level::kMedium,
           "the connection stays open after a message that could not be read");
    report(hcm.at.message("http2_protocol_options"),
           "override_stream_error_on_invalid_http_message", Level::kLow,
           "the connection stays open after a message that could not be read");
  }
}

void check_underscores(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    const Message common = hcm.at.message("common_http_protocol_options");
    const EnumWord action = common.word("headers_with_underscores_action", enums::kUnderscores);
    if (!action.empty() && action != "ALLOW") continue;
    const Mark at = !action.empty() ? common.at("headers_with_underscores_action")
                    : common        ? hcm.at.at("common_http_protocol_options")
                                    : hcm.at.at();
    Finding& finding = in.report("INJ-03", Level::kMedium, at,
                                 "header names with underscores are taken: many upstreams read "
                                 "x_user as X-User");
    finding.remediation = "headers_with_underscores_action: REJECT_REQUEST";
    finding.evidence = "x_forwarded_for: 127.0.0.1";
  }
}

/// True when hosts that anyone may own are among the domains: "*", "*.com" or "api.*".
bool takes_foreign_hosts(const Route& route) {
  const auto is_open = [](std::string_view domain) {
    if (domain.ends_with('*')) return true;
    return domain.starts_with('*') && is_open_ending(domain.substr(1));
  };
  return route.host == nullptr || std::ranges::any_of(route.host->domains, is_open);
}

/// Whose word the dynamic forward proxy takes for the host that it connects to.
struct ChosenHost {
  bool by_client = false;
  std::string_view header;  ///< "" is the Host of the request
};

ChosenHost chosen_host(const Hcm& hcm, const Route& route) {
  const Filter* filter = hcm.find("dynamic_forward_proxy");
  const Message own = filter == nullptr ? Message{} : override_of(route, *filter).config;
  if (!own.text("host_rewrite_literal").empty()) return {};
  if (const std::string_view header = own.text("host_rewrite_header"); !header.empty()) {
    return {.by_client = true, .header = header};
  }
  return {.by_client = takes_foreign_hosts(route), .header = {}};
}

/// Reports what `holder`, an action or one of its weighted clusters, leaves to a request header: to
/// which cluster the request goes.
void report_chosen_cluster(Inspection& in, const Hcm& hcm, const Route& route,
                           const Message& holder) {
  const std::string_view header = holder.text("cluster_header");
  if (header.empty()) return;
  const bool written = is_written_here(hcm, header);
  Finding& finding =
      in.report("SSR-01", written ? Level::kMedium : Level::kHigh, holder.at("cluster_header"),
                fmt::format("the client chooses the cluster in the header {}", header));
  finding.confidence = written ? Confidence::kPossible : Confidence::kCertain;
  finding.affected = {route.label()};
}

Finding& report_followed(Inspection& in, const Route& route, const Cluster& cluster, Level level,
                         std::string what) {
  Finding& finding = in.report("SSR-01", level, route.at.at(), std::move(what));
  finding.affected = {route.label()};
  finding.trail.push_back({cluster.at.at(), "the cluster that follows it"});
  return finding;
}

/// Reports a route to a cluster that connects to the address, or the host, that a request names.
void report_chosen_address(Inspection& in, const Hcm& hcm, const Route& route,
                           const Cluster& cluster, Level level) {
  if (cluster.at.message("original_dst_lb_config").is_true("use_http_header")) {
    report_followed(in, route, cluster, level,
                    "the client names the upstream's address in x-envoy-original-dst-host")
        .evidence = "x-envoy-original-dst-host: 169.254.169.254:80";
    return;
  }
  if (cluster.custom != "dynamic_forward_proxy") return;
  const ChosenHost chosen = chosen_host(hcm, route);
  if (!chosen.by_client) return;
  if (chosen.header.empty()) {
    report_followed(in, route, cluster, level,
                    "the client's Host is the upstream: an open forward proxy")
        .evidence = "Host: 169.254.169.254";
    return;
  }
  const bool written = is_written_here(hcm, chosen.header);
  Finding& finding = report_followed(
      in, route, cluster, written ? Level::kMedium : level,
      fmt::format("the client names the upstream in {}: an open forward proxy", chosen.header));
  finding.evidence = fmt::format("{}: 169.254.169.254", chosen.header);
  finding.confidence = written ? Confidence::kPossible : Confidence::kCertain;
}

void check_chosen_upstreams(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    const Level level = has_access_control(hcm) ? Level::kHigh : Level::kCritical;
    for (const Route* route : hcm.all_routes()) {
      report_chosen_cluster(in, hcm, *route, route->action);
      for (const Node& one : route->weighted_clusters()) {
        report_chosen_cluster(in, hcm, *route, Message(one));
      }
      for (const std::string_view name : clusters_of(*route)) {
        const Cluster* cluster = in.model.cluster(name);
        if (cluster != nullptr) report_chosen_address(in, hcm, *route, *cluster, level);
      }
    }
  }
}

/// The addresses at which clouds tell a machine its credentials.
bool is_metadata_service(std::string_view host) {
  return host == "169.254.169.254" || host == "fd00:ec2::254" ||
         host == "metadata.google.internal" || host == "100.100.100.200";
}

/// True when a route, or a tcp_proxy, of a listener that other hosts reach leads to the cluster.
bool is_routed_to(const Model& model, const Cluster& cluster) {
  const auto names_it = [&](const std::vector<std::string_view>& names) {
    return std::ranges::any_of(names, [&](std::string_view name) {
      if (name == cluster.name) return true;
      const Cluster* other = model.cluster(name);
      return other != nullptr &&
             std::ranges::find(other->members, cluster.name) != other->members.end();
    });
  };
  const auto leads_there = [&](const Route* route) { return names_it(clusters_of(*route)); };
  const auto passes_on = [&](const Filter& filter) {
    return filter.is("tcp_proxy") && names_it(clusters_of(filter));
  };
  return std::ranges::any_of(model.hcms,
                             [&](const Hcm& hcm) {
                               return !hcm.listener->is_local() &&
                                      std::ranges::any_of(hcm.all_routes(), leads_there);
                             }) ||
         std::ranges::any_of(model.chains, [&](const FilterChain& chain) {
           return !chain.listener->is_local() && std::ranges::any_of(chain.filters, passes_on);
         });
}

void check_metadata(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    for (const Upstream& one : cluster.endpoints) {
      if (!is_metadata_service(one.host)) continue;
      if (!is_routed_to(in.model, cluster)) break;
      in.report("SSR-02", Level::kCritical, one.at.message("socket_address").at("address"),
                fmt::format("{} leads to the metadata service of the cloud", cluster.name));
      break;
    }
  }
}

void check_location(Inspection& in) {
  const auto judge = [&](const Message& holder) {
    for (const Node& one : holder.list("response_headers_to_add")) {
      const Message header = Message(one).message("header");
      if (!ascii::iequals(header.text("key"), "location")) continue;
      if (!header.text("value").starts_with("%REQ(")) continue;
      in.report("SSR-03", Level::kMedium, header.at("value"),
                "the target of the redirect is what the client sent");
    }
  };
  for (const Route& route : in.model.routes) judge(route.at);
  for (const VirtualHost& host : in.model.hosts) judge(host.at);
}

void check_internal_redirects(Inspection& in) {
  for (const Route& route : in.model.routes) {
    const Message policy = route.action.message("internal_redirect_policy");
    if (!policy || !policy.list("predicates").empty()) continue;
    in.report("SSR-04", Level::kLow, route.action.at("internal_redirect_policy"),
              "redirects of the upstream are followed to any route")
        .affected = {route.label()};
  }
}

constexpr RuleEntry kRules[] = {
    {"PTH-02", check_slashes},          {"PTH-03", check_normalisation},
    {"PTH-04", check_rewrites},         {"PTH-06", check_boundaries},
    {"PTH-07", check_regexes},          {"PTH-10", check_shadowed},
    {"INJ-02", check_framing},          {"INJ-03", check_underscores},
    {"SSR-01", check_chosen_upstreams}, {"SSR-02", check_metadata},
    {"SSR-03", check_location},         {"SSR-04", check_internal_redirects}};

}  // namespace

std::span<const RuleEntry> path_rules() { return kRules; }

}  // namespace merlon::audit::envoy
