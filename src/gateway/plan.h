#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "config/waivers.h"
#include "http/message.h"
#include "http/path.h"
#include "policy/policy.h"
#include "state/shared_limits.h"
#include "upstream/upstream.h"

namespace merlon::identity {
class Provider;
}  // namespace merlon::identity

namespace merlon::tls {
class ServerContext;
class ClientContext;
}  // namespace merlon::tls

/// The configuration in force, compiled: everything a request needs, merged and resolved once.
/// Immutable after compile and shared by all workers; swapped whole on reload.
namespace merlon::gateway {

using upstream::Balance;
using upstream::Protocol;
using upstream::Upstream;

/// A fixed answer in place of an upstream.
struct Respond {
  std::uint16_t status = 204;
  std::string content_type;
  std::string body;
};

inline constexpr std::size_t kSetHeadersMax = 16;  ///< `headers.set` of a route

/// A field that the gateway adds to responses.
struct HeaderSetting {
  std::string name;
  std::string value;
};

/// A claim of the caller that goes to the upstream.
struct IdentityField {
  enum class Source : std::uint8_t { kSubject, kClientId, kScopes, kClaim };
  std::string name;  ///< of the field
  Source source = Source::kClaim;
  std::size_t claim = 0;  ///< its number in identity::Identity
};

/// In place of the index of a waiver: there is none.
inline constexpr std::uint32_t kNoWaiver = UINT32_MAX;

/// Of an upstream: the waivers whose uses are counted, by index.
struct UpstreamWaivers {
  std::uint32_t cleartext = kNoWaiver;
  std::uint32_t aes128 = kNoWaiver;
  std::uint32_t connect_time = kNoWaiver;
  std::uint32_t response_time = kNoWaiver;

  [[nodiscard]] bool operator==(const UpstreamWaivers&) const = default;
};

/// The same of a route.
struct RouteWaivers {
  std::array<std::uint32_t, http::kPathOddities.size()> oddities;  ///< as kPathOddities has them
  std::uint32_t csp = kNoWaiver;
  std::uint32_t error_bodies = kNoWaiver;
  std::uint32_t time = kNoWaiver;
  std::uint32_t body_size = kNoWaiver;
  UpstreamWaivers upstream;

  RouteWaivers() { oddities.fill(kNoWaiver); }
  [[nodiscard]] bool operator==(const RouteWaivers&) const = default;
};

/// The same of a listener.
struct ListenerWaivers {
  std::uint32_t cleartext = kNoWaiver;
  std::uint32_t status_page = kNoWaiver;
  std::uint32_t aes128 = kNoWaiver;
};

/// The same of what is the process's.
struct ProcessWaivers {
  std::uint32_t handshake_time = kNoWaiver;
  std::uint32_t access_log = kNoWaiver;
};

/// Where requests of one kind go and what they must be.
struct Route {
  std::string name;
  std::size_t index = 0;  ///< position in Plan::routes
  Mark at;
  Mark methods_at;
  std::vector<std::string> methods;    ///< as listed; HEAD is let through with GET
  const Upstream* upstream = nullptr;  ///< null: `respond` answers
  std::optional<Respond> respond;
  std::uint64_t body_bytes_max = 1024 * 1024;
  Mark body_at;
  milliseconds timeout{30'000};  ///< up to the head of the response
  std::string strip_prefix;      ///< taken off the path at a segment boundary; empty: none
  std::string add_prefix;
  std::vector<HeaderSetting> set_headers;                       ///< at most kSetHeadersMax
  std::vector<std::string> remove_headers;                      ///< lower case
  std::vector<std::unique_ptr<const policy::Policy>> policies;  ///< in the order of their steps
  const policy::Policy* content = nullptr;     ///< of these, the one that judges bodies; or null
  std::optional<milliseconds> websocket_idle;  ///< of a tunnel; absent: no handshake opens one
  std::size_t digest = 0;                      ///< of all that is written under the route
  bool opens_to_origins = false;               ///< has `cors`: preflights pass step 4
  std::vector<IdentityField> identity_fields;
  std::string provider;  ///< under `identity`, for the log; empty: a public route
  http::PathOddities waived_oddities;
  RouteWaivers waivers;
  bool has_waivers = false;            ///< `waivers` names any
  bool html_csp_waived = false;        ///< `csp-html`: the upstream's own policy stays on HTML
  bool upstream_error_bodies = false;  ///< `upstream-error-bodies`: 5xx bodies pass
  bool grpc_service = false;           ///< its path names one, and it goes to an h2 upstream
  bool forward_client_cert = false;    ///< as Client-Cert (RFC 9440)
  bool forward_authorization = false;  ///< the client's Authorization reaches the upstream

  [[nodiscard]] bool allows(http::Method method, std::string_view text) const noexcept;
};

/// What a listener answers with.
struct Serve {
  bool api = true;
  bool health = false;
  bool metrics = false;
};

/// True when one socket at `wide` takes what comes to the other address, too: the unspecified
/// address stands for all of its family, and that of IPv6 for IPv4 besides (ipv6(7)).
[[nodiscard]] bool covers(const Endpoint& wide, const Endpoint& other) noexcept;

/// An address that clients connect to.
struct Listener {
  std::string name;
  std::size_t index = 0;
  Mark at;
  Endpoint address;
  std::shared_ptr<const tls::ServerContext> tls;  ///< null: cleartext
  /// Set for the listener that `redirect_from` stands for: answers 308 to https on this port.
  std::optional<std::uint16_t> redirect_to_port;
  bool proxy_protocol = false;
  ListenerWaivers waivers{};
  std::vector<Cidr> allow_from;  ///< empty: everyone
  Serve serve;

