#include "audit/envoy/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

constexpr std::array<std::string_view, 5> kSections = {".http.", ".network.", ".listener.", ".udp.",
                                                       ".clusters."};

/// Filters whose package is known; what they do is either judged or harmless to the rules.
constexpr std::string_view kKnownKinds[] = {"adaptive_concurrency",
                                            "admission_control",
                                            "alternate_protocols_cache",
                                            "api_key_auth",
                                            "aws_lambda",
                                            "aws_request_signing",
                                            "bandwidth_limit",
                                            "basic_auth",
                                            "buffer",
                                            "cache",
                                            "cdn_loop",
                                            "composite",
                                            "compressor",
                                            "connect_grpc_bridge",
                                            "connection_limit",
                                            "cors",
                                            "credential_injector",
                                            "csrf",
                                            "custom_response",
                                            "decompressor",
                                            "direct_response",
                                            "dynamic_forward_proxy",
                                            "echo",
                                            "ext_authz",
                                            "ext_proc",
                                            "fault",
                                            "file_system_buffer",
                                            "gcp_authn",
                                            "geoip",
                                            "grpc_field_extraction",
                                            "grpc_http1_bridge",
                                            "grpc_http1_reverse_bridge",
                                            "grpc_json_transcoder",
                                            "grpc_stats",
                                            "grpc_web",
                                            "gzip",
                                            "header_mutation",
                                            "header_to_metadata",
                                            "health_check",
                                            "http_connection_manager",
                                            "http_inspector",
                                            "ip_tagging",
                                            "json_to_metadata",
                                            "jwt_authn",
                                            "kill_request",
                                            "local_rate_limit",
                                            "local_ratelimit",
                                            "lua",
                                            "mongo_proxy",
                                            "mysql_proxy",
                                            "oauth2",
                                            "on_demand",
                                            "original_dst",
                                            "original_src",
                                            "postgres_proxy",
                                            "proxy_protocol",
                                            "rate_limit_quota",
                                            "ratelimit",
                                            "rbac",
                                            "redis_proxy",
                                            "router",
                                            "set_filter_state",
                                            "set_metadata",
                                            "sni_cluster",
                                            "sni_dynamic_forward_proxy",
                                            "stateful_session",
                                            "tap",
                                            "tcp_proxy",
                                            "tls_inspector",
                                            "udp_proxy",
                                            "wasm",
                                            "zookeeper_proxy",
                                            "client_ssl_auth",
                                            "thrift_proxy",
                                            "dubbo_proxy",
                                            "local_ratelimit",
                                            "proto_message_extraction",
                                            "upstream_codec",
                                            "rate_limit",
                                            "dns_filter",
                                            "squash",
                                            "dynamo",
                                            "language",
                                            "golang",
                                            "ext_authz",
                                            "thrift_to_metadata",
                                            "credentials",
                                            "aggregate",
                                            "redis",
                                            "reverse_tunnel"};

bool is_known_kind(std::string_view kind) {
  return std::ranges::find(kKnownKinds, kind) != std::end(kKnownKinds);
}

/// The old spellings, one for each filter that v2 named in its own way.
std::string_view modern(std::string_view kind) {
  if (kind == "local_rate_limit") return "local_ratelimit";
  if (kind == "rate_limit") return "ratelimit";
  return kind;
}

class Builder {
 public:
  explicit Builder(Model& model) : model_(model) {}

  void bootstrap(const Message& at) {
    model_.bootstraps.push_back(at);
    const Message fixed = at.message("static_resources");
    for (const Node& one : fixed.list("listeners")) listener(unwrapped(one));
    for (const Node& one : fixed.list("clusters")) cluster(unwrapped(one));
    for (const Node& one : fixed.list("secrets")) model_.secrets.push_back(unwrapped(one));
  }

  void listener(const Message& at);
  void cluster(const Message& at);
  const RouteConfig* route_config(const Message& at);
  const VirtualHost* virtual_host(const Message& at, const RouteConfig* config);
  void endpoints(const Message& assignment, Cluster& to);
  void socket_match(const Message& at, Cluster& to);

