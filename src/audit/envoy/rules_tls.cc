#include <fmt/format.h>

#include <algorithm>

#include "audit/certificate.h"
#include "audit/envoy/rules.h"

namespace merlon::audit::envoy {
namespace {

/// Every chain with TLS, each context once.
template <class F>
void each_context(const Inspection& in, F&& visit) {
  std::set<const Node*> seen;
  for (const FilterChain& chain : in.model.chains) {
    if (chain.tls == nullptr) continue;
    const Node* node = chain.tls->at.node();
    if (node == nullptr || seen.insert(node).second) visit(chain, *chain.tls);
  }
}

bool is_old(EnumWord version) { return version == "TLSv1_0" || version == "TLSv1_1"; }

std::string affected(const FilterChain& chain) { return std::string(chain.listener->name); }

void check_versions(Inspection& in) {
  each_context(in, [&](const FilterChain& chain, const Tls& tls) {
    const EnumWord low = tls.params.word("tls_minimum_protocol_version", enums::kTlsProtocol);
    const EnumWord high = tls.params.word("tls_maximum_protocol_version", enums::kTlsProtocol);
    if (is_old(low)) {
      Finding& finding =
          in.report("TLS-01", Level::kHigh, tls.params.at("tls_minimum_protocol_version"),
                    fmt::format("clients may speak {}: expected TLSv1_2 or newer", low.text));
      finding.affected = {affected(chain)};
      finding.fix = set_field(tls.params, "tls_minimum_protocol_version", "TLSv1_2");
    }
    if (high == "TLSv1_2" || is_old(high)) {
      in.report("TLS-02", Level::kLow, tls.params.at("tls_maximum_protocol_version"),
                fmt::format("TLS 1.3 is not offered: the newest version is {}", high.text))
          .affected = {affected(chain)};
    }
  });
}

std::vector<Suite> suites_of(const Tls& tls) {
  std::string list;
  for (const Node& one : tls.params.list("cipher_suites")) {
    if (!list.empty()) list += ':';
    // [A|B] are suites of equal preference.
    for (const char c : one.text()) {
      if (c != '[' && c != ']') list += c == '|' ? ':' : c;
    }
  }
  bool valid = true;
  return list.empty() ? std::vector<Suite>{} : expand_ciphers(list, valid);
}

Mark suite_mark(const Tls& tls, std::string_view name) {
  for (const Node& one : tls.params.list("cipher_suites")) {
    if (one.text() == name) return one.at();
  }
  for (const Node& one : tls.params.list("cipher_suites")) {
    const std::size_t at = one.text().find(name);
    if (at != std::string_view::npos && at > 0 && one.text()[at - 1] != '-') return one.at();
  }
  return tls.params.at("cipher_suites");
}

/// One finding for the gravest kind of suite: the others are in its list.
void report_suites(Inspection& in, const Tls& tls, std::string_view rule, Level level,
                   std::string_view what, bool (*bad)(const Suite&)) {
  std::vector<std::string> names;
  for (const Suite& suite : suites_of(tls)) {
    if (suite.version != "TLSv1.3" && bad(suite)) names.push_back(suite.name);
  }
  if (names.empty()) return;
  in.report(rule, level, suite_mark(tls, names.front()),
            fmt::format("{} offered: {}", what, join_some(names)));
}

void check_suites(Inspection& in) {
  each_context(in, [&](const FilterChain&, const Tls& tls) {
    const std::vector<Suite> suites = suites_of(tls);
    const auto any = [&](auto&& test) { return std::ranges::any_of(suites, test); };
    if (any([](const Suite& s) { return s.null_cipher || s.anonymous; })) {
      report_suites(in, tls, "TLS-04", Level::kCritical,
                    "suites without encryption or identity are",
                    [](const Suite& s) { return s.null_cipher || s.anonymous; });
    } else if (any([](const Suite& s) { return s.rc4 || s.triple_des || s.export_grade; })) {
      report_suites(in, tls, "TLS-04", Level::kHigh, "broken suites are",
                    [](const Suite& s) { return s.rc4 || s.triple_des || s.export_grade; });
    } else {
      report_suites(in, tls, "TLS-04", Level::kLow, "CBC suites are",
                    [](const Suite& s) { return s.cbc; });
    }
    report_suites(in, tls, "TLS-03", Level::kMedium, "suites without forward secrecy are",
                  [](const Suite& s) { return !s.forward_secret; });
  });
}

void check_upstream_suites(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    for (const Tls* tls : cluster.contexts) {
      report_suites(in, *tls, "UPS-04", Level::kMedium, "to the upstream, weak suites are",
                    [](const Suite& s) {
                      return s.null_cipher || s.anonymous || s.rc4 || s.triple_des ||
                             s.export_grade || !s.forward_secret;
                    });
    }
  }
}

void check_aes128(Inspection& in) {
  if (!in.options.strict) return;
  each_context(in, [&](const FilterChain&, const Tls& tls) {
    if (!tls.params.has("cipher_suites")) {
      in.report("TLS-19", Level::kInfo, tls.at.at(), "the default suites have AES-128 among them");
      return;
    }
    report_suites(in, tls, "TLS-19", Level::kInfo, "AES-128 suites are",
                  [](const Suite& s) { return s.name.find("AES128") != std::string::npos; });
  });
}

void check_curves(Inspection& in) {
  each_context(in, [&](const FilterChain&, const Tls& tls) {
    for (const Node& one : tls.params.list("ecdh_curves")) {
      const std::string_view curve = one.text();
      if (curve != "P-224" && curve != "secp224r1" && curve != "secp192r1" &&
          curve != "prime192v1" && curve != "secp160r1") {
        continue;
      }
      in.report("TLS-06", Level::kMedium, one.at(),
                fmt::format("the curve {} is too weak: expected X25519 and P-256", curve));
    }
  });
}

void check_renegotiation(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    for (const Tls* tls : cluster.contexts) {
      if (!tls->at.is_true("allow_renegotiation")) continue;
      in.report("TLS-07", Level::kHigh, tls->at.at("allow_renegotiation"),
                fmt::format("{} may renegotiate TLS: expected false", cluster.name));
    }
  }
}

