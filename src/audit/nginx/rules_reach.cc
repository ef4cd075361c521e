#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"
#include "audit/words.h"

// What can be reached through a proxy, and by whom.
namespace merlon::audit::nginx {
namespace {

bool is_metadata_host(std::string_view host) {
  constexpr std::array<std::string_view, 5> kHosts = {"169.254.169.254", "metadata.google.internal",
                                                      "100.100.100.200", "fd00:ec2::254",
                                                      "169.254.170.2"};
  return std::ranges::find(kHosts, host) != kHosts.end();
}

void check_metadata(Inspection& in) {
  for (const Hop& hop : hops(in)) {
    const bool there = is_metadata_host(hop.target.host) ||
                       std::ranges::any_of(hop.hosts, [](const std::string& host) {
                         return is_metadata_host(host);
                       });
    const Server* server = in.model.server_of(*hop.scope);
    if (!there || hop.scope->has("internal") || is_denied_to_all(*hop.scope)) continue;
    if (server != nullptr && server->is_local()) continue;
    const bool guarded = has_authentication(in, *hop.scope) || has_network_acl(*hop.scope);
    in.report("SSR-02", guarded ? Level::kMedium : Level::kCritical, *hop.pass,
              "requests go to the metadata service of the cloud, which hands out the machine's "
              "credentials")
        .affected.push_back(in.model.route_of(*hop.scope));
  }
}

/// `internal` locations that lead to files: what X-Accel-Redirect may name.
bool has_internal_files(const Server& server) {
  return std::ranges::any_of(server.all_locations, [](const Location* location) {
    return location->internal && handler_of(*location->scope).kind == Handler::Kind::kStatic &&
           (location->scope->has("alias") || location->scope->has("root"));
  });
}

bool ignores_redirects(const Scope& scope) {
  for (const Directive* ignore : scope.effective_all("proxy_ignore_headers")) {
    for (const Word& word : ignore->args) {
      if (word.text == "X-Accel-Redirect") return true;
    }
  }
  return false;
}

void check_accel(Inspection& in) {
  std::map<const Server*, bool> holds_files;
  for (const Hop& hop : hops(in)) {
    if (hop.distance != Distance::kPublic || !hop.resolved || !hop.pass->is("proxy_pass")) continue;
    const Server* server = in.model.server_of(*hop.scope);
    if (server == nullptr || ignores_redirects(*hop.scope)) continue;
    const auto [known, added] = holds_files.try_emplace(server);
    if (added) known->second = has_internal_files(*server);
    if (!known->second) continue;
    Finding& finding = in.report(
        "SSR-04", Level::kLow, *hop.pass,
        fmt::format("{} may have internal locations served to its clients by "
                    "X-Accel-Redirect: expected \"proxy_ignore_headers X-Accel-Redirect\"",
                    hop.hosts.empty() ? hop.target.host : join_some(hop.hosts)));
    finding.confidence = Confidence::kPossible;
    finding.affected.push_back(in.model.route_of(*hop.scope));
  }
}

/// One remark for all names: the remedy is the same, a resolver.
void check_stale_names(Inspection& in) {
  std::set<std::string> names;
  const Directive* first = nullptr;
  for (const Hop& hop : hops(in)) {
    if (!hop.hosts.empty() || hop.target.has_variable || !hop.pass->is("proxy_pass")) continue;
    if (hop.pass->arg(0).find('$') != std::string_view::npos) continue;
    const std::string& host = hop.target.host;
    const bool is_name = host.find_first_not_of("0123456789.") != std::string::npos &&
                         host.find(':') == std::string::npos;
    if (hop.distance != Distance::kPublic || !is_name) continue;
    if (first == nullptr) first = hop.pass;
    names.insert(host);
  }
  if (first == nullptr) return;
  Finding& finding = in.report(
      "UPS-06", Level::kInfo, *first,
      "the upstream's name is looked up once, at the start: when its addresses change, requests go "
      "on to the old ones; expected \"server NAME resolve\" and a resolver");
  finding.affected.assign(names.begin(), names.end());
}

/// A prefix that opens what is closed around it opens everything that starts like it.
void check_open_prefixes(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const bool prefix = location.match == Location::Match::kPrefix ||
                        location.match == Location::Match::kPrefixFirst;
    if (!prefix || location.path.size() < 2 || location.path.ends_with('/')) continue;
    const Scope& scope = *location.scope;
    if (scope.parent == nullptr || has_authentication(in, scope)) continue;
    if (!has_authentication(in, *scope.parent)) continue;
    if (is_denied_to_all(scope) || has_network_acl(scope) || location.internal) continue;
    Finding& finding =
        in.report("PTH-06", Level::kLow, location.at(),
                  fmt::format("what is open for {} is open for every path that starts like it: "
                              "expected \"= {}\" or \"{}/\"",
                              location.path, location.path, location.path));
    finding.evidence = fmt::format("GET {}-internal", location.path);
    finding.affected.push_back(location.label());
  }
}

/// Whether an application authenticates by itself is not to be seen here: asked for in strict only.
void check_authentication(Inspection& in) {
  if (!in.options.strict) return;
  for (const Server& server : in.model.servers) {
    if (server.is_local() || server.scope->incomplete) continue;
    std::vector<std::string> open;
    const Directive* first = nullptr;
    for (const Location* location : server.all_locations) {
      const Scope& scope = *location->scope;
      const Directive* pass = pass_of(scope);
      if (pass == nullptr || location->internal || location->match == Location::Match::kNamed) {
        continue;
      }
      if (has_authentication(in, scope) || has_network_acl(scope)) continue;
      if (is_open_by_nature(location->path) || scope.incomplete) continue;
      if (first == nullptr) first = pass;
      open.push_back(location->label());
    }
    if (first == nullptr) continue;
    Finding& finding = in.report("JWT-01", Level::kMedium, *first,
                                 "nothing here asks who the client is: expected auth_request, "
                                 "auth_jwt, auth_basic or client certificates");
    finding.confidence = Confidence::kPossible;
    finding.affected = std::move(open);
  }
}

constexpr RuleEntry kRules[] = {{"SSR-02", check_metadata},
                                {"SSR-04", check_accel},
                                {"UPS-06", check_stale_names},
                                {"PTH-06", check_open_prefixes},
                                {"JWT-01", check_authentication}};

}  // namespace

std::span<const RuleEntry> reach_rules() { return kRules; }

}  // namespace merlon::audit::nginx