 private:
  static Message unwrapped(const Node& node) { return typed(Message(node)).config; }
  void unknown(std::string_view what) {
    if (!what.empty() && std::ranges::find(model_.unknown, what) == model_.unknown.end()) {
      model_.unknown.push_back(what);
    }
  }
  Filter filter(const Message& at) {
    const Typed any = typed_config(at);
    if (any.is("ExtensionWithMatcher")) {
      // A matcher may skip it for some requests; what it does for the others is judged.
      return filter(any.config.message("extension_config"));
    }
    Filter out{at, at.text("name"), filter_kind(any.type, at.text("name")), any.config,
               at.is_true("disabled")};
    if (!is_known_kind(out.kind)) unknown(any.type.empty() ? out.name : any.type);
    return out;
  }
  const Tls* tls(const Message& socket, bool& elsewhere);
  const Tls* tls_context(const Message& context, bool quic);
  void filter_chain(const Message& at, Listener& listener);
  void hcm(const Filter& filter, const Listener& listener, FilterChain& chain);
  void route(const Message& at, VirtualHost& host);

  Model& model_;
};

const Tls* Builder::tls_context(const Message& context, bool quic) {
  Tls& out = model_.tls.emplace_back();
  out.at = context;
  out.quic = quic;
  out.common = context.message("common_tls_context");
  out.params = out.common.message("tls_params");
  out.validation = out.common.message("validation_context");
  const Message combined = out.common.message("combined_validation_context");
  if (combined) {
    out.validation = combined.message("default_validation_context");
    out.validation_elsewhere = combined.has("validation_context_sds_secret_config");
  }
  out.validation_elsewhere = out.validation_elsewhere ||
                             out.common.has("validation_context_sds_secret_config") ||
                             out.common.has("validation_context_certificate_provider") ||
                             out.common.has("validation_context_certificate_provider_instance");
  return &out;
}

/// Looks through wrappers (PROXY protocol, tap, START_TLS has no TLS at first) for the context.
const Tls* Builder::tls(const Message& socket, bool& elsewhere) {
  Message at = socket;
  constexpr int kWrappersMax = 4;
  for (int i = 0; at && i < kWrappersMax; ++i) {
    const Typed any = typed_config(at);
    const std::string_view name = at.text("name");
    if (any.is("QuicDownstreamTransport")) {
      return tls_context(any.config.message("downstream_tls_context"), true);
    }
    if (any.is("QuicUpstreamTransport")) {
      return tls_context(any.config.message("upstream_tls_context"), true);
    }
    if (any.is("DownstreamTlsContext") || any.is("UpstreamTlsContext") ||
        (any.type.empty() && (name.ends_with(".tls") || name == "tls"))) {
      return tls_context(any.config, false);
    }
    if (any.is("RawBuffer") || (any.type.empty() && name.ends_with("raw_buffer"))) return nullptr;
    if (const Message inner = any.config.message("transport_socket")) {
      at = inner;
      continue;
    }
    elsewhere = true;
    unknown(any.type.empty() ? name : any.type);
    return nullptr;
  }
  return nullptr;
}

Socket socket_of(const Message& address) {
  const Message socket = address.message("socket_address");
  return {socket.text("address"),
          static_cast<std::uint16_t>(socket.number("port_value").value_or(0))};
}

void Builder::listener(const Message& at) {
  Listener& out = model_.listeners.emplace_back();
  out.at = at;
  out.name = at.text("name");
  const Message address = at.message("address");
  out.udp = address.message("socket_address").word("protocol", enums::kProtocol) == "UDP";
  out.sockets.push_back(socket_of(address));
  for (const Node& one : at.list("additional_addresses")) {
    out.sockets.push_back(socket_of(Message(one).message("address")));
  }
  for (const Node& one : at.list("listener_filters")) {
    out.listener_filters.push_back(filter(Message(one)));
  }
  for (const Node& one : at.list("filter_chains")) filter_chain(Message(one), out);
  if (const Message last = at.message("default_filter_chain")) {
    out.is_default = true;
    filter_chain(last, out);
  }
  if (const Message api = at.path("api_listener.api_listener")) {
    // It is called by the program that Envoy is linked into: no network behind it.
    (void)typed(api);
  }
}

void Builder::filter_chain(const Message& at, Listener& listener) {
  FilterChain& out = model_.chains.emplace_back();
  out.at = at;
  out.listener = &listener;
  out.match = at.message("filter_chain_match");
  if (const Message socket = at.message("transport_socket")) {
    out.tls = tls(socket, out.transport_unknown);
  } else if (const Message old = at.message("tls_context")) {
    out.tls = tls_context(old, false);
  }
  for (const Node& one : at.list("filters")) {
    const Filter& added = out.filters.emplace_back(filter(Message(one)));
    if (added.is("http_connection_manager")) hcm(added, listener, out);
  }
  listener.chains.push_back(&out);
}

