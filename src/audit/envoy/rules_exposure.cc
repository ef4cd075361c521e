#include <fmt/format.h>

#include <algorithm>

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
  in.report("EXP-01", inside ? Level::kHigh : Level::kCritical, socket.at("address"),
            fmt::format("the admin interface listens on {}: whoever reaches it can read secrets "
                        "and stop Envoy; expected 127.0.0.1 or a pipe",
                        host))
      .remediation = "address: 127.0.0.1, or pipe: { path: /run/envoy/admin.sock, mode: 384 }";
}

bool is_admin(const Inspection& in, const Cluster& cluster) {
  const Message socket = admin_socket(in);
  const auto port = socket.number("port_value");
  if (!socket || !port || *port == 0) return false;
  return std::ranges::any_of(cluster.endpoints, [&](const Upstream& one) {
    return one.port == *port && (is_loopback(one.host) || one.host == socket.text("address"));
  });
}

/// What a route to the admin interface may show without harm.
bool is_harmless(const Route& route) {
  const std::string_view rewrite = route.action.text("prefix_rewrite");
  const std::string_view path = rewrite.empty() ? std::string_view(route.path) : rewrite;
  return path.starts_with("/ready");
}

bool is_guarded(const Hcm& hcm, const Route& route) {
  return has_mutual_tls(*hcm.chain) || std::ranges::any_of(hcm.filters, [&](const Filter& f) {
           return is_access_kind(f.kind) && !is_disabled(route, f);
         });
}

void check_admin_routes(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local()) continue;
    for (const Route* route : hcm.all_routes()) {
      if (is_harmless(*route) || is_guarded(hcm, *route)) continue;
      for (const std::string_view name : clusters_of(*route)) {
        const Cluster* cluster = in.model.cluster(name);
        if (cluster == nullptr || !is_admin(in, *cluster)) continue;
        const std::string_view rewrite = route->action.text("prefix_rewrite");
        const bool stats = route->path.starts_with("/stats") || rewrite.starts_with("/stats");
        const bool narrow =
            stats && (route->match.has("path") || !rewrite.empty() || route->match.has("prefix"));
        Finding& finding = in.report(
            narrow ? "EXP-02" : "EXP-01", narrow ? Level::kMedium : Level::kCritical,
            route->at.at(), fmt::format("this route leads to the admin interface ({})", name));
        finding.affected = {route->label()};
        finding.trail.push_back({cluster->at.at(), "the cluster's endpoint is the admin address"});
      }
    }
  }
}

/// Paths of frameworks that show or steer the inside of a service.
std::string_view management_path(std::string_view path) {
  constexpr std::string_view kPaths[] = {
      "/actuator", "/debug/pprof", "/heapdump",      "/metrics",    "/jolokia",
      "/swagger",  "/graphiql",    "/server-status", "/phpmyadmin", "/manager/html"};
  for (const std::string_view one : kPaths) {
    if (!path.starts_with(one)) continue;
    const std::string_view rest = path.substr(one.size());
    if (rest.empty() || rest.front() == '/' || rest.front() == '*') return one;
  }
  return {};
}

void check_management(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    for (const Route* route : hcm.all_routes()) {
      if (!route->action || is_guarded(hcm, *route)) continue;
      const std::string_view path = management_path(route->path);
      if (path.empty()) continue;
      Finding& finding = in.report(
          "EXP-03", path == "/metrics" || path == "/swagger" ? Level::kMedium : Level::kHigh,
          route->at.at(),
          fmt::format("{} of the service is open to everyone who reaches the listener", path));
      finding.affected = {route->label()};
      finding.confidence = Confidence::kLikely;
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"EXP-01", check_admin}, {"EXP-02", check_admin_routes}, {"EXP-03", check_management}};

}  // namespace

std::span<const RuleEntry> exposure_rules() { return kRules; }

}  // namespace merlon::audit::envoy
