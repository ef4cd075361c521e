#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/certificate.h"
#include "audit/nginx/address_list.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"

// Servers of stream: the same mistakes as in http, where no Host tells servers apart. Of mail, the
// versions and ciphers of TLS.
namespace merlon::audit::nginx {
namespace {

/// The `listen` by which clients come to a server of stream or mail with TLS; nullptr when none do.
const Directive* tls_listen(const Scope& server) {
  const std::vector<const Directive*> listens = server.own_all("listen");
  const auto with_ssl = std::ranges::find_if(listens, [](const Directive* listen) {
    return std::ranges::any_of(listen->args, [](const Word& word) { return word.text == "ssl"; });
  });
  if (with_ssl != listens.end()) return *with_ssl;
  // A session of mail can start in clear and change over.
  const Directive* start = server.context == kMailServer ? server.effective("starttls") : nullptr;
  const bool changes = start != nullptr && start->arg(0) != "off";
  return changes && !listens.empty() ? listens.front() : nullptr;
}

/// Directives called `name` that are in force in a TLS server of stream or mail, with those
/// servers.
std::map<const Directive*, std::vector<std::string>> in_force(const Model& model, Name name) {
  std::map<const Directive*, std::vector<std::string>> out;
  for (const Scope& scope : model.scopes) {
    if ((scope.context & (kStreamServer | kMailServer)) == 0) continue;
    const Directive* listen = tls_listen(scope);
    const Directive* at = scope.effective(name);
    if (listen == nullptr || at == nullptr) continue;
    const bool mail = scope.context == kMailServer;
    out[at].emplace_back(fmt::format("{} {}", mail ? "mail" : "stream", listen->arg(0)));
  }
  return out;
}

void check_versions(Inspection& in) {
  for (auto& [at, routes] : in_force(in.model, "ssl_protocols")) {
    std::vector<std::string> legacy;
    bool newest = false;
    for (const Word& word : at->args) {
      newest = newest || word.text == "TLSv1.3";
      if (word.text != "TLSv1.2" && word.text != "TLSv1.3") legacy.emplace_back(word.text);
    }
    if (!legacy.empty()) {
      Finding& finding =
          in.report("TLS-01", Level::kHigh, *at,
                    fmt::format("{} {} offered: expected TLSv1.2 and TLSv1.3 only",
                                join_some(legacy), legacy.size() == 1 ? "is" : "are"));
      finding.affected = routes;
      finding.fix = replace_statement(*at, "ssl_protocols TLSv1.2 TLSv1.3;");
    }
    if (newest) continue;
    in.report("TLS-02", Level::kLow, *at, "TLSv1.3 is not offered: expected \"TLSv1.2 TLSv1.3\"")
        .affected = std::move(routes);
  }
}

void check_ciphers(Inspection& in) {
  for (auto& [at, routes] : in_force(in.model, "ssl_ciphers")) {
    bool valid = false;
    std::vector<std::string> open;
    std::vector<std::string> broken;
    std::vector<std::string> static_key;
    for (const Suite& suite : expand_ciphers(std::string(at->arg(0)), valid)) {
      if (suite.null_cipher || suite.anonymous) {
        open.push_back(suite.name);
      } else if (suite.rc4 || suite.triple_des || suite.export_grade) {
        broken.push_back(suite.name);
      } else if (!suite.forward_secret) {
        static_key.push_back(suite.name);
      }
    }
    const auto& worst = open.empty() ? broken : open;
    if (!worst.empty()) {
      Finding& finding = in.report(
          "TLS-04", Level::kHigh, *at,
          fmt::format("the list enables {}: expected ECDHE with AES-GCM or ChaCha20-Poly1305 only",
                      open.empty() ? "RC4, DES or export suites"
                                   : "suites without encryption or authentication"));
      finding.evidence = join_some(worst);
      finding.affected = routes;
    }
    if (static_key.empty()) continue;
    Finding& finding =
        in.report("TLS-03", Level::kMedium, *at,
                  fmt::format("{} suites have no forward secrecy: expected ECDHE suites only",
                              static_key.size()));
    finding.evidence = join_some(static_key);
    finding.affected = std::move(routes);
  }
}

/// What the servers of mail do with passwords and where they lead is not looked at.
void note_mail(Inspection& in) {
  const bool mail = std::ranges::any_of(
      in.model.scopes, [](const Scope& scope) { return scope.context == kMailServer; });
  if (mail) in.not_checked("TLS-13", "of mail only the versions and ciphers of TLS are judged");
}

std::vector<const Scope*> stream_servers(const Model& model) {
  std::vector<const Scope*> out;
  for (const Scope& scope : model.scopes) {
    if (scope.context == kStreamServer && !scope.incomplete) out.push_back(&scope);
  }
  return out;
}

/// "stream 5432", by the first socket of the server.
std::string label_of(const Scope& server) {
  const Directive* listen = server.own("listen");
  return fmt::format("stream {}", listen == nullptr ? std::string_view{"server"} : listen->arg(0));
}

bool is_local(const Scope& server) {
  const std::vector<const Directive*> listens = server.own_all("listen");
  return !listens.empty() && std::ranges::all_of(listens, [](const Directive* listen) {
    return distance_of(parse_target(listen->arg(0)).host) == Distance::kLoopback;
  });
}

/// Where a session ends: the farthest server of the upstream block, or the host that is named.
Distance distance_of_pass(const Model& model, std::string_view target) {
  const std::string host = parse_target(target).host;
  if (model.stream != nullptr) {
    for (const Scope* scope : model.stream->children) {
      if (scope->context != kStreamUpstream || scope->block->arg(0) != host) continue;
      Distance far = Distance::kLoopback;
      for (const Directive* server : scope->own_all("server")) {
        far = std::max(far, distance_of(parse_target(server->arg(0)).host));
      }
      return far;
    }
  }
  return host.find('$') != std::string::npos ? Distance::kSingleLabel : distance_of(host);
}

void check_unverified(Inspection& in) {
  for (const Scope* server : stream_servers(in.model)) {
    const Directive* pass = server->own("proxy_pass");
    if (pass == nullptr || !server->flag("proxy_ssl", false)) continue;
    if (server->flag("proxy_ssl_verify", false) || server->may_inherit_unseen()) continue;
    const Distance far = distance_of_pass(in.model, pass->arg(0));
    const Level level = far == Distance::kLoopback ? Level::kLow
                        : far == Distance::kPublic ? Level::kHigh
                                                   : Level::kMedium;
    in.report("UPS-02", level, *pass,
              fmt::format("the certificate of {} is not verified: anyone on the way can answer for "
                          "it; expected proxy_ssl_verify on with a trusted certificate",
                          pass->arg(0)))
        .affected.push_back(label_of(*server));
  }
}

void check_optional_mtls(Inspection& in) {
  for (const Scope* server : stream_servers(in.model)) {
    const Directive* verify = server->effective("ssl_verify_client");
    if (verify == nullptr || !verify->arg(0).starts_with("optional")) continue;
    const bool scripted = std::ranges::any_of(server->settings, [](const Directive* d) {
      return d->name.text.starts_with("js_") || d->name.text.starts_with("preread_by_lua");
    });
    if (scripted || in.variables.is_used("ssl_client_verify")) continue;
    in.report("TLS-16", Level::kHigh, *verify,
              fmt::format("ssl_verify_client {} lets clients without a certificate in, and nothing "
                          "tests $ssl_client_verify",
                          verify->arg(0)))
        .affected.push_back(label_of(*server));
  }
}

void check_allow_without_deny(Inspection& in) {
  std::map<const Directive*, Finding*> reported;
  for (const Scope* server : stream_servers(in.model)) {
    const Scope* list = list_in_force(*server);
    const Directive* allow = list == nullptr ? nullptr : list->own("allow");
    if (allow == nullptr || list->incomplete || closes_list(*list)) continue;
    if (end_of_list(*list, *server).open != nullptr) continue;
    Finding*& finding = reported[allow];
    if (finding == nullptr) {
      finding = &in.report(
          "LOC-03", Level::kHigh, *allow,
          "allow without \"deny all\" after it: addresses that match nothing are let in");
    }
    finding->affected.push_back(label_of(*server));
  }
}

/// True when `text` is the name that the client asks for, by itself or as the default of a map.
bool echoes_name(const Inspection& in, std::string_view text) {
  constexpr std::string_view kName = "ssl_preread_server_name";
  for (const VariableUse& use : variables_in(text)) {
    const std::size_t after = use.at + use.length;
    if (after < text.size() && text[after] == '.') continue;  // a fixed domain behind it
    if (use.name == kName) return true;
    const Directive* map = in.variables.map_of(use.name);
    if (map == nullptr || map->arg(0).find(kName) == std::string_view::npos) continue;
    const bool echoed = std::ranges::any_of(map->body, [&](const Directive* entry) {
      return entry->is("default") && entry->arg(0).find(kName) != std::string_view::npos;
    });
    if (echoed) return true;
  }
  return false;
}

/// A server that goes wherever the client's TLS greeting says is a way into the network behind it.
void check_open_proxy(Inspection& in) {
  for (const Scope* server : stream_servers(in.model)) {
    const Directive* pass = server->own("proxy_pass");
    if (pass == nullptr || !echoes_name(in, pass->arg(0))) continue;
    if (is_local(*server) || has_network_acl(*server)) continue;
    Finding& finding =
        in.report("SSR-01", Level::kHigh, *pass,
                  "the name in the client's TLS greeting decides which server is asked: expected a "
                  "map to a list of upstreams, with a default that refuses");
    finding.evidence = "a greeting may name any host that the resolver knows, inside ones too";
    finding.affected.push_back(label_of(*server));
  }
}

constexpr RuleEntry kRules[] = {
    {"TLS-01", check_versions},      {"TLS-02", nullptr},
    {"TLS-03", check_ciphers},       {"TLS-04", nullptr},
    {"TLS-13", note_mail},           {"UPS-02", check_unverified},
    {"TLS-16", check_optional_mtls}, {"LOC-03", check_allow_without_deny},
    {"SSR-01", check_open_proxy}};

}  // namespace

std::span<const RuleEntry> stream_rules() { return kRules; }

}  // namespace merlon::audit::nginx