void Builder::hcm(const Filter& filter_at, const Listener& listener, FilterChain& chain) {
  Hcm& out = model_.hcms.emplace_back();
  out.at = filter_at.config;
  out.filter = filter_at.at;
  out.listener = &listener;
  out.chain = &chain;
  chain.hcm = &out;
  for (const Node& one : out.at.list("http_filters")) out.filters.push_back(filter(Message(one)));
  if (const Message inline_routes = out.at.message("route_config")) {
    out.routes = route_config(inline_routes);
  }
}

const RouteConfig* Builder::route_config(const Message& at) {
  RouteConfig& out = model_.route_configs.emplace_back();
  out.at = at;
  out.name = at.text("name");
  for (const Node& one : at.list("virtual_hosts")) {
    out.hosts.push_back(virtual_host(Message(one), &out));
  }
  return &out;
}

const VirtualHost* Builder::virtual_host(const Message& at, const RouteConfig* config) {
  VirtualHost& out = model_.hosts.emplace_back();
  out.at = at;
  out.config = config;
  out.by_matcher = at.has("matcher");
  for (const Node& one : at.list("domains")) out.domains.push_back(one.text());
  for (const Node& one : at.list("routes")) route(Message(one), out);
  return &out;
}

std::string path_of(const Message& match) {
  if (match.has("path")) return std::string(match.text("path"));
  if (match.has("prefix")) return std::string(match.text("prefix")) + "*";
  if (match.has("path_separated_prefix")) {
    return std::string(match.text("path_separated_prefix")) + "/*";
  }
  if (const Message regex = match.message("safe_regex")) {
    return "~" + std::string(regex.text("regex"));
  }
  if (match.has("regex")) return "~" + std::string(match.text("regex"));
  if (match.has("connect_matcher")) return "CONNECT";
  if (match.has("path_match_policy")) return "(template)";
  return "?";
}

void Builder::route(const Message& at, VirtualHost& host) {
  Route& out = model_.routes.emplace_back();
  out.at = at;
  out.host = &host;
  out.match = at.message("match");
  out.action = at.message("route");
  out.redirect = at.message("redirect");
  out.direct = at.message("direct_response");
  out.path = path_of(out.match);
  host.routes.push_back(&out);
}

void Builder::endpoints(const Message& assignment, Cluster& to) {
  const auto add = [&](const Message& address) {
    const Socket socket = socket_of(address);
    to.endpoints.push_back({address, socket.host, socket.port});
  };
  for (const Node& locality : assignment.list("endpoints")) {
    for (const Node& one : Message(locality).list("lb_endpoints")) {
      if (const Message address = Message(one).path("endpoint.address")) add(address);
    }
  }
}

void Builder::socket_match(const Message& at, Cluster& to) {
  bool unknown = false;
  const Tls* context = tls(at.message("transport_socket"), unknown);
  if (context != nullptr) to.contexts.push_back(context);
  const Message wanted = at.message("match");
  const bool takes_all = !wanted || wanted.node()->members().empty();
  if (context == nullptr && !unknown && takes_all) to.clear_match = at;
}

void Builder::cluster(const Message& at) {
  Cluster& out = model_.clusters.emplace_back();
  out.at = at;
  out.name = at.text("name");
  out.type = at.has("type") ? at.word("type", enums::kDiscoveryType).text : "STATIC";
  if (const Message custom = at.message("cluster_type")) {
    out.type = "custom";
    const auto own = typed_config(custom);
    out.custom = filter_kind(own.type, custom.text("name"));
    if (out.custom == "aggregate") {
      for (const Node& one : own.config.list("clusters")) out.members.push_back(one.text());
    }
  }
  if (const Message socket = at.message("transport_socket")) {
    out.tls = tls(socket, out.transport_unknown);
  } else if (const Message old = at.message("tls_context")) {
    out.tls = tls_context(old, false);
  } else if (at.has("transport_socket_matches")) {
    out.transport_unknown = true;  // it depends on the metadata of each endpoint
  }
  if (out.tls != nullptr) out.contexts.push_back(out.tls);
  for (const Node& one : at.list("transport_socket_matches")) socket_match(Message(one), out);
  endpoints(at.message("load_assignment"), out);
  for (const Node& host : at.list("hosts")) {
    const Socket socket = socket_of(Message(host));
    out.endpoints.push_back({Message(host), socket.host, socket.port});
  }
}