void check_tickets(Inspection& in) {
  each_context(in, [&](const FilterChain&, const Tls& tls) {
    const Message keys = tls.at.message("session_ticket_keys");
    if (!keys) return;
    bool written = false;
    for (const Node& key : keys.list("keys")) {
      const Message source(key);
      written = written || source.has("inline_string") || source.has("inline_bytes");
    }
    in.report("TLS-10", written ? Level::kMedium : Level::kLow, tls.at.at("session_ticket_keys"),
              written ? "the keys of session tickets stand in the configuration and never change"
                      : "the keys of session tickets are files: whoever has one reads the past "
                        "unless they are rotated");
  });
}

void check_stapling(Inspection& in) {
  each_context(in, [&](const FilterChain&, const Tls& tls) {
    if (tls.at.word("ocsp_staple_policy", enums::kStaplePolicy) != "MUST_STAPLE") return;
    std::vector<Message> certificates;
    for (const Node& one : tls.common.list("tls_certificates")) certificates.emplace_back(one);
    for (const Node& one : tls.common.list("tls_certificate_sds_secret_configs")) {
      for (const Message& secret : in.model.secrets) {
        if (secret.text("name") != Message(one).text("name")) continue;
        if (secret.has("tls_certificate"))
          certificates.push_back(secret.message("tls_certificate"));
      }
    }
    const bool stapled = std::ranges::all_of(
        certificates, [](const Message& one) { return one.has("ocsp_staple"); });
    if (stapled) return;
    in.report("TLS-11", Level::kInfo, tls.at.at("ocsp_staple_policy"),
              "MUST_STAPLE is set, and a certificate has no ocsp_staple: its handshakes fail");
  });
}

/// QUIC takes early data unless it is told not to: what a client sent may be sent again by others.
void check_early_data(Inspection& in) {
  for (const FilterChain& chain : in.model.chains) {
    if (chain.tls == nullptr || !chain.tls->quic || chain.listener->is_local()) continue;
    const Message transport = typed_config(chain.at.message("transport_socket")).config;
    if (transport.flag("enable_early_data") == false) continue;
    Finding& finding = in.report(
        "TLS-12", Level::kLow,
        transport.has("enable_early_data") ? transport.at("enable_early_data") : transport.at(),
        "early data is taken on QUIC, and whoever recorded it may send it again: expected "
        "enable_early_data: false, unless every GET may be repeated");
    finding.confidence = Confidence::kLikely;
    finding.affected = {affected(chain)};
  }
}

