#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

std::string first_host(const Cluster& cluster) {
  for (const Upstream& one : cluster.endpoints) {
    if (!leads_to_this_host(one.host)) return fmt::format("{}:{}", one.host, one.port);
  }
  return {};
}

/// Clusters that get bytes as they come, by tcp_proxy or a terminated CONNECT: what is in them, TLS
/// or not, is the client's doing.
std::set<std::string_view> tunnelled(const Model& model) {
  std::set<std::string_view> tunnels;
  std::set<std::string_view> spoken_to;
  const auto note = [](const Message& at, std::set<std::string_view>& to) {
    if (!at) return;
    walk(*at.node(), [&](const Node& node) {
      const Message here(node);
      if (const std::string_view name = here.text("cluster"); !name.empty()) to.insert(name);
      for (const Node& one : here.path("weighted_clusters").list("clusters")) {
        to.insert(Message(one).text("name"));
      }
    });
  };
  for (const FilterChain& chain : model.chains) {
    for (const Filter& filter : chain.filters) {
      if (filter.is("tcp_proxy")) note(filter.config, tunnels);
    }
  }
  for (const Route& route : model.routes) {
    note(route.at, route.match.has("connect_matcher") ? tunnels : spoken_to);
  }
  std::erase_if(tunnels, [&](std::string_view name) { return spoken_to.contains(name); });
  return tunnels;
}

void check_cleartext(Inspection& in) {
  const std::set<std::string_view> tunnels = tunnelled(in.model);
  for (const Cluster& cluster : in.model.clusters) {
    if (tunnels.contains(cluster.name)) continue;
    const Message& match = cluster.clear_match;
    if (!match && (cluster.tls != nullptr || cluster.transport_unknown)) continue;
    const std::string host = first_host(cluster);
    if (host.empty()) continue;
    const bool port_of_tls = host.ends_with(":443");
    const bool inside = std::ranges::all_of(
        cluster.endpoints, [](const Upstream& one) { return is_private(one.host); });
    Finding& finding = in.report("UPS-01",
                                 port_of_tls ? Level::kHigh
                                 : inside    ? Level::kLow
                                             : Level::kMedium,
                                 match ? match.at() : cluster.at.at(),
                                 fmt::format("{} is spoken to in clear ({})", cluster.name, host));
    finding.confidence = inside ? Confidence::kLikely : Confidence::kCertain;
  }
}

/// True when an entry takes the names of everyone: a StringMatcher, or one in a
/// SubjectAltNameMatcher.
bool takes_any_name(const Node& entry) {
  const Message at(entry);
  const Message matcher = at.has("matcher") ? at.message("matcher") : at;
  return matches(matcher, "x.merlon-sample.invalid") == true ||
         is_open_ending(matcher.text("suffix"));
}

bool has_names(const Message& validation) {
  // One entry that fits is enough.
  for (const char* key : {"match_typed_subject_alt_names", "match_subject_alt_names"}) {
    const auto entries = validation.list(key);
    if (!entries.empty() && std::ranges::none_of(entries, takes_any_name)) return true;
  }
  for (const char* key :
       {"verify_subject_alt_name", "verify_certificate_spki", "verify_certificate_hash"}) {
    if (!validation.list(key).empty()) return true;
  }
  return validation.has("custom_validator_config");
}

bool checks_names_itself(const Cluster& cluster, const Tls& tls) {
  if (tls.at.is_true("auto_sni_san_validation")) return true;
  const Message options = cluster.at.message("typed_extension_protocol_options");
  if (!options) return false;
  for (const config::Member& member : options.node()->members()) {
    const Message upstream = Message(member.value).message("upstream_http_protocol_options");
    if (upstream.is_true("auto_san_validation")) return true;
  }
  return false;
}

bool sends_name_itself(const Cluster& cluster, const Tls& tls) {
  if (tls.at.is_true("auto_host_sni")) return true;
  const Message options = cluster.at.message("typed_extension_protocol_options");
  if (!options) return false;
  for (const config::Member& member : options.node()->members()) {
    if (Message(member.value).path("upstream_http_protocol_options").is_true("auto_sni")) {
      return true;
    }
  }
  return false;
}

/// Visits every node of every file that was read.
template <class F>
void each_node(const Model& model, F&& visit) {
  for (const auto& tree : model.trees) {
    for (const Node& root : tree->documents()) walk(root, visit);
  }
}

