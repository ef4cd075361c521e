#include <fmt/format.h>

#include <algorithm>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/variables.h"

namespace merlon::audit::nginx {
namespace {

/// A server that is nobody's site: it refuses what comes.
bool refuses_all(const Server& server) {
  const unsigned status = return_status(*server.scope);
  return status >= 400;
}

bool answers_acme_only(const Server& server) {
  if (server.locations.empty()) return false;
  return std::ranges::all_of(server.locations, [](const Location* location) {
    return location->path.find(".well-known") != std::string_view::npos ||
           return_status(*location->scope) >= 300 || location->internal;
  });
}

bool has_public_name(const Server& server) {
  return std::ranges::any_of(server.names, [](std::string_view name) {
    return !name.starts_with('~') && name != "_" && name.find('.') != std::string_view::npos &&
           distance_of(name) == Distance::kPublic && !name.ends_with(".test") &&
           !name.ends_with(".localhost");
  });
}

/// Names by which only this host or its own network is meant.
bool has_local_names_only(const Server& server) {
  return !server.names.empty() && std::ranges::all_of(server.names, [](std::string_view name) {
    return name == "localhost" || name.ends_with(".localhost") || name.ends_with(".test") ||
           name.ends_with(".local") || name.ends_with(".lan");
  });
}

bool is_only_status(const Server& server) {
  return !server.locations.empty() &&
         std::ranges::all_of(server.all_locations, [](const Location* location) {
           const Handler::Kind kind = handler_of(*location->scope).kind;
           return kind == Handler::Kind::kStatus || is_denied_to_all(*location->scope) ||
                  (kind == Handler::Kind::kReturn);
         });
}

void check_cleartext(Inspection& in) {
  const bool tls_somewhere =
      std::ranges::any_of(in.model.servers, [](const Server& server) { return server.has_tls(); });
  for (const Server& server : in.model.servers) {
    if (server.scope->block == &in.model.tree.root || refuses_all(server)) continue;
    if (answers_acme_only(server) || is_only_status(server)) continue;
    if (terminates_elsewhere(in.model, in.variables, server)) continue;
    if (has_network_acl(*server.scope)) continue;
    for (const Listen& listen : server.listens) {
      if (listen.ssl || listen.quic || listen.is_local() || listen.port == 443) continue;
      if (listen.proxy_protocol || redirects_cleartext(in, *server.scope, listen)) continue;
      const bool meant =
          has_public_name(server) || (tls_somewhere && !has_local_names_only(server));
      const bool sure = meant && listen.port == 80 && !scripts_decide(server) &&
                        !relies_on_forwarded_scheme(server);
      Finding& finding =
          listen.at != nullptr
              ? in.report("TLS-13", sure ? Level::kHigh : Level::kMedium, *listen.at, {})
              : in.report("TLS-13", sure ? Level::kHigh : Level::kMedium, server.at(), {});
      finding.message = fmt::format(
          "{} is served in clear on {}: expected TLS, or a redirect to it",
          server.label() == listen.socket() ? "everything" : server.label(), listen.socket());
      finding.confidence = sure ? Confidence::kLikely : Confidence::kPossible;
      finding.affected.push_back(server.label());
      break;  // the other sockets of the server have the same cause
    }
  }
}

/// What sends a client to another URL.
struct Redirect {
  const Directive* at;
  std::string_view to;
  unsigned status;
};

/// The redirects that stand in a scope: `return`, and `rewrite` to a URL with a scheme, which nginx
/// answers with 302 unless it is "permanent".
std::vector<Redirect> redirects_of(const Scope& scope) {
  std::vector<Redirect> out;
  for (const Directive* one : scope.rewrites) {
    if (one->is("return") && status_of(*one) / 100 == 3) {
      out.push_back({one, one->arg(one->args.size() - 1), status_of(*one)});
    }
    if (one->is("rewrite") && one->arg(1).starts_with("http")) {
      out.push_back({one, one->arg(1), one->arg(2) == "permanent" ? 301U : 302U});
    }
  }
  return out;
}

/// True when a redirect to HTTPS keeps the path, which says that it is meant for a whole site.
bool keeps_path(const Redirect& redirect) {
  return std::ranges::any_of(variables_in(redirect.to), [](const VariableUse& use) {
    return use.name == "request_uri" || use.name == "uri" || use.name == "document_uri" ||
           use.name == "1";
  });
}

/// True when only what came in clear can be meant: over TLS it would lead to itself.
bool leads_to_itself(const Redirect& redirect, const Server& server) {
  const std::string_view host = redirect.to.substr(std::string_view("https://").size());
  return host.starts_with("$host") || host.starts_with("$http_host") ||
         host.starts_with("$server_name") ||
         std::ranges::find(server.names, host.substr(0, host.find_first_of("/:?$"))) !=
             server.names.end();
}

/// What is wrong with a redirect; "" when nothing is.
std::string fault_of(const Redirect& redirect, const Server& server) {
  if (redirect.to.starts_with("http://")) {
    const bool goes_public = distance_of(parse_target(redirect.to).host) == Distance::kPublic;
    if (!goes_public || server.is_local()) return {};
    return "the redirect leads to http:// and leaves clients without TLS: expected https://";
  }
  if (!redirect.to.starts_with("https://") || !server.has_cleartext()) return {};
  if (server.has_tls() && !leads_to_itself(redirect, server)) return {};
  if (redirect.to.starts_with("https://$http_host")) {
    return "the redirect goes to whatever host the client named, its port included: expected the "
           "canonical name or $host";
  }
  const bool temporary = redirect.status == 302 || redirect.status == 307;
  if (!temporary || !keeps_path(redirect)) return {};
  return fmt::format(
      "the redirect to HTTPS is temporary ({}): browsers ask in clear again each time; expected "
      "301 or 308",
      redirect.status);
}

void check_redirect(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Server* server = in.model.server_of(*scope);
    if (server == nullptr) continue;
    for (const Redirect& redirect : redirects_of(*scope)) {
      std::string fault = fault_of(redirect, *server);
      if (fault.empty()) continue;
      in.report("TLS-14", Level::kLow, *redirect.at, std::move(fault))
          .affected.push_back(server->label());
    }
  }
}

void check_listen_443(Inspection& in) {
  for (const Server& server : in.model.servers) {
    for (const Listen& listen : server.listens) {
      if (listen.port != 443 || listen.ssl || listen.quic || listen.is_local()) continue;
      if (listen.at == nullptr || listen.proxy_protocol) continue;
      Finding& finding =
          in.report("TLS-15", Level::kHigh, *listen.at,
                    fmt::format("{} speaks HTTP in clear: \"ssl\" is missing", listen.socket()));
      finding.affected.push_back(server.label());
      finding.fix = replace_statement(*listen.at, statement(*listen.at) + " ssl;");
    }
  }
}

void check_default_certificate(Inspection& in) {
  if (!in.model.framed) return;
  for (const Socket& socket : in.model.sockets) {
    const auto& [server, listen] = socket.servers.front();
    if (!listen->ssl || socket.servers.size() < 2 || listen->is_local()) continue;
    if (server->scope->flag("ssl_reject_handshake", false)) continue;
    if (refuses_all(*server) || !has_public_name(*server)) continue;
    Finding& finding = in.report(
        "TLS-17", Level::kInfo, server->at(),
        fmt::format("clients that name an unknown host on {} are shown the certificate of {}: "
                    "expected a default server with ssl_reject_handshake on",
                    socket.name, server->label()));
    finding.affected.push_back(server->label());
  }
}

constexpr RuleEntry kRules[] = {
    {"TLS-13", check_cleartext},
    {"TLS-14", check_redirect},
    {"TLS-15", check_listen_443},
    {"TLS-17", check_default_certificate},
};

}  // namespace

std::span<const RuleEntry> cleartext_rules() { return kRules; }

}  // namespace merlon::audit::nginx