bool only_redirects(const Hcm& hcm) {
  if (hcm.routes == nullptr) return false;
  const auto routes = hcm.all_routes();
  const bool filtered = std::ranges::all_of(hcm.routes->hosts, [](const VirtualHost* host) {
    const EnumWord require = host->at.word("require_tls", enums::kTlsRequirement);
    return require == "ALL" || require == "EXTERNAL_ONLY" ||
           (!host->routes.empty() && !host->by_matcher &&
            std::ranges::all_of(host->routes, [](const Route* route) {
              return route->redirect || route->direct || answers_challenges(*route);
            }));
  });
  return filtered && !hcm.routes->hosts.empty();
}

/// Someone in front is declared to end TLS.
bool behind_terminator(const Hcm& hcm) {
  if (hcm.at.number("xff_num_trusted_hops").value_or(0) > 0) return true;
  if (hcm.listener->at.word("traffic_direction", enums::kTrafficDirection) == "INBOUND")
    return true;
  return std::ranges::any_of(hcm.listener->listener_filters,
                             [](const Filter& f) { return f.is("proxy_protocol"); });
}

/// A host name of the open Internet among the domains that are served.
bool has_public_name(const Hcm& hcm) {
  if (hcm.routes == nullptr) return false;
  return std::ranges::any_of(hcm.routes->hosts, [](const VirtualHost* host) {
    return std::ranges::any_of(host->domains, [](std::string_view name) {
      if (name.starts_with("*.")) name.remove_prefix(2);
      name = name.substr(0, name.find(':'));
      return name.find('*') == std::string_view::npos && !is_private(name) &&
             !IpAddress::parse(name) && !name.ends_with(".test");
    });
  });
}

/// A listener for health checks and metrics, as meshes and gateways have beside the one for
/// clients.
bool only_watches(const Hcm& hcm) {
  const auto routes = hcm.all_routes();
  return !routes.empty() && std::ranges::all_of(routes, [](const Route* route) {
    return route->action && is_operational(route->path);
  });
}

void check_cleartext(Inspection& in) {
  const bool tls_somewhere = std::ranges::any_of(in.model.chains, [](const FilterChain& chain) {
    return chain.tls != nullptr && !chain.listener->is_local() && !chain.listener->is_egress();
  });
  for (const Hcm& hcm : in.model.hcms) {
    const FilterChain& chain = *hcm.chain;
    if (chain.tls != nullptr || chain.transport_unknown) continue;
    if (hcm.listener->is_local() || hcm.listener->is_egress() || hcm.listener->udp) continue;
    if (chain.match.text("transport_protocol") == "tls") continue;
    if (hcm.listener->listens_on(443)) {
      in.report("TLS-15", Level::kHigh, chain.at.at(),
                fmt::format("{} speaks HTTP in clear: the filter chain has no transport_socket",
                            hcm.listener->socket()))
          .affected = labels(hcm);
      continue;
    }
    if (only_redirects(hcm) || behind_terminator(hcm)) continue;
    // Inside of a cluster, someone else often ends TLS: what says otherwise makes it sure.
    const bool watches = only_watches(hcm);
    const bool sure =
        !watches && (hcm.listener->listens_on(80) || tls_somewhere || has_public_name(hcm));
    const Level level = sure ? Level::kHigh : watches ? Level::kLow : Level::kMedium;
    Finding& finding =
        in.report("TLS-13", level, chain.at.at(),
                  fmt::format("{} serves in clear: the filter chain has no transport_socket",
                              hcm.listener->socket()));
    finding.affected = labels(hcm);
    finding.confidence = sure ? Confidence::kLikely : Confidence::kPossible;
  }
}

void check_redirects(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.chain->tls != nullptr || hcm.chain->transport_unknown || !is_edge(hcm)) continue;
    for (const Route* route : hcm.all_routes()) {
      const Message& to = route->redirect;
      if (!to || to.is_true("https_redirect") || to.text("scheme_redirect") == "https") {
        continue;
      }
      if (!to.has("host_redirect") && !to.has("port_redirect")) continue;
      in.report("TLS-14", Level::kLow, route->at.at("redirect"),
                "it redirects from clear text to clear text: expected https_redirect: true")
          .affected = {route->label()};
    }
  }
}