/// Clusters that nothing but providers of jwt_authn name: JWT-05 speaks of them.
std::set<std::string_view> key_sources(const Model& model) {
  std::map<std::string_view, int> others;
  std::set<std::string_view> sources;
  each_node(model, [&](const Node& node) {
    const Message at(node);
    if (!at.has("endpoints")) {
      ++others[at.text("cluster")];
      ++others[at.text("cluster_name")];
    }
    for (const Node& one : at.message("weighted_clusters").list("clusters")) {
      ++others[Message(one).text("name")];
    }
    const Message uri = at.path("remote_jwks.http_uri");
    const std::string_view source = uri.text("cluster");
    // Of one that is asked by http:// the scheme is a defect of its own.
    if (source.empty() || uri.text("uri").starts_with("http://")) return;
    sources.insert(source);
    --others[source];
  });
  std::erase_if(sources, [&](std::string_view name) { return others[name] > 0; });
  return sources;
}

void judge_verification(Inspection& in, const Cluster& cluster, const Tls& tls, bool keys_only) {
  if (tls.validation_elsewhere) return;
  const Message& check = tls.validation;
  const bool untrusted =
      check.word("trust_chain_verification", enums::kTrustChain) == "ACCEPT_UNTRUSTED";
  if (!verifies_peer(tls)) {
    if (keys_only && !cluster.is_local()) return;
    const Mark at = untrusted ? check.at("trust_chain_verification") : tls.at.at();
    in.report("UPS-02", cluster.is_local() ? Level::kLow : Level::kHigh, at,
              untrusted ? fmt::format("{}: certificates of any issuer are accepted", cluster.name)
                        : fmt::format("{}: the certificate is not verified: there is no trusted_ca",
                                      cluster.name))
        .remediation = "validation_context with trusted_ca, and auto_san_validation: true";
    return;
  }
  if (check.is_true("allow_expired_certificate")) {
    in.report("UPS-02", cluster.is_local() ? Level::kLow : Level::kMedium,
              check.at("allow_expired_certificate"),
              fmt::format("{}: certificates are accepted after they expired", cluster.name))
        .remediation = "allow_expired_certificate: false";
  }
  const bool names = has_names(check) || checks_names_itself(cluster, tls);
  const bool sni = tls.at.has("sni") || sends_name_itself(cluster, tls);
  if (names && sni) return;
  if (names && cluster.is_local()) return;
  if (names) {
    in.report("UPS-03", Level::kLow, tls.at.at(),
              fmt::format("{}: no server name is sent", cluster.name));
    return;
  }
  constexpr std::string_view kField = "match_typed_subject_alt_names";
  in.report("UPS-03", Level::kMedium, check.has(kField) ? check.at(kField) : tls.at.at(),
            fmt::format("{}: any name that the authority signed is accepted: expected {} with the "
                        "upstream's names",
                        cluster.name, kField));
}

void check_verification(Inspection& in) {
  const std::set<std::string_view> keys = key_sources(in.model);
  for (const Cluster& cluster : in.model.clusters) {
    for (const Tls* tls : cluster.contexts) {
      judge_verification(in, cluster, *tls, tls == cluster.tls && keys.contains(cluster.name));
    }
  }
}

void judge_versions(Inspection& in, const Cluster& cluster, const Message& params) {
  for (const char* key : {"tls_minimum_protocol_version", "tls_maximum_protocol_version"}) {
    const EnumWord version = params.word(key, enums::kTlsProtocol);
    if (version != "TLSv1_0" && version != "TLSv1_1") continue;
    in.report("UPS-04", Level::kMedium, params.at(key),
              fmt::format("{} may be spoken to with {}: expected TLSv1_2 or newer", cluster.name,
                          version.text));
    break;
  }
}

void check_versions(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    for (const Tls* tls : cluster.contexts) judge_versions(in, cluster, tls->params);
  }
}