/// Takes what is verified out of the secret that the context names. One from a server stays unknown
/// unless a dump holds it.
void find_validation(const Model& model, Tls& tls) {
  const Message combined = tls.common.message("combined_validation_context");
  const Message named =
      (combined ? combined : tls.common).message("validation_context_sds_secret_config");
  const Message source = named.message("sds_config");
  if (!named) return;
  const bool served = source && !source.has("path") && !source.has("path_config_source");
  for (const Message& secret : served ? model.served_secrets : model.secrets) {
    const Message found = secret.message("validation_context");
    if (!found || secret.text("name") != named.text("name")) continue;
    // Envoy merges it into the default of a combined context: that one says more, as a rule.
    const bool more = tls.validation && !tls.validation.node()->members().empty();
    if (more && found.word("trust_chain_verification", enums::kTrustChain) != "ACCEPT_UNTRUSTED") {
      continue;
    }
    tls.validation = found;
    tls.validation_elsewhere = false;
  }
}

}  // namespace

std::string_view filter_kind(std::string_view type, std::string_view name) noexcept {
  const auto from = [](std::string_view text) -> std::string_view {
    for (const std::string_view section : kSections) {
      const std::size_t at = text.find(section);
      if (at == std::string_view::npos) continue;
      const std::string_view rest = text.substr(at + section.size());
      return modern(rest.substr(0, rest.find('.')));
    }
    return {};
  };
  const std::string_view by_type = from(type);
  if (!by_type.empty()) return by_type;
  const std::string_view by_name = from(name);
  if (!by_name.empty()) return by_name;
  // "envoy.router" of old, and names such as "jwt_authn" that only mean something to people.
  const std::size_t dot = name.rfind('.');
  return modern(dot == std::string_view::npos ? name : name.substr(dot + 1));
}

bool is_loopback(std::string_view host) noexcept {
  if (host.empty() || ascii::iequals(host, "localhost")) return true;
  const auto ip = IpAddress::parse(host);
  return ip && ip->is_loopback();
}

bool leads_to_this_host(std::string_view host) noexcept {
  const auto ip = IpAddress::parse(host);
  return is_loopback(host) || (ip && ip->is_unspecified());
}

bool is_private(std::string_view host) noexcept {
  if (is_loopback(host)) return true;
  const auto ip = IpAddress::parse(host);
  if (!ip) {
    constexpr std::string_view kInside[] = {".local",   ".internal", ".svc",      ".cluster.local",
                                            ".private", ".lan",      ".home.arpa"};
    return host.find('.') == std::string_view::npos ||
           std::ranges::any_of(kInside, [&](std::string_view end) { return host.ends_with(end); });
  }
  constexpr std::string_view kBlocks[] = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16",
                                          "169.254.0.0/16", "100.64.0.0/10", "fc00::/7",
                                          "fe80::/10"};
  return std::ranges::any_of(kBlocks, [&](std::string_view block) {
    const auto cidr = Cidr::parse(block);
    return cidr && cidr->contains(*ip);
  });
}

std::string Route::label() const {
  std::string out;
  if (host != nullptr && !host->domains.empty()) out = host->domains.front();
  return out + (path.starts_with('/') ? path : " " + path);
}

const Filter* Hcm::find(std::string_view kind) const noexcept {
  const auto found = std::ranges::find(filters, kind, &Filter::kind);
  return found == filters.end() ? nullptr : &*found;
}

std::vector<const Route*> Hcm::all_routes() const {
  std::vector<const Route*> out;
  if (routes == nullptr) return out;
  for (const VirtualHost* host : routes->hosts) {
    out.insert(out.end(), host->routes.begin(), host->routes.end());
  }
  return out;
}

std::string Listener::socket() const {
  const auto open = std::ranges::find_if_not(sockets, envoy::is_loopback, &Socket::host);
  const Socket& shown = open == sockets.end() ? sockets.front() : *open;
  if (shown.host.empty()) return {};
  const bool v6 = shown.host.find(':') != std::string_view::npos;
  return v6 ? fmt::format("[{}]:{}", shown.host, shown.port)
            : fmt::format("{}:{}", shown.host, shown.port);
}

bool Listener::listens_on(std::uint16_t port) const {
  return std::ranges::find(sockets, port, &Socket::port) != sockets.end();
}

bool Listener::is_local() const {
  return std::ranges::all_of(sockets, envoy::is_loopback, &Socket::host) ||
         at.flag("bind_to_port") == false;
}

