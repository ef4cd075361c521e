#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"
#include "base/ascii.h"
#include "base/ip.h"

namespace merlon::audit::nginx {
namespace {

/// True when the server itself answers requests for hosts that nobody serves with an error, always
/// or in an `if` that looks at the name: for one of any domain, and for an address.
bool refuses_unknown_hosts(const Inspection& in, const Server& server) {
  constexpr std::array<std::string_view, 3> kUnknown = {"merlon-any-name.test",
                                                        "merlon-any-name.com", "192.0.2.1"};
  return std::ranges::all_of(kUnknown, [&](std::string_view host) {
    Request request{.variables = {{"host", std::string(host)}, {"http_host", std::string(host)}}};
    request.variables.emplace("server_name", server.names.empty() ? "" : server.names.front());
    RewritePhase phase(std::move(request), &in.variables);
    phase.run(*server.scope);
    return phase.status() >= 400;
  });
}

/// True when clients get something of an upstream, or out of a folder, from the location.
bool hands_out(const Location& location) {
  const Scope& scope = *location.scope;
  const bool acme = location.path.find("acme-challenge") != std::string_view::npos ||
                    location.path.find(".well-known") != std::string_view::npos;
  if (location.internal || location.match == Location::Match::kNamed || acme) return false;
  if (return_status(scope) != 0 || is_denied_to_all(scope)) return false;
  const Handler handler = handler_of(scope);
  if (handler.kind != Handler::Kind::kStatic) return handler.kind != Handler::Kind::kStatus;
  const bool file = location.match == Location::Match::kExact ||
                    location.path.find('.', location.path.rfind('/') + 1) != std::string_view::npos;
  return !file && (scope.has("alias") || scope.effective("root") != nullptr);
}

/// True when nobody gets anything from the server at this socket.
bool rejects(const Inspection& in, const Server& server, const Listen& listen) {
  if (refuses_unknown_hosts(in, server)) return true;
  const bool handing_out = std::ranges::any_of(
      server.all_locations, [](const Location* location) { return hands_out(*location); });
  const bool no_handshake = server.scope->flag("ssl_reject_handshake", false);
  // What comes in clear knows no handshake.
  if (no_handshake && (listen.ssl || listen.quic || !handing_out)) return true;
  const auto root = std::ranges::find_if(
      server.locations, [](const Location* location) { return location->path == "/"; });
  const bool refuses = root != server.locations.end() && return_status(*(*root)->scope) >= 400;
  return refuses && !handing_out;
}

/// Only requests for the names of the server reach it.
bool is_fenced(const Inspection& in, const Server& server) {
  if (server.names.empty()) return false;
  for (const Socket& socket : in.model.sockets) {
    const bool here = std::ranges::any_of(socket.servers,
                                          [&](const auto& pair) { return pair.first == &server; });
    const auto& [first, listen] = socket.servers.front();
    const bool turned_away =
        first == &server ? refuses_unknown_hosts(in, server) : rejects(in, *first, *listen);
    if (here && !turned_away) return false;
  }
  return std::ranges::none_of(server.names, [](std::string_view name) {
    return name == "_" || name.starts_with('~') || name.empty();
  });
}

/// Where the Host that `header` sends comes from, when the client writes it byte for byte.
std::optional<Origin> client_written_host(const Inspection& in, const Scope& scope,
                                          const Directive& header) {
  if (!ascii::iequals(header.arg(0), "Host")) return std::nullopt;
  Origin origin = in.variables.origin(header.arg(1), scope, header);
  if (!origin.client() || (origin.taint & kHostOnly) != 0) return std::nullopt;
  if (!is_written_by_client(origin.source)) return std::nullopt;
  return origin;
}

/// Reports a Host that the client wrote; of little weight where other names reach other servers.
Finding& report_host(Inspection& in, const Server* server, const Directive& header,
                     const Origin& origin) {
  const bool fenced = origin.source == "$http_host" && server != nullptr && in.model.framed &&
                      is_fenced(in, *server);
  Finding& finding = in.report(
      "HST-01", fenced ? Level::kLow : Level::kMedium, header,
      fmt::format("the upstream gets the Host that the client wrote in {}: expected $host",
                  origin.source));
  finding.trail = origin.trail;
  return finding;
}

void check_host_header(Inspection& in) {
  // The same value all over a server is one decision, named where it is taken first.
  std::map<std::pair<const Server*, std::string_view>, Finding*> reported;
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("proxy_set_header"), Name("grpc_set_header")}) {
      for (const Directive* header : scope.own_all(name)) {
        const std::optional<Origin> origin = client_written_host(in, scope, *header);
        if (!origin) continue;
        const Server* server = in.model.server_of(scope);
        Finding*& finding = reported[{server, header->arg(1)}];
        if (finding == nullptr) finding = &report_host(in, server, *header, *origin);
        finding->affected.push_back(in.model.route_of(scope));
        if (header->arg(1) != "$http_host") continue;
        const auto edits = replace_statement(*header, fmt::format("{} Host $host;", name.text));
        finding->fix.insert(finding->fix.end(), edits.begin(), edits.end());
      }
    }
  }
}