bool names_principals(const Message& rbac) {
  const Message rules = rbac.message("rules");
  if (!rules) return false;
  bool found = false;
  walk(*rules.node(),
       [&](const Node& node) { found = found || Message(node).has("authenticated"); });
  return found;
}

/// An RBAC filter that asks for an authenticated principal makes the optional certificate needed,
/// if it is on and its rules refuse at all.
bool demands_principal(const FilterChain& chain) {
  const auto asks = [](const Filter& filter) {
    return filter.is("rbac") && decides(filter) && names_principals(filter.config);
  };
  if (std::ranges::any_of(chain.filters, asks)) return true;
  if (chain.hcm == nullptr) return false;
  const auto routes = chain.hcm->all_routes();
  return std::ranges::any_of(chain.hcm->filters, [&](const Filter& filter) {
    if (routes.empty()) return asks(filter);
    return filter.is("rbac") && std::ranges::any_of(routes, [&](const Route* route) {
             return decides(*route, filter) && names_principals(rbac_of(*route, filter));
           });
  });
}

void check_client_certificates(Inspection& in) {
  each_context(in, [&](const FilterChain& chain, const Tls& tls) {
    const bool required = tls.at.is_true("require_client_certificate");
    const bool untrusted =
        tls.validation.word("trust_chain_verification", enums::kTrustChain) == "ACCEPT_UNTRUSTED";
    if (required && !untrusted && !verifies_peer(tls)) {
      in.report("TLS-16", Level::kHigh, tls.at.at("require_client_certificate"),
                "a client certificate is required, and any will do: expected a "
                "validation_context with trusted_ca")
          .affected = {affected(chain)};
      return;
    }
    if (!tls.validation && !tls.validation_elsewhere) return;
    if (tls.validation.is_true("allow_expired_certificate")) {
      in.report("TLS-16", Level::kHigh, tls.validation.at("allow_expired_certificate"),
                "client certificates are accepted after they expired")
          .affected = {affected(chain)};
    }
    if (untrusted) {
      in.report("TLS-16", Level::kHigh, tls.validation.at("trust_chain_verification"),
                "client certificates of any issuer are accepted")
          .affected = {affected(chain)};
      return;
    }
    if (required || demands_principal(chain)) return;
    const Mark at = tls.at.has("require_client_certificate")
                        ? tls.at.at("require_client_certificate")
                        : tls.at.at();
    in.report("TLS-16", Level::kHigh, at,
              "client certificates are verified when sent, but not required: expected "
              "require_client_certificate: true")
        .affected = {affected(chain)};
  });
}

void check_default_certificate(Inspection& in) {
  for (const Listener& listener : in.model.listeners) {
    const auto named = [](const FilterChain* c) { return !c->match.list("server_names").empty(); };
    if (listener.chains.size() < 2 || listener.is_local()) continue;
    if (!std::ranges::any_of(listener.chains, named)) continue;
    for (const FilterChain* chain : listener.chains) {
      if (named(chain) || chain->tls == nullptr) continue;
      in.report("TLS-17", Level::kInfo, chain->at.at(),
                "clients that name no server, or one that is not known, get this chain's "
                "certificate");
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"TLS-01", check_versions},
    {"TLS-02", nullptr},
    {"TLS-03", check_suites},
    {"TLS-04", nullptr},
    {"TLS-06", check_curves},
    {"TLS-07", check_renegotiation},
    {"TLS-10", check_tickets},
    {"TLS-11", check_stapling},
    {"TLS-12", check_early_data},
    {"TLS-13", check_cleartext},
    {"TLS-15", nullptr},
    {"TLS-14", check_redirects},
    {"TLS-16", check_client_certificates},
    {"TLS-17", check_default_certificate},
    {"TLS-19", check_aes128},
    {"UPS-04", check_upstream_suites},
};

}  // namespace

std::span<const RuleEntry> tls_rules() { return kRules; }

}  // namespace merlon::audit::envoy
