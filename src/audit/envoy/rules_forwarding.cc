#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// A filter or a rate limit that asks who the client is by its address.
bool decides_by_address(const Hcm& hcm) {
  const auto asks = [](const Message& at) {
    bool found = false;
    if (!at) return false;
    walk(*at.node(), [&](const Node& node) {
      const Message here(node);
      found = found || here.has("remote_ip") || here.has("remote_address") ||
              here.has("masked_remote_address");
    });
    return found;
  };
  return asks(hcm.at) || (hcm.routes != nullptr && asks(hcm.routes->at));
}

void check_client_address(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Message internal = hcm.at.message("internal_address_config");
    for (const Node& one : internal.list("cidr_ranges")) {
      const Message range(one);
      const auto bits = range.number("prefix_len");
      const bool v6 = range.text("address_prefix").find(':') != std::string_view::npos;
      if (bits.value_or(32) >= (v6 ? 16U : 8U)) continue;
      in.report("XFF-01", Level::kHigh, range.at("address_prefix"),
                fmt::format("{}/{} counts as internal: its clients may send x-envoy headers",
                            range.text("address_prefix"), bits.value_or(0)));
    }
    if (!is_edge(hcm) || hcm.at.is_true("use_remote_address")) continue;
    if (hcm.at.has("original_ip_detection_extensions")) continue;
    const bool proxied = std::ranges::any_of(
        hcm.listener->listener_filters, [](const Filter& f) { return f.is("proxy_protocol"); });
    const bool inbound =
        hcm.listener->at.word("traffic_direction", enums::kTrafficDirection) == "INBOUND";
    // xff_num_trusted_hops says that others stand in front.
    const bool behind = hcm.at.number("xff_num_trusted_hops").value_or(0) > 0;
    // Behind another proxy it is that one's header; where clients connect, or where something here
    // is decided by the address, it is theirs.
    const bool edge = hcm.chain->tls != nullptr || decides_by_address(hcm);
    Finding& finding = in.report(
        "XFF-01", inbound || proxied || behind || !edge ? Level::kMedium : Level::kHigh,
        hcm.at.at("use_remote_address"),
        "the client's own X-Forwarded-For says who it is: expected use_remote_address: true");
    finding.confidence = edge ? Confidence::kLikely : Confidence::kPossible;
    finding.affected = labels(hcm);
    finding.evidence = "X-Forwarded-For: 127.0.0.1";
    finding.fix = write_field(hcm.at, "use_remote_address", "true");
  }
}

/// Entries of X-Forwarded-For that are believed although nobody in front wrote them.
void check_hops(Inspection& in) {
  // A content network, a load balancer and an ingress are three.
  constexpr std::uint64_t kHopsMax = 5;
  for (const Hcm& hcm : in.model.hcms) {
    const std::uint64_t hops = hcm.at.number("xff_num_trusted_hops").value_or(0);
    if (!is_edge(hcm) || hops == 0) continue;
    const bool proxied = std::ranges::any_of(
        hcm.listener->listener_filters, [](const Filter& f) { return f.is("proxy_protocol"); });
    const bool twice = proxied && hcm.at.is_true("use_remote_address");
    if (hops <= kHopsMax && !twice) continue;
    Finding& finding = in.report(
        "XFF-01", hops > kHopsMax ? Level::kHigh : Level::kMedium,
        hcm.at.at("xff_num_trusted_hops"),
        hops > kHopsMax
            ? fmt::format("{} proxies in front are trusted: a client that writes as many "
                          "entries into X-Forwarded-For chooses its address",
                          hops)
            : "PROXY protocol brings the client's address, and an entry that the client writes "
              "into X-Forwarded-For goes before it: expected xff_num_trusted_hops: 0");
    finding.confidence = Confidence::kLikely;
    finding.evidence = "X-Forwarded-For: 127.0.0.1";
    finding.affected = labels(hcm);
  }
}

void check_append(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!hcm.at.is_true("skip_xff_append")) continue;
    if (hcm.listener->is_egress() || hcm.listener->is_local()) continue;
    in.report("XFF-02", Level::kMedium, hcm.at.at("skip_xff_append"),
              "X-Forwarded-For goes on as the client wrote it: expected skip_xff_append: false");
  }
}

/// A header of the client's own choice in place of the connection's address.
void check_detection(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    for (const Node& one : hcm.at.list("original_ip_detection_extensions")) {
      const Typed extension = typed_config(Message(one));
      if (!extension.is("CustomHeaderConfig")) continue;
      const bool trusted = extension.config.is_true("allow_extension_to_set_address_as_trusted");
      Finding& finding = in.report(
          "XFF-01", trusted ? Level::kHigh : Level::kMedium, extension.config.at("header_name"),
          fmt::format("{} says who the client is, and nothing here takes a client's own away{}",
                      extension.config.text("header_name"),
                      trusted ? ": internal addresses in it are trusted" : ""));
      finding.confidence = Confidence::kLikely;
      finding.evidence = fmt::format("{}: 10.0.0.1", extension.config.text("header_name"));
      finding.affected = labels(hcm);
    }
  }
}