void check_default_server(Inspection& in) {
  if (!in.model.framed) {
    in.not_checked("HST-02", "the other servers of the sockets are not in the files");
    return;
  }
  if (in.model.http->incomplete) return;
  for (const Socket& socket : in.model.sockets) {
    const auto& [server, listen] = socket.servers.front();
    if (listen->is_local() || rejects(in, *server, *listen) || only_redirects(*server)) continue;
    const bool alone = in.model.servers.size() == 1 || socket.servers.size() == 1;
    const bool meant = std::ranges::any_of(
        server->names, [](std::string_view name) { return name == "_" || name.empty(); });
    Finding& finding = in.report(
        "HST-02",
        alone   ? Level::kInfo
        : meant ? Level::kLow
                : Level::kMedium,
        server->at(),
        fmt::format("requests for unknown hosts on {} are answered by {}: expected a default "
                    "server that returns 444 or 421",
                    socket.name, server->label() == socket.name ? "this server" : server->label()));
    if (socket.explicit_default && listen->at != nullptr) {
      finding.trail.push_back({listen->at->mark(), "it is the default server by this line"});
    } else {
      finding.trail.push_back({server->at().mark(), "it is the default server by coming first"});
    }
    finding.affected.push_back(socket.name);
  }
}

void check_forwarded_host(Inspection& in) {
  const Fronts fronts(in.model);
  Finding* unset = nullptr;
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("proxy_set_header")) {
      const std::string_view name = header->arg(0);
      const bool host =
          ascii::iequals(name, "X-Forwarded-Host") || ascii::iequals(name, "Forwarded");
      const bool proto = ascii::iequals(name, "X-Forwarded-Proto");
      if (!host && !proto) continue;
      const Origin origin = in.variables.origin(header->arg(1), scope, *header);
      const std::string& source = origin.source;
      const bool passed = source == "$http_x_forwarded_host" || source == "$http_forwarded" ||
                          source == "$http_x_forwarded_proto";
      if (!passed || trusts_named_proxies(scope)) continue;
      if (fronts.speak_for(scope, header_of(source))) continue;
      Finding& finding = in.report(
          "HST-03", Level::kMedium, *header,
          fmt::format("{} is handed on as the client wrote it: expected nginx's own value", name));
      finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    const Directive* pass = scope.own("proxy_pass");
    if (pass == nullptr || location.internal || return_status(scope) != 0) continue;
    if (forwarded_header(scope, "X-Forwarded-Host") != nullptr) continue;
    if (trusts_named_proxies(scope)) continue;
    if (scope.level_of("proxy_set_header") == nullptr && scope.may_inherit_unseen()) continue;
    if (scope.incomplete) continue;
    if (unset == nullptr) {
      unset = &in.report("HST-03", Level::kLow, *pass,
                         "an X-Forwarded-Host that a client sends reaches the upstream: expected "
                         "\"proxy_set_header X-Forwarded-Host $host\"");
      unset->confidence = Confidence::kPossible;
    }
    unset->affected.push_back(location.label());
  }
}

