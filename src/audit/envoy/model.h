#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/envoy/message.h"
#include "base/ip.h"

/// What one Envoy would do with the resources that were read: listeners with their filter chains,
/// routes and clusters, tied together by name as Envoy ties them.
namespace merlon::audit::envoy {

struct Listener;
struct Hcm;

/// One filter of a chain, or its configuration on a route.
struct Filter {
  Message at;             ///< the entry of the list
  std::string_view name;  ///< as given
  std::string_view kind;  ///< "jwt_authn", "router", …: its package; "" when not known
  Message config;
  bool disabled = false;  ///< off unless a route switches it on
  [[nodiscard]] bool is(std::string_view wanted) const noexcept { return kind == wanted; }
};

/// DownstreamTlsContext or UpstreamTlsContext.
struct Tls {
  Message at;                         ///< the context
  Message common;                     ///< common_tls_context
  Message params;                     ///< tls_params
  Message validation;                 ///< validation_context, also out of the combined one
  bool validation_elsewhere = false;  ///< a secret from a server says what is verified
  bool quic = false;
};

struct Route {
  Message at;
  Message match;
  Message action;  ///< `route`
  Message redirect;
  Message direct;  ///< direct_response
  const struct VirtualHost* host = nullptr;
  std::string path;  ///< "/v1/*", "/exact", "~regex"
  [[nodiscard]] std::string label() const;
  [[nodiscard]] std::string_view cluster() const noexcept { return action.text("cluster"); }
  [[nodiscard]] std::span<const Node> weighted_clusters() const noexcept {
    return action.message("weighted_clusters").list("clusters");
  }
};

struct VirtualHost {
  Message at;
  std::vector<std::string_view> domains;
  std::vector<const Route*> routes;
  const struct RouteConfig* config = nullptr;
  bool by_matcher = false;  ///< `matcher` in place of routes: not followed
};

struct RouteConfig {
  Message at;
  std::string_view name;
  std::vector<const VirtualHost*> hosts;
  std::vector<const Hcm*> users;
};

/// An HTTP connection manager.
struct Hcm {
  Message at;      ///< its typed configuration
  Message filter;  ///< the network filter that holds it
  const Listener* listener = nullptr;
  const struct FilterChain* chain = nullptr;
  const RouteConfig* routes = nullptr;  ///< nullptr: they come from a server or another file
  std::vector<Filter> filters;
  [[nodiscard]] const Filter* find(std::string_view kind) const noexcept;
  [[nodiscard]] std::vector<const Route*> all_routes() const;
};

struct FilterChain {
  Message at;
  Message match;
  const Tls* tls = nullptr;
  bool transport_unknown = false;  ///< a transport that is neither TLS nor plain
  std::vector<Filter> filters;
  const Hcm* hcm = nullptr;
  const Listener* listener = nullptr;
};

struct Socket {
  std::string_view host;  ///< "" for a pipe or an internal listener
  std::uint16_t port = 0;
};

struct Listener {
  Message at;
  std::string_view name;
  std::vector<Socket> sockets;  ///< its address and the additional ones
  bool udp = false;
  bool is_default = false;  ///< default_filter_chain is among the chains
  std::vector<Filter> listener_filters;
  std::vector<const FilterChain*> chains;
  /// "0.0.0.0:443", "[::]:443": the first that other hosts reach; "" when it has none.
  [[nodiscard]] std::string socket() const;
  [[nodiscard]] bool listens_on(std::uint16_t port) const;
  /// True when only this host can connect: loopback, pipe, internal, not bound.
  [[nodiscard]] bool is_local() const;
  /// True when it takes this host's or this pod's own traffic out, by what it says of itself.
  [[nodiscard]] bool is_egress() const;
};

struct Upstream {
  Message at;
  std::string_view host;  ///< "" for a pipe
  std::uint16_t port = 0;
};

struct Cluster {
  Message at;
  std::string_view name;
  std::string_view type;    ///< discovery type, "STATIC" when absent
  std::string_view custom;  ///< kind of a cluster_type extension, such as "dynamic_forward_proxy"
  const Tls* tls = nullptr;
  bool transport_unknown = false;
  std::vector<const Tls*> contexts;  ///< its own, and those of transport_socket_matches
  Message clear_match;               ///< of those, the one that takes all endpoints in clear
  std::vector<Upstream> endpoints;
  std::vector<std::string_view> members;  ///< of an aggregate: the clusters that it is made of
  [[nodiscard]] bool is_local() const;    ///< every endpoint is on this host
};

struct Model {
  std::vector<std::shared_ptr<const config::Tree>> trees;
  std::vector<Message> bootstraps;  ///< at most one
  std::deque<Tls> tls;
  std::deque<Route> routes;
  std::deque<VirtualHost> hosts;
  std::deque<RouteConfig> route_configs;
  std::deque<Hcm> hcms;
  std::deque<FilterChain> chains;
  std::deque<Listener> listeners;
  std::deque<Cluster> clusters;
  std::vector<Message> secrets;                        ///< Secret resources
  std::vector<Message> served_secrets;                 ///< of these, a server's, out of a dump
  std::map<std::string_view, const Cluster*> by_name;  ///< clusters
  /// Extension types and filter names that are not known here; not judged.
  std::vector<std::string_view> unknown;

  [[nodiscard]] const Cluster* cluster(std::string_view name) const;
  [[nodiscard]] Message bootstrap() const {
    return bootstraps.empty() ? Message{} : bootstraps.front();
  }
};

/// A resource found in a file, by the type that it says or shows itself to be.
enum class ResourceKind : std::uint8_t {
  kUnknown,
  kBootstrap,
  kListener,
  kCluster,
  kRouteConfig,
  kVirtualHost,
  kEndpoints,
  kSecret,
  kRuntime
};
[[nodiscard]] ResourceKind kind_of(const Typed& resource) noexcept;

/// Adds a resource; the bootstrap's static resources with it.
void add_resource(Model& model, const Message& resource, ResourceKind kind);
/// Ties names together, once all resources are there.
void link(Model& model);

/// The package of a filter: of its type when it says one, else of its name.
[[nodiscard]] std::string_view filter_kind(std::string_view type, std::string_view name) noexcept;
/// True when an address of an upstream or a listener is this host's own.
[[nodiscard]] bool is_loopback(std::string_view host) noexcept;
/// The same of a destination, as which the unspecified address (0.0.0.0) is this host.
[[nodiscard]] bool leads_to_this_host(std::string_view host) noexcept;
/// True for private, link-local and single-label names: not the open Internet.
[[nodiscard]] bool is_private(std::string_view host) noexcept;

}  // namespace merlon::audit::envoy