bool is_address_field(std::string_view name) {
  constexpr std::string_view kFields[] = {"x-forwarded-for", "x-real-ip", "true-client-ip",
                                          "x-client-ip"};
  return std::ranges::any_of(kFields,
                             [&](std::string_view one) { return ascii::iequals(one, name); });
}

bool is_user_field(std::string_view name) {
  constexpr std::string_view kFields[] = {"x-user",
                                          "x-user-id",
                                          "x-remote-user",
                                          "remote-user",
                                          "x-forwarded-user",
                                          "x-authenticated-user",
                                          "x-auth-request-user"};
  return std::ranges::any_of(kFields,
                             [&](std::string_view one) { return ascii::iequals(one, name); });
}

/// The request header that a value is a copy of; "" when it is more than that.
std::string_view copied_from(std::string_view value) {
  for (const std::string_view start : {"%REQ(", "%REQUEST_HEADER("}) {
    if (!value.starts_with(start) || value.find(')') + 2 != value.size()) continue;
    return value.substr(start.size(), value.find_first_of("?:)", start.size() + 1) - start.size());
  }
  return {};
}

/// True when a filter may have written what a header copies.
bool may_write_headers(const Model& model) {
  return std::ranges::any_of(model.hcms, [](const Hcm& hcm) {
    return std::ranges::any_of(hcm.filters, [](const Filter& filter) {
      return is_access_kind(filter.kind) || filter.is("lua") || filter.is("wasm") ||
             filter.is("ext_proc") || filter.is("golang");
    });
  });
}

/// Fields that tell the upstream who the client is, and are made of what a client wrote.
void check_rewritten_fields(Inspection& in) {
  const bool written = may_write_headers(in.model);
  const auto judge = [&](const Message& holder, const std::string& label) {
    for (const Node& one : holder.list("request_headers_to_add")) {
      const Message header = Message(one).message("header");
      const std::string_view from = copied_from(header.text("value"));
      // Envoy writes that one itself, from the connection.
      if (from.empty() || ascii::iequals(from, "x-envoy-external-address")) continue;
      if (is_address_field(header.text("key"))) {
        in.report("XFF-02", Level::kMedium, header.at("value"),
                  fmt::format("the upstream is told the address that the client wrote in {}: "
                              "expected %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                              from))
            .affected = {label};
      } else if (is_user_field(header.text("key")) && !written) {
        in.report("XFF-04", Level::kMedium, header.at("value"),
                  fmt::format("the upstream is told in {} who the client says it is, in {}",
                              header.text("key"), from))
            .affected = {label};
      }
    }
  };
  for (const RouteConfig& config : in.model.route_configs) {
    judge(config.at, std::string(config.name));
  }
  for (const VirtualHost& host : in.model.hosts) {
    judge(host.at, std::string(host.domains.empty() ? "" : host.domains.front()));
  }
  for (const Route& route : in.model.routes) judge(route.at, route.label());
}

void check_proxy_protocol(Inspection& in) {
  for (const Listener& listener : in.model.listeners) {
    for (const Filter& filter : listener.listener_filters) {
      if (!filter.is("proxy_protocol") || listener.is_local()) continue;
      if (!filter.config.is_true("allow_requests_without_proxy_protocol")) continue;
      in.report("XFF-03", Level::kHigh, filter.config.at("allow_requests_without_proxy_protocol"),
                "connections with and without PROXY protocol are taken: who connects directly "
                "may claim any address");
    }
  }
}

void check_client_certificate_header(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const EnumWord details = hcm.at.word("forward_client_cert_details", enums::kForwardClientCert);
    if (details != "APPEND_FORWARD" && details != "ALWAYS_FORWARD_ONLY") continue;
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    if (details == "APPEND_FORWARD" && has_mutual_tls(*hcm.chain)) continue;
    in.report("XFF-04", Level::kHigh, hcm.at.at("forward_client_cert_details"),
              fmt::format("{} passes a client's own x-forwarded-client-cert on: expected "
                          "SANITIZE_SET",
                          details.text))
        .evidence = "x-forwarded-client-cert: Subject=\"CN=admin\"";
  }
}

/// Header fields in which a filter tells the upstream who the client is, and where they are named.
std::vector<Message> identity_fields(const Filter& filter, std::string_view& key) {
  std::vector<Message> out;
  if (filter.is("ext_authz")) {
    key = "exact";
    const Message allowed =
        filter.config.path("http_service.authorization_response.allowed_upstream_headers");
    for (const Node& pattern : allowed.list("patterns")) out.emplace_back(pattern);
    return out;
  }
  key = "header_name";
  const Message providers = filter.config.message("providers");
  if (!filter.is("jwt_authn") || !providers) return out;
  for (const config::Member& one : providers.node()->members()) {
    for (const Node& claim : Message(one.value).list("claim_to_headers")) out.emplace_back(claim);
  }
  return out;
}

/// Labels of the routes on which `filter` is switched off and a client's own `name` is not removed.
std::vector<std::string> routes_letting_in(const Hcm& hcm, const Filter& filter,
                                           std::string_view name) {
  std::vector<std::string> out;
  for (const Route* route : hcm.all_routes()) {
    if (!route->action || !is_disabled(*route, filter)) continue;
    if (removes_header(*route, "request_headers_to_remove", name)) continue;
    out.push_back(route->label());
  }
  return out;
}

/// What a filter says of the client reaches the upstream as headers; where it is switched off, a
/// client's own of that name do.
void check_identity_headers(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local()) continue;
    for (const Filter& filter : hcm.filters) {
      std::string_view key;
      for (const Message& field : identity_fields(filter, key)) {
        const std::string_view name = field.text(key);
        if (!ascii::iequals(name.substr(0, 2), "x-")) continue;
        std::vector<std::string> open = routes_letting_in(hcm, filter, name);
        if (open.empty()) continue;
        Finding& finding = in.report(
            "XFF-04", Level::kHigh, field.at(),
            fmt::format("where {} is switched off, a client's own {} reaches the upstream: "
                        "expected request_headers_to_remove there",
                        filter.kind, name));
        finding.evidence = fmt::format("{}: admin", name);
        finding.affected = sorted(std::move(open));
      }
    }
  }
}

