#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// A name of a server, and where it stands.
struct ServerName {
  std::string lowered;
  std::string_view text;  ///< as it was written
  const Directive* at = nullptr;
};

/// The names of a server, each once.
std::vector<ServerName> names_of(const Server& server) {
  std::vector<ServerName> out;
  std::set<std::string> seen;
  for (const Directive* names : server.scope->own_all("server_name")) {
    for (const Word& word : names->args) {
      std::string name(word.text);
      std::ranges::transform(name, name.begin(), ascii::lower);
      if (seen.insert(name).second) out.push_back({std::move(name), word.text, names});
    }
  }
  return out;
}

void check_duplicate_names(Inspection& in) {
  for (const Socket& socket : in.model.sockets) {
    std::map<std::string, const Server*> first;
    for (const auto& [server, listen] : socket.servers) {
      for (const ServerName& name : names_of(*server)) {
        const auto [found, added] = first.try_emplace(name.lowered, server);
        if (added || found->second == server) continue;
        Finding& finding =
            in.report("CFG-03", Level::kLow, *name.at,
                      fmt::format("{} on {} is another server's already: this one never gets it",
                                  name.text, socket.name));
        finding.trail.push_back({found->second->at().mark(), "this server has the name"});
        finding.affected.push_back(server->label());
      }
    }
  }
}

void check_deprecated(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const bool http = (scope.context & (kHttp | kServer)) != 0;
    const Directive* ssl = scope.own("ssl");
    if (http && ssl != nullptr) {
      in.report("CFG-04", Level::kInfo, *ssl,
                "\"ssl on\" is gone since nginx 1.25.1: expected \"listen … ssl\"");
    }
    for (const Directive* directive : scope.settings) {
      const std::string_view name = directive->name.text;
      const bool gone = name.starts_with("spdy_") || name == "http2_recv_timeout" ||
                        name == "http2_idle_timeout" || name == "http2_max_requests" ||
                        name == "http2_max_field_size" || name == "http2_max_header_size" ||
                        name == "limit_zone" || name == "upstream_conf";
      if (!gone || !directive->known) continue;
      in.report("CFG-04", Level::kInfo, *directive,
                fmt::format("\"{}\" does nothing in current nginx", name));
    }
  }
  Finding* finding = nullptr;
  for (const Server& server : in.model.servers) {
    for (const Listen& listen : server.listens) {
      if (!listen.http2 || listen.at == nullptr) continue;
      if (finding == nullptr) {
        finding = &in.report("CFG-04", Level::kInfo, *listen.at,
                             "\"listen … http2\" is deprecated since nginx 1.25.1: expected "
                             "\"http2 on\"");
      }
      finding->affected.push_back(server.label());
    }
  }
}

std::string_view zone_of(std::string_view argument) {
  return argument.starts_with("zone=") ? argument.substr(5, argument.find(':') - 5)
                                       : std::string_view{};
}

void check_orphan_limits(Inspection& in) {
  if (!in.model.framed) return;
  const bool whole =
      std::ranges::none_of(in.model.scopes, [](const Scope& scope) { return scope.incomplete; });
  if (!whole) return;
  std::set<std::string_view> requests;
  std::set<std::string_view> connections;
  for (const Directive* zone : in.model.http->own_all("limit_req_zone")) {
    for (const Word& word : zone->args) requests.insert(zone_of(word.text));
  }
  for (const Directive* zone : in.model.http->own_all("limit_conn_zone")) {
    for (const Word& word : zone->args) connections.insert(zone_of(word.text));
  }
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    for (const Directive* limit : scope.own_all("limit_req")) {
      for (const Word& word : limit->args) {
        const std::string_view zone = zone_of(word.text);
        if (zone.empty() || requests.contains(zone)) continue;
        in.report("CFG-05", Level::kMedium, *limit,
                  fmt::format("no limit_req_zone is called \"{}\": nginx does not start", zone));
      }
    }
    for (const Directive* limit : scope.own_all("limit_conn")) {
      if (connections.contains(limit->arg(0))) continue;
      in.report(
          "CFG-05", Level::kMedium, *limit,
          fmt::format("no limit_conn_zone is called \"{}\": nginx does not start", limit->arg(0)));
    }
  }
}

/// A TLS server without a certificate: nginx does not start when it is the default one, and shows
/// the default one's certificate when it is not.
void check_missing_certificates(Inspection& in) {
  if (!in.model.framed) return;
  const auto bare = [](const Server& server) {
    return server.scope->effective("ssl_certificate") == nullptr &&
           !server.scope->flag("ssl_reject_handshake", false) &&
           !server.scope->may_inherit_unseen();
  };
  std::set<const Server*> seen;
  for (const Socket& socket : in.model.sockets) {
    const Server& fallback = *socket.servers.front().first;
    const bool tls = std::ranges::any_of(
        socket.servers, [](const auto& pair) { return pair.second->ssl || pair.second->quic; });
    if (!tls) continue;
    for (const auto& [server, listen] : socket.servers) {
      if (listen->at == nullptr || !bare(*server) || !seen.insert(server).second) continue;
      const bool starts = server != &fallback && !bare(fallback);
      Finding& finding = in.report(
          starts ? "CRT-02" : "CFG-01", starts ? Level::kMedium : Level::kHigh, *listen->at,
          starts ? fmt::format("{} has no ssl_certificate: its clients are shown the one of {}",
                               server->label(), fallback.label())
                 : fmt::format("{} speaks TLS and has no ssl_certificate: nginx does not start",
                               server->label()));
      finding.affected.push_back(server->label());
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"CFG-01", check_missing_certificates}, {"CFG-02", nullptr},
    {"CFG-03", check_duplicate_names},      {"CFG-04", check_deprecated},
    {"CFG-05", check_orphan_limits},
};

}  // namespace

std::span<const RuleEntry> config_rules() { return kRules; }

}  // namespace merlon::audit::nginx