  [[nodiscard]] bool serves_status() const noexcept { return serve.health || serve.metrics; }
  /// Whoever watches the gateway is here, and no client.
  [[nodiscard]] bool serves_only_status() const noexcept { return serves_status() && !serve.api; }
};

// Longer than these takes a waiver.
inline constexpr milliseconds kHandshakeTimeMax = std::chrono::seconds{30};
inline constexpr milliseconds kRouteTimeMax = std::chrono::minutes{15};
inline constexpr milliseconds kConnectTimeMax = std::chrono::seconds{30};
inline constexpr milliseconds kResponseTimeMax = std::chrono::minutes{5};

struct Limits {
  std::uint32_t workers = 0;  ///< 0: one per core
  std::uint32_t connections = 20'000;
  std::uint32_t connections_per_client = 256;
  std::uint32_t requests_in_flight = 10'000;
  std::uint64_t memory_bytes = 2ULL * 1024 * 1024 * 1024;
};

struct Timeouts {
  milliseconds handshake{5'000};
  milliseconds head{10'000};
  milliseconds idle{60'000};
  milliseconds drain{30'000};
};

/// The route of a request; or what kept it from having one, told apart for the answer.
struct RouteMatch {
  const Route* route = nullptr;  ///< null: see `path_known`
  /// Some route has this host and path, with other methods: 405.
  bool path_known = false;
  /// "GET, HEAD, POST": the union over the routes that share the match. Lives as long as the plan.
  std::string_view allow;
  /// The route whose `methods` refused, for the log and explain; set with path_known.
  const Route* refused_by = nullptr;
};

class Router;

struct Plan {
  std::vector<Listener> listeners;
  std::vector<std::unique_ptr<Upstream>> upstreams;
  std::vector<std::unique_ptr<Route>> routes;
  std::unique_ptr<const Router> router;
  std::vector<Cidr> trusted_proxies;
  std::shared_ptr<const state::SharedSettings> shared_state;  ///< null: none
  std::vector<config::Waiver> waivers;                        ///< by their index
  ProcessWaivers process_waivers{};
  Limits limits;
  Timeouts timeouts;
  http::HeadLimits head_limits;
  bool has_tunnels = false;  ///< some route is open to WebSocket
  /// All that is under `identity`, for the agent that asks others for them.
  std::vector<std::shared_ptr<const identity::Provider>> providers;
  /// What API keys come in, whichever route asks for them: no upstream gets any of these fields.
  std::set<std::string> credential_fields;
  std::optional<Endpoint> admin_address;
  std::string admin_socket;  ///< path; empty: none
  std::string access_log;    ///< path or "-"; empty: none
  std::string process_log = "-";
  std::string log_level = "info";
  /// SHA-256 of the configuration's text and the policy files that it names, hexadecimal: what
  /// tells whether two nodes are the same.
  std::string hash;
  /// The same of the text alone: where only files changed, what a date did to a waiver is no reason
  /// to keep the old ones.
  std::string text_hash;
  std::string path;  ///< the main file; empty for the demo
  /// What certificates and keys that are bad or missing close, by place: "upstreams.orders".
  std::vector<std::string> closed;
  Plan();
  ~Plan();
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};

/// Finds the route of a request. Immutable; thread-safe.
class Router {
 public:
  virtual ~Router() = default;
  /// `host` and `path` are canonical (http/host.h, http/path.h); path "*" is for OPTIONS on the
  /// whole server and matches no route. No allocation. Cost: a hash of the host and one walk over
  /// the path's segments, whatever the number of routes.
  [[nodiscard]] virtual RouteMatch match(std::string_view host, std::string_view path,
                                         http::Method method,
                                         std::string_view method_text) const noexcept = 0;
};

}  // namespace merlon::gateway
