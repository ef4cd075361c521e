#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "audit/envoy/rules.h"

namespace merlon::audit::envoy {
namespace {

Message admin_socket(const Inspection& in) {
  return in.model.bootstrap().path("admin.address.socket_address");
}

void check_admin(Inspection& in) {
  const Message socket = admin_socket(in);
  const std::string_view host = socket.text("address");
  if (!socket || host.empty() || is_loopback(host)) return;
  const auto ip = IpAddress::parse(host);
  const bool inside = is_private(host) && !(ip && ip->is_unspecified());
  Finding& finding = in.report(
      "EXP-01", inside ? Level::kHigh : Level::kCritical, socket.at("address"),
      fmt::format("the admin interface listens on {}: whoever reaches it can read secrets and stop "
                  "Envoy; expected 127.0.0.1 or a pipe",
                  host));
  finding.remediation = "address: 127.0.0.1, or pipe: { path: /run/envoy/admin.sock, mode: 384 }";
  finding.fix = set_field(socket, "address", "127.0.0.1");
}

bool is_admin(const Inspection& in, const Cluster& cluster) {
  const Message socket = admin_socket(in);
  const std::uint64_t port = socket.number("port_value").value_or(0);
  const std::string_view pipe = in.model.bootstrap().path("admin.address.pipe").text("path");
  const auto behind = endpoints_behind(in.model, cluster);
  return std::ranges::any_of(behind, [&](const Upstream* one) {
    if (!pipe.empty() && one->at.message("pipe").text("path") == pipe) return true;
    return port != 0 && one->port == port &&
           (leads_to_this_host(one->host) || one->host == socket.text("address"));
  });
}

/// What a route to the admin interface may show without harm.
bool is_harmless(const Route& route) {
  const std::string_view rewrite = route.action.text("prefix_rewrite");
  const std::string_view path = rewrite.empty() ? std::string_view(route.path) : rewrite;
  return path.starts_with("/ready");
}

/// True when something asks who the client is before it answers `path`, which the route takes; ""
/// when that is not known.
bool is_guarded(const Hcm& hcm, const Route& route, std::string_view path) {
  return has_mutual_tls(*hcm.chain) ||
         std::ranges::any_of(hcm.filters, [&](const Filter& f) { return decides(route, f, path); });
}

/// The path of a route, or the start of its paths; "" when a regular expression matches them.
std::string_view path_of(const Route& route) {
  std::string_view path = route.path;
  if (!path.starts_with('/')) return {};
  if (path.ends_with('*')) path.remove_suffix(1);
  return path;
}

void check_admin_routes(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local()) continue;
    for (const Route* route : hcm.all_routes()) {
      if (is_harmless(*route)) continue;
      std::vector<std::string_view> names = clusters_of(*route);
      std::ranges::copy(mirrors_of(*route), std::back_inserter(names));
      for (const std::string_view name : names) {
        const Cluster* cluster = in.model.cluster(name);
        if (cluster == nullptr || !is_admin(in, *cluster)) continue;
        // Asked last: a long list of policies is gone through.
        if (is_guarded(hcm, *route, path_of(*route))) break;
        const std::string_view rewrite = route->action.text("prefix_rewrite");
        const bool stats = route->path.starts_with("/stats") || rewrite.starts_with("/stats");
        const bool narrow =
            stats && (route->match.has("path") || !rewrite.empty() || route->match.has("prefix"));
        // Scraping it is what that path is for, as every mesh has it.
        const bool metrics = route->path.starts_with("/stats/prometheus") ||
                             rewrite.starts_with("/stats/prometheus");
        Finding& finding = in.report(
            narrow ? "EXP-02" : "EXP-01",
            !narrow   ? Level::kCritical
            : metrics ? Level::kLow
                      : Level::kMedium,
            route->at.at(), fmt::format("this route leads to the admin interface ({})", name));
        finding.affected = {route->label()};
        finding.trail.push_back({cluster->at.at(), "the cluster's endpoint is the admin address"});
      }
    }
  }
}

/// A TCP proxy in front of the admin interface is that interface on another address.
void check_admin_tunnels(Inspection& in) {
  for (const FilterChain& chain : in.model.chains) {
    if (chain.listener->is_local() || has_mutual_tls(chain)) continue;
    if (std::ranges::any_of(chain.filters, [](const Filter& f) { return decides(f); })) continue;
    for (const Filter& filter : chain.filters) {
      if (!filter.is("tcp_proxy")) continue;
      for (const std::string_view name : clusters_of(filter)) {
        const Cluster* cluster = in.model.cluster(name);
        if (cluster == nullptr || !is_admin(in, *cluster)) continue;
        const char* const key = filter.config.has("cluster") ? "cluster" : "weighted_clusters";
        Finding& finding = in.report("EXP-01", Level::kCritical, filter.config.at(key),
                                     fmt::format("{} leads to the admin interface ({})",
                                                 chain.listener->socket(), cluster->name));
        finding.affected = {std::string(chain.listener->name)};
        finding.trail.push_back({cluster->at.at(), "the cluster's endpoint is the admin address"});
      }
    }
  }
}