bool Listener::is_egress() const {
  if (name.find("egress") != std::string::npos || name.find("outbound") != std::string::npos) {
    return true;
  }
  // Istio's gateways call all their listeners OUTBOUND: what ends TLS, or takes the connection's
  // address for the client's, takes clients in.
  return at.word("traffic_direction", enums::kTrafficDirection) == "OUTBOUND" &&
         std::ranges::none_of(chains, [](const FilterChain* chain) {
           return chain->tls != nullptr ||
                  (chain->hcm != nullptr && chain->hcm->at.is_true("use_remote_address"));
         });
}

bool Cluster::is_local() const {
  return !endpoints.empty() && std::ranges::all_of(endpoints, [](const Upstream& one) {
    return leads_to_this_host(one.host);
  });
}

const Cluster* Model::cluster(std::string_view name) const {
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : found->second;
}

ResourceKind kind_of(const Typed& resource) noexcept {
  if (!resource.type.empty()) {
    if (resource.is("Bootstrap")) return ResourceKind::kBootstrap;
    if (resource.is("Listener")) return ResourceKind::kListener;
    if (resource.is("Cluster")) return ResourceKind::kCluster;
    if (resource.is("RouteConfiguration")) return ResourceKind::kRouteConfig;
    if (resource.is("VirtualHost")) return ResourceKind::kVirtualHost;
    if (resource.is("ClusterLoadAssignment")) return ResourceKind::kEndpoints;
    if (resource.is("Secret")) return ResourceKind::kSecret;
    if (resource.is("Runtime")) return ResourceKind::kRuntime;
    return ResourceKind::kUnknown;
  }
  const Message& at = resource.config;
  for (const char* key : {"static_resources", "dynamic_resources", "admin", "layered_runtime",
                          "overload_manager", "cluster_manager"}) {
    if (at.has(key)) return ResourceKind::kBootstrap;
  }
  if (at.has("filter_chains") || at.has("default_filter_chain")) return ResourceKind::kListener;
  if (at.has("virtual_hosts")) return ResourceKind::kRouteConfig;
  if (at.has("domains") && at.has("routes")) return ResourceKind::kVirtualHost;
  if (at.has("cluster_name") && at.has("endpoints")) return ResourceKind::kEndpoints;
  if (at.has("load_assignment") || at.has("lb_policy") || at.has("cluster_type") ||
      at.has("eds_cluster_config") ||
      (at.has("name") && (at.has("type") || at.has("connect_timeout")))) {
    return ResourceKind::kCluster;
  }
  if (at.has("tls_certificate") || at.has("validation_context") || at.has("generic_secret")) {
    return ResourceKind::kSecret;
  }
  return ResourceKind::kUnknown;
}

void add_resource(Model& model, const Message& resource, ResourceKind kind) {
  Builder builder(model);
  switch (kind) {
    case ResourceKind::kBootstrap:
      return builder.bootstrap(resource);
    case ResourceKind::kListener:
      return builder.listener(resource);
    case ResourceKind::kCluster:
      return builder.cluster(resource);
    case ResourceKind::kRouteConfig:
      (void)builder.route_config(resource);
      return;
    case ResourceKind::kVirtualHost:
      (void)builder.virtual_host(resource, nullptr);
      return;
    case ResourceKind::kSecret:
      model.secrets.push_back(resource);
      return;
    case ResourceKind::kEndpoints:
      for (Cluster& cluster : model.clusters) {
        const std::string_view service = cluster.at.path("eds_cluster_config").text("service_name");
        if (resource.text("cluster_name") == (service.empty() ? cluster.name : service)) {
          builder.endpoints(resource, cluster);
        }
      }
      return;
    case ResourceKind::kRuntime:
    case ResourceKind::kUnknown:
      return;
  }
}

void link(Model& model) {
  for (Tls& tls : model.tls) find_validation(model, tls);
  for (const Cluster& cluster : model.clusters) model.by_name.emplace(cluster.name, &cluster);
  std::map<std::string_view, RouteConfig*> by_name;
  for (RouteConfig& config : model.route_configs) by_name.emplace(config.name, &config);
  for (Hcm& hcm : model.hcms) {
    if (hcm.routes == nullptr && hcm.at.has("rds")) {
      const auto found = by_name.find(hcm.at.message("rds").text("route_config_name"));
      if (found != by_name.end()) hcm.routes = found->second;
    }
    for (RouteConfig& config : model.route_configs) {
      if (&config == hcm.routes) config.users.push_back(&hcm);
    }
  }
}

}  // namespace merlon::audit::envoy