void check_resolvers(Inspection& in) {
  const auto judge = [&](const Message& holder, std::string_view field = "resolvers") {
    for (const Node& one : holder.list(field)) {
      const Message socket = Message(one).message("socket_address");
      const std::string_view host = socket.text("address");
      const auto ip = IpAddress::parse(host);
      if (!ip || is_private(host)) continue;
      in.report("UPS-05", Level::kLow, socket.at("address"),
                fmt::format("names are resolved by {} on the open Internet", host));
    }
  };
  const auto holders = [&](const Message& at) {
    judge(at.message("dns_resolution_config"));
    judge(at.path("typed_dns_resolver_config.typed_config"));
  };
  for (const Cluster& cluster : in.model.clusters) {
    holders(cluster.at);
    judge(cluster.at, "dns_resolvers");
  }
  holders(in.model.bootstrap());
}

void check_stale_names(Inspection& in) {
  for (const Cluster& cluster : in.model.clusters) {
    if (!ascii::iequals(cluster.type, "STATIC")) continue;
    for (const Upstream& one : cluster.endpoints) {
      if (one.host.empty() || IpAddress::parse(one.host)) continue;
      in.report("UPS-06", Level::kInfo, one.at.message("socket_address").at("address"),
                fmt::format("{} is STATIC, and {} is a name: it is not resolved", cluster.name,
                            one.host));
      break;
    }
  }
}

/// Values that documentation and templates put where a secret belongs.
bool is_placeholder(std::string_view text) {
  const std::size_t blank = text.find(' ');  // after "Bearer" or "Basic"
  if (blank != std::string_view::npos) text.remove_prefix(blank + 1);
  if (text.size() < 6) return true;
  // The last is what the admin interface writes in place of a secret.
  constexpr std::string_view kMarks[] = {"${", "{{", "<", "$(", "[redacted]"};
  constexpr std::string_view kWords[] = {"your", "changeme", "example", "placeholder",
                                         "xxxx", "todo",     "replace", "dummy"};
  std::string low(text);
  std::ranges::transform(low, low.begin(), ascii::lower);
  const auto holds = [&](std::string_view word) { return low.find(word) != std::string::npos; };
  return std::ranges::any_of(kMarks,
                             [&](std::string_view mark) { return text.starts_with(mark); }) ||
         std::ranges::any_of(kWords, holds);
}

void report_secret(Inspection& in, const Mark& at, std::string what) {
  Finding& finding = in.report("UPS-07", Level::kHigh, at, std::move(what));
  finding.hide_source = true;
  finding.remediation = "name a file, or take the secret from SDS";
}

bool is_credential_field(std::string_view name) {
  constexpr std::string_view kFields[] = {"authorization", "proxy-authorization", "x-api-key",
                                          "api-key",       "x-auth-token",        "x-access-token",
                                          "private-token", "x-vault-token"};
  return std::ranges::any_of(kFields,
                             [&](std::string_view one) { return ascii::iequals(one, name); });
}

void judge_header_credential(Inspection& in, const Message& header) {
  const std::string_view key = header.text("key");
  const std::string_view value = header.text("value");
  const bool format = value.find('%') != std::string_view::npos;
  if (!is_credential_field(key) || format || is_placeholder(value)) return;
  report_secret(in, header.at("value"),
                fmt::format("the credential that goes out as {} stands in the configuration", key));
}

/// What routes and the filter header_mutation add to requests.
void check_header_credentials(Inspection& in, const Node& node) {
  for (const Node& one : Message(node).list("request_headers_to_add")) {
    judge_header_credential(in, Message(one).message("header"));
  }
  for (const Node& one : Message(node).list("request_mutations")) {
    judge_header_credential(in, Message(one).path("append.header"));
  }
}

void check_credentials(Inspection& in) {
  each_node(in.model, [&](const Node& node) {
    if (!node.is_mapping()) return;
    const Message at(node);
    check_header_credentials(in, node);
    const Message generic = at.path("generic_secret.secret");
    if (!generic.has("inline_string") || is_placeholder(generic.text("inline_string"))) return;
    report_secret(in, generic.at("inline_string"),
                  fmt::format("the secret {} stands in the configuration", at.text("name")));
  });
}

constexpr RuleEntry kRules[] = {{"UPS-01", check_cleartext},  {"UPS-02", check_verification},
                                {"UPS-03", nullptr},          {"UPS-04", check_versions},
                                {"UPS-05", check_resolvers},  {"UPS-06", check_stale_names},
                                {"UPS-07", check_credentials}};

}  // namespace

std::span<const RuleEntry> upstream_rules() { return kRules; }

}  // namespace merlon::audit::envoy