/// Paths of frameworks that show or steer the inside of a service.
struct Management {
  std::string_view path;
  std::string_view probe;  ///< what an attacker would ask for below it
  std::string_view word;   ///< what a regular expression that means it holds
};
constexpr Management kManagement[] = {{"/actuator", "/actuator/env", "actuator"},
                                      {"/debug/pprof", "/debug/pprof/", "debug"},
                                      {"/heapdump", "/heapdump", "heapdump"},
                                      {"/metrics", "/metrics", "metrics"},
                                      {"/jolokia", "/jolokia/list", "jolokia"},
                                      {"/swagger", "/swagger", "swagger"},
                                      {"/swagger-ui", "/swagger-ui/index.html", "swagger"},
                                      {"/graphiql", "/graphiql", "graphiql"},
                                      {"/server-status", "/server-status", "server"},
                                      {"/phpmyadmin", "/phpmyadmin/", "phpmyadmin"},
                                      {"/manager/html", "/manager/html", "manager"}};

/// What an actuator is asked for by whoever watches it.
bool is_health(std::string_view path) {
  return path.starts_with("/actuator/health") || path == "/actuator/info";
}

/// True when a regular expression was written for paths such as `path`: it takes that one, and none
/// of another name.
bool is_meant_for(std::string_view regex, std::string_view path) {
  const std::string other = fmt::format("{}zqxjkv{}", path.substr(0, 2),
                                        path.substr(std::min(path.find('/', 1), path.size())));
  return matches_whole(regex, path) == true && matches_whole(regex, other) == false;
}

/// The path of `one` that a route leads to; "" when it leads to none.
std::string_view led_to(const Route& route, const Management& one) {
  if (const Message regex = route.match.message("safe_regex")) {
    const std::string_view text = regex.text("regex");
    const bool meant =
        text.find(one.word) != std::string_view::npos && is_meant_for(text, one.probe);
    return meant ? one.probe : std::string_view{};
  }
  const std::string_view path = path_of(route);
  if (!path.starts_with(one.path) || is_health(path)) return {};
  const std::string_view below = path.substr(one.path.size());
  if (!below.empty() && below.front() != '/') return {};
  return below.size() > 1 || route.match.has("path") ? path : one.probe;
}

/// True when a route before this one answers `path` by itself: refuses it, most often.
bool is_answered_before(const Route& route, std::string_view path) {
  constexpr std::size_t kLookedAtMax = 2000;
  const auto& routes = route.host->routes;
  for (std::size_t i = 0; i < std::min(routes.size(), kLookedAtMax) && routes[i] != &route; ++i) {
    if (routes[i]->action) continue;
    if (takes_path(routes[i]->match, path) == true) return true;
  }
  return false;
}

void check_management(Inspection& in) {
  constexpr int kJudgedMax = 2000;  // what stands before each of them is looked at
  int judged = 0;
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    for (const Route* route : hcm.all_routes()) {
      const auto leads = [&](const Management& one) { return !led_to(*route, one).empty(); };
      if (!route->action || std::ranges::none_of(kManagement, leads)) continue;
      if (++judged > kJudgedMax) {
        in.not_checked("EXP-03", "there are too many routes to management paths");
        return;
      }
      const auto open = std::ranges::find_if(kManagement, [&](const Management& one) {
        const std::string_view path = led_to(*route, one);
        return !path.empty() && !is_guarded(hcm, *route, path) && !is_answered_before(*route, path);
      });
      if (open == std::end(kManagement)) continue;
      const bool tells = open->path == "/metrics" || open->path.starts_with("/swagger");
      Finding& finding =
          in.report("EXP-03", tells ? Level::kMedium : Level::kHigh, route->at.at(),
                    fmt::format("{} of the service is open to everyone who reaches the listener",
                                open->path));
      finding.affected = {route->label()};
      finding.confidence = Confidence::kLikely;
    }
  }
}

/// The site that Envoy's own example leads to.
void check_demo(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    const bool demo = std::ranges::any_of(
        cluster.endpoints, [](const Upstream& one) { return one.host == "www.envoyproxy.io"; });
    if (!demo) continue;
    in.report("EXP-05", Level::kInfo, cluster.at.at(),
              fmt::format("{} leads to www.envoyproxy.io: this is Envoy's example configuration",
                          cluster.name));
  }
}

void check_version_wildcards(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    for (const Route* route : hcm.all_routes()) {
      const std::string_view regex = route->match.message("safe_regex").text("regex");
      const bool wild = regex.find("/v[0-9]") != std::string_view::npos ||
                        regex.find("/v\\d") != std::string_view::npos ||
                        regex.find("/v(\\d") != std::string_view::npos ||
                        regex.find("/v([0-9]") != std::string_view::npos;
      if (!wild || !route->action) continue;
      in.report("EXP-06", Level::kLow, route->match.at("safe_regex"),
                "every API version is routed, retired and unborn ones too: expected the versions "
                "that are served")
          .affected = {route->label()};
    }
  }
}

void check_private_redirects(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    for (const Route* route : hcm.all_routes()) {
      const std::string_view to = route->redirect.text("host_redirect");
      if (to.empty() || !IpAddress::parse(to) || !is_private(to)) continue;
      in.report("INF-05", Level::kLow, route->redirect.at("host_redirect"),
                fmt::format("clients are sent to {}, an address of the inside", to))
          .affected = {route->label()};
    }
  }
}

constexpr RuleEntry kRules[] = {{"EXP-01", check_admin},
                                {"EXP-02", check_admin_routes},
                                {"EXP-01", check_admin_tunnels},
                                {"EXP-03", check_management},
                                {"EXP-05", check_demo},
                                {"EXP-06", check_version_wildcards},
                                {"INF-05", check_private_redirects}};

}  // namespace

std::span<const RuleEntry> exposure_rules() { return kRules; }

}  // namespace merlon::audit::envoy