void check_forwarded_host(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || hcm.at.is_true("use_remote_address") || hcm.routes == nullptr) continue;
    std::vector<std::string> open;
    for (const Route* route : hcm.all_routes()) {
      if (!route->action) continue;
      if (!removes_header(*route, "request_headers_to_remove", "x-forwarded-host")) {
        open.push_back(route->label());
      }
    }
    if (open.empty()) continue;
    Finding& finding = in.report("HST-03", Level::kMedium, hcm.at.at(),
                                 "X-Forwarded-Host and X-Forwarded-Proto of the client go on to "
                                 "the upstream");
    finding.affected = sorted(std::move(open));
    finding.confidence = Confidence::kLikely;
    finding.evidence = "X-Forwarded-Host: attacker.test";
  }
}

void check_host_rewrite(Inspection& in) {
  for (const Route& route : in.model.routes) {
    const Message& action = route.action;
    const Message by_path = action.message("host_rewrite_path_regex");
    if (by_path.text("substitution").find('\\') != std::string_view::npos) {
      Finding& finding = in.report("HST-01", Level::kLow, action.at("host_rewrite_path_regex"),
                                   "the upstream's Host is what the client writes into the path");
      finding.affected = {route.label()};
      finding.confidence = Confidence::kLikely;
    }
    if (!action.has("host_rewrite_header")) continue;
    const bool dynamic = std::ranges::any_of(clusters_of(route), [&](std::string_view name) {
      const Cluster* cluster = in.model.cluster(name);
      return cluster != nullptr && cluster->custom == "dynamic_forward_proxy";
    });
    if (dynamic) continue;  // SSR-01 says it
    in.report("HST-01", Level::kMedium, action.at("host_rewrite_header"),
              fmt::format("the upstream's Host is what the client writes into {}",
                          action.text("host_rewrite_header")))
        .affected = {route.label()};
  }
}

void check_unknown_hosts(Inspection& in) {
  for (const RouteConfig& config : in.model.route_configs) {
    const bool edge = std::ranges::any_of(config.users, [](const Hcm* h) { return is_edge(*h); });
    if (!edge || config.hosts.size() != 1) continue;
    const VirtualHost& host = *config.hosts.front();
    const auto star = std::ranges::find(host.domains, "*");
    if (star == host.domains.end()) continue;
    const bool serves =
        std::ranges::any_of(host.routes, [](const Route* r) { return bool(r->action); });
    if (!serves) continue;
    Finding& finding = in.report("HST-02", Level::kMedium, host.at.at("domains"),
                                 "every Host is served: expected the names that are meant");
    finding.confidence = Confidence::kLikely;
    finding.evidence = "Host: attacker.test";
  }
}

constexpr RuleEntry kRules[] = {
    {"XFF-01", check_client_address},
    {"XFF-02", check_append},
    {"XFF-01", check_hops},
    {"XFF-01", check_detection},
    {"XFF-02", check_rewritten_fields},
    {"XFF-03", check_proxy_protocol},
    {"XFF-04", check_client_certificate_header},
    {"XFF-04", check_identity_headers},
    {"HST-01", check_host_rewrite},
    {"HST-02", check_unknown_hosts},
    {"HST-03", check_forwarded_host},
};

}  // namespace

std::span<const RuleEntry> forwarding_rules() { return kRules; }

}  // namespace merlon::audit::envoy