void check_trusted_proxies(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* from : scope.own_all("set_real_ip_from")) {
      const std::string_view block = from->arg(0);
      const auto cidr = Cidr::parse(block);
      const bool everyone = block == "0.0.0.0/0" || block == "::/0" || block == "all" ||
                            (cidr && cidr->prefix_bits <= 4);
      if (!everyone) continue;
      Finding& finding = in.report(
          "XFF-01", Level::kHigh, *from,
          fmt::format("{} lets every client choose its own address: expected the addresses of your "
                      "proxies",
                      block));
      finding.evidence = "X-Forwarded-For: 127.0.0.1 passes every address list";
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

/// The variable in which the client writes what a field of addresses says first.
std::string written_address(const Inspection& in, const Scope& scope, const Directive& header,
                            std::string_view field) {
  constexpr std::string_view kAppended = "$proxy_add_x_forwarded_for";
  if (field != "x-forwarded-for" && header.arg(1).starts_with(kAppended)) {
    return "$http_x_forwarded_for";
  }
  return in.variables.origin(header.arg(1), scope, header).source;
}

void check_passed_addresses(Inspection& in) {
  const Fronts fronts(in.model);
  each_upstream_header(in.model, [&](const Scope& scope, const Directive& at,
                                     std::string_view field) {
    const Directive* header = &at;
    if (field.starts_with("http-")) field.remove_prefix(5);
    const bool address = field == "x-forwarded-for" || field == "x-real-ip" ||
                         field == "remote-addr" || field == "true-client-ip" ||
                         field == "x-client-ip";
    if (!address) return;
    const std::string_view value = header->arg(1);
    const std::string source = written_address(in, scope, *header, field);
    if (!is_written_by_client(source) || trusts_named_proxies(scope)) return;
    if (fronts.speak_for(scope, header_of(source))) return;
    // With the peer's address at the end it is what $proxy_add_x_forwarded_for makes: of the
    // one field that is a list, whose readers count from its end.
    const bool list = field == "x-forwarded-for";
    const bool appends = value.ends_with("$remote_addr") || value.ends_with("$realip_remote_addr");
    if (list && appends) return;
    Finding& finding =
        in.report("XFF-02", Level::kMedium, *header,
                  fmt::format("the upstream is told the address that the client wrote in {}: "
                              "expected $remote_addr{}",
                              source, list ? " or $proxy_add_x_forwarded_for" : ""));
    finding.affected.push_back(in.model.route_of(scope));
  });
}

/// Directives of `server` that act on the address of a PROXY line, in its scopes or around them.
std::vector<const Directive*> believers(const Inspection& in, const Server& server) {
  constexpr std::array<std::string_view, 7> kIdle = {
      "log_format", "access_log", "map", "geo", "set", "add_header", "more_set_headers"};
  const auto claimed = [](std::string_view name) { return name == "proxy_protocol_addr"; };
  std::vector<const Directive*> out;
  for (const Scope& scope : in.model.scopes) {
    if (!scope.is_below(*server.scope) && !server.scope->is_below(scope)) continue;
    const auto add = [&](const Directive& directive) {
      if (std::ranges::find(kIdle, directive.name.text) != kIdle.end()) return;
      const bool reads = std::ranges::any_of(directive.args, [&](const Word& word) {
        return in.variables.depends_on(word.text, claimed, scope);
      });
      if (reads) out.push_back(&directive);
    };
    if (scope.block != nullptr) add(*scope.block);
    for (const Directive* setting : scope.settings) add(*setting);
  }
  return out;
}

/// nginx takes PROXY lines from every peer: set_real_ip_from says whose line changes $remote_addr,
/// and nothing of $proxy_protocol_addr.
void check_claimed_address(Inspection& in) {
  if (!in.variables.is_used("proxy_protocol_addr")) return;
  if (in.variables.is_used("realip_remote_addr")) return;  // the peer itself is asked about
  std::map<const Directive*, Finding*> reported;
  for (const Server& server : in.model.servers) {
    const auto listen = std::ranges::find_if(server.listens, [](const Listen& one) {
      const bool inside = distance_of(parse_target(one.address).host) == Distance::kPrivate;
      return one.proxy_protocol && one.at != nullptr && !one.is_local() && !inside;
    });
    if (listen == server.listens.end()) continue;
    if (server.scope->level_of("set_real_ip_from") == nullptr)
      continue;  // of this speaks the other
    for (const Directive* use : believers(in, server)) {
      const std::string_view name = use->name.text;
      const bool tells = name.ends_with("_set_header") || name.ends_with("_param");
      Finding*& finding = reported[use];
      if (finding == nullptr) {
        finding = &in.report(
            "XFF-03", tells ? Level::kMedium : Level::kHigh, *use,
            "$proxy_protocol_addr is what whoever connects wrote in a PROXY line, be the peer in "
            "set_real_ip_from or not: expected $remote_addr in its place");
        finding->trail.push_back({listen->at->mark(), "PROXY lines are taken from everyone here"});
      }
      finding->affected.push_back(server.label());
    }
  }
}

void check_proxy_protocol(Inspection& in) {
  for (const Server& server : in.model.servers) {
    for (const Listen& listen : server.listens) {
      if (!listen.proxy_protocol || listen.is_local() || listen.at == nullptr) continue;
      if (server.scope->level_of("set_real_ip_from") != nullptr) continue;
      if (server.scope->may_inherit_unseen()) continue;
      const bool believed = in.variables.is_used("proxy_protocol_addr");
      Finding& finding = in.report(
          "XFF-03", believed ? Level::kHigh : Level::kMedium, *listen.at,
          fmt::format("whoever connects may send a PROXY line: expected set_real_ip_from with the "
                      "load balancer's addresses{}",
                      believed ? ", and $remote_addr in place of $proxy_protocol_addr" : ""));
      finding.affected.push_back(server.label());
    }
  }
}

/// How requests are handed on, by their *_pass: what writes their fields, and what lets those of
/// the client through.
struct Passing {
  Name pass;
  Name setter;
  Name client_fields;  ///< a flag, on by default; nginx has none for gRPC, where it is never off
  bool cgi = false;    ///< fields are parameters, such as HTTP_X_USER
};

constexpr std::array<Passing, 4> kPassings = {{
    {"proxy_pass", "proxy_set_header", "proxy_pass_request_headers"},
    {"grpc_pass", "grpc_set_header", "grpc_pass_request_headers"},
    {"fastcgi_pass", "fastcgi_param", "fastcgi_pass_request_headers", true},
    {"uwsgi_pass", "uwsgi_param", "uwsgi_pass_request_headers", true},
}};

/// The header field that an upstream knows under `name`: lower case, with "-" for "_"; "" of a
/// parameter that is none.
std::string field_of(const Passing& passing, std::string_view name) {
  std::string field(name);
  for (char& c : field) c = c == '_' ? '-' : ascii::lower(c);
  if (!passing.cgi) return field;
  return field.starts_with("http-") ? field.substr(5) : std::string{};
}

/// A location that clients reach and that hands requests to an upstream.
struct Way {
  const Location* location = nullptr;
  const Passing* passing = nullptr;
  /// The Host by which ways of other servers lead to the same application; "" when that cannot be
  /// told. One that the client names is of its server's own.
  std::string host;
};

std::string host_told(const Hop& hop, const Passing& passing, const Server& server) {
  if (passing.cgi || hop.target.has_variable) return {};
  const Directive* header = forwarded_header(*hop.scope, "Host");
  if (header == nullptr) return "$proxy_host";
  const std::string_view value = header->arg(1);
  return value.find('$') == std::string_view::npos ? std::string(value) : "$" + server.label();
}

/// All ways, by the host and port that they lead to.
std::map<std::pair<std::string, std::string>, std::vector<Way>> ways_to_upstreams(
    const Inspection& in) {
  std::map<std::pair<std::string, std::string>, std::vector<Way>> out;
  for (const Hop& hop : hops(in)) {
    const Location* location = hop.scope->location;
    const auto passing = std::ranges::find_if(
        kPassings, [&](const Passing& one) { return hop.pass->is(one.pass.text); });
    if (location == nullptr || passing == kPassings.end() || hop.scope->has("internal")) continue;
    out[{hop.target.host, hop.target.port}].push_back(
        {location, &*passing, host_told(hop, *passing, *location->server)});
  }
  return out;
}

/// What tells an upstream who the user is, and where it does.
struct Identity {
  const Directive* header = nullptr;
  std::set<const Server*> servers;
  std::set<std::string> hosts;

  /// True when `way` leads to an application that this one is told to.
  [[nodiscard]] bool is_for(const Way& way) const {
    const Server& server = *way.location->server;
    if (servers.contains(&server)) return true;
    return hosts.contains(way.host) && !server.is_local() && !has_network_acl(*way.location->scope);
  }
};

bool speaks_of_user(std::string_view v) {
  return v.starts_with("upstream_http_") || v == "remote_user" ||
         v.starts_with("ssl_client_s_dn") || v.starts_with("ssl_client_cert") ||
         v.starts_with("ssl_client_escaped_cert") || v == "ssl_client_verify" ||
         v.starts_with("ssl_client_fingerprint") || v.starts_with("jwt_claim_");
}

/// Adds the fields in which `way` tells its upstream who the user is, by name.
void add_identities(const Inspection& in, const Way& way, std::map<std::string, Identity>& out) {
  const Scope& scope = *way.location->scope;
  for (const Directive* header : scope.effective_all(way.passing->setter)) {
    const std::string name = field_of(*way.passing, header->arg(0));
    if (name.empty() || name == "host" || name == "cookie" || name == "authorization" ||
        name == "connection") {
      continue;
    }
    if (!in.variables.depends_on(header->arg(1), speaks_of_user, scope)) continue;
    Identity& identity = out[name];
    if (identity.header == nullptr) identity.header = header;
    identity.servers.insert(way.location->server);
    if (!way.host.empty()) identity.hosts.insert(way.host);
  }
}

/// True when a client's own field of this name reaches the upstream.
bool lets_through(const Way& way, std::string_view name) {
  const Scope& scope = *way.location->scope;
  if (scope.incomplete || return_status(scope) != 0 || is_denied_to_all(scope)) return false;
  if (!scope.flag(way.passing->client_fields, true)) return false;
  return std::ranges::none_of(scope.effective_all(way.passing->setter), [&](const Directive* d) {
    return field_of(*way.passing, d->arg(0)) == name;
  });
}

void report_believed_header(Inspection& in, const std::string& field, const Directive& header,
                            std::span<const Way> open) {
  const std::string_view name = header.arg(0);
  const Way& first = open.front();
  Finding& finding = in.report(
      "XFF-04", Level::kHigh, *pass_of(*first.location->scope),
      fmt::format("the upstream trusts {}, and here the client's own reaches it: expected "
                  "{} {} \"\"",
                  name, first.passing->setter.text, name));
  finding.trail.push_back({header.mark(), "elsewhere it carries the verified identity"});
  finding.evidence = fmt::format("{}: admin, sent by a client, is believed",
                                 first.passing->cgi ? std::string_view(field) : name);
  for (const Way& way : open) finding.affected.push_back(way.location->label());
}

/// Once for each server: the ways of one follow each other.
void report_by_server(Inspection& in, const std::string& field, const Directive& header,
                      std::span<const Way> open) {
  while (!open.empty()) {
    const Server* server = open.front().location->server;
    const auto next =
        std::ranges::find_if(open, [&](const Way& way) { return way.location->server != server; });
    const auto count = static_cast<std::size_t>(next - open.begin());
    report_believed_header(in, field, header, open.first(count));
    open = open.subspan(count);
  }
}

/// Every header that carries an identity is looked for in every location of its upstream: so many
/// times in all.
constexpr std::size_t kHeaderLooksMax = 200'000;

void check_identity_headers(Inspection& in) {
  std::size_t looks = 0;
  for (const auto& [upstream, ways] : ways_to_upstreams(in)) {
    std::map<std::string, Identity> identities;
    for (const Way& way : ways) add_identities(in, way, identities);
    for (const auto& [field, identity] : identities) {
      looks += ways.size();
      if (looks > kHeaderLooksMax) {
        return in.not_checked("XFF-04", "too many locations share upstreams to compare them all");
      }
      std::vector<Way> open;
      std::ranges::copy_if(ways, std::back_inserter(open), [&](const Way& way) {
        return identity.is_for(way) && lets_through(way, field);
      });
      report_by_server(in, field, *identity.header, open);
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"HST-01", check_host_header},      {"HST-02", check_default_server},
    {"HST-03", check_forwarded_host},   {"XFF-01", check_trusted_proxies},
    {"XFF-02", check_passed_addresses}, {"XFF-03", check_proxy_protocol},
    {"XFF-03", check_claimed_address},  {"XFF-04", check_identity_headers},
};

}  // namespace

std::span<const RuleEntry> forwarding_rules() { return kRules; }

}  // namespace merlon::audit::nginx
