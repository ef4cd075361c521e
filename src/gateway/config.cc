#include "gateway/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/include.h"
#include "config/waivers.h"

namespace merlon::gateway {
namespace {

using config::Object;
using config::Reader;
using config::Type;
using std::chrono::hours;
using std::chrono::minutes;

constexpr std::size_t kListenersMax = 256;
constexpr std::uint64_t kMiB = 1024ULL * 1024;
constexpr std::uint64_t kCountMax = 10'000'000;  // beyond what one kernel holds open

config::Type<Endpoint> listener_address() {
  return config::where<Endpoint>(config::endpoint(), [](const Endpoint& endpoint) {
    static const Cidr v4 = *Cidr::parse("224.0.0.0/4");
    static const Cidr v6 = *Cidr::parse("ff00::/8");
    const bool multicast = v4.contains(endpoint.address) || v6.contains(endpoint.address);
    return multicast ? "nobody can connect to a multicast address" : "";
  });
}

void check_listener(const ListenerConfig& listener, Reader& reader) {
  if (listener.redirect_from.has_value() && !listener.tls.has_value()) {
    reader.error(listener.redirect_from->at,
                 "`redirect_from` sends clients to https, and this listener has no `tls`");
  }
  if (listener.redirect_from.has_value() && **listener.redirect_from == listener.address->port) {
    reader.error(listener.redirect_from->at, "`redirect_from` is the port of the listener itself");
  }
  std::vector<Served> seen;
  for (const Served what : *listener.serve) {
    if (std::ranges::find(seen, what) != seen.end()) {
      reader.error(listener.serve.at, "`serve` names one thing twice");
    }
    seen.push_back(what);
  }
}

void check_limits(const LimitsConfig& limits, Reader& reader) {
  if (!limits.connections_per_client.is_default() &&
      *limits.connections_per_client > *limits.connections) {
    reader.error(limits.connections_per_client.at,
                 fmt::format("`connections_per_client` limits nothing: all clients together have "
                             "{} `connections`",
                             *limits.connections));
  }
}

const Object<LimitsConfig>& limits_schema() {
  static const auto schema =
      Object<LimitsConfig>("limits", "Bounds of the whole process.")
          .field("workers", &LimitsConfig::workers, config::integer(1, 1024), "Threads that serve.")
          .absent("one per core")
          .field("connections", &LimitsConfig::connections, config::integer(16, kCountMax),
                 "Client connections; above it new ones are closed at once.")
          .field("connections_per_client", &LimitsConfig::connections_per_client,
                 config::integer(1, kCountMax),
                 "Connections of one client address (a /64 for IPv6); `trusted_proxies` are "
                 "exempt, but not those whom they name by the PROXY protocol.")
          .field("requests_in_flight", &LimitsConfig::requests_in_flight,
                 config::integer(1, kCountMax), "Requests at a time; 503 above it.")
          .field("memory", &LimitsConfig::memory_bytes,
                 config::bytes(64 * kMiB, 1024ULL * 1024 * kMiB),
                 "Memory that requests in progress may hold together, about 120KiB each; above it "
                 "new ones are refused with 503. A quarter of it is for bodies that are held "
                 "until they are judged.")
          .check(check_limits);
  return schema;
}

Type<milliseconds> client_time(milliseconds min, milliseconds max) {
  return config::waivable(config::duration(min, max), config::duration(min, hours{24}),
                          "slow-client-timeouts");
}

const Object<Timeouts>& timeouts_schema() {
  static const auto schema =
      Object<Timeouts>("timeouts", "How long clients are waited for.")
          .field("handshake", &Timeouts::handshake,
                 client_time(milliseconds{100}, kHandshakeTimeMax),
                 "For a TLS handshake, a PROXY line included.")
          .field("head", &Timeouts::head, client_time(milliseconds{100}, minutes{1}),
                 "From the first byte of a request to the end of its head; 408 after it.")
          .field("idle", &Timeouts::idle, client_time(milliseconds{100}, minutes{10}),
                 "For the next request on a connection.")
          .field("drain", &Timeouts::drain, config::duration(milliseconds{100}, hours{1}),
                 "For exchanges that still run when the gateway stops, or when a reload changes or "
                 "removes their route.");
  return schema;
}

const Object<LogConfig>& log_schema() {
  static const auto schema =
      Object<LogConfig>("log", "Where is written what happens.")
          .field("access", &LogConfig::access, config::file(),
                 "One line for each request; `-` is standard output, `off` is none and takes a "
                 "waiver of `access-log-off`.")
          .field("process", &LogConfig::process, config::file(),
                 "What the gateway says of itself; `-` is standard error.")
          .field("level", &LogConfig::level,
                 config::words<LogLevel>({{"error", LogLevel::kError},
                                          {"warning", LogLevel::kWarning},
                                          {"info", LogLevel::kInfo},
                                          {"debug", LogLevel::kDebug}}),
                 "The least severity that is written to `process`.");
  return schema;
}

const Object<AdminConfig>& admin_schema() {
  static const auto schema =
      Object<AdminConfig>("admin", "How the gateway is watched and steered.")
          .field(
              "socket", &AdminConfig::socket, config::file(),
              "A socket in the file system, for its owner only: `merlon reload`, `merlon limits`.")
          .field("address", &AdminConfig::address, config::endpoint(),
                 "A loopback address that only reads: health, metrics.");
  return schema;
}

}  // namespace

bool ListenerConfig::serves(Served what) const noexcept {
  return std::ranges::find(*serve, what) != serve->end();
}

const Object<ListenerConfig>& listener_schema() {
  static const auto schema =
      Object<ListenerConfig>("listener", "An address that clients connect to.")
          .required("name", &ListenerConfig::name, config::name(), "Its name in logs and waivers.")
          .required("address", &ListenerConfig::address, listener_address(),
                    "Where it listens; `0.0.0.0` or `[::]` is every address of the host.")
          .field("redirect_from", &ListenerConfig::redirect_from, config::port(),
                 "A port without TLS on the same address: GET and HEAD without credentials are "
                 "sent to https with 308, anything else is answered 403.")
          .field("proxy_protocol", &ListenerConfig::proxy_protocol, config::boolean(),
                 "Whether each connection begins with a PROXY line or block; it is believed from "
                 "`trusted_proxies` only.")
          .field("allow_from", &ListenerConfig::allow_from,
                 config::list_of(config::located(config::cidr()), 1, 1024),
                 "Whose connections are accepted, others are dropped; everyone's without it.")
          .field("serve", &ListenerConfig::serve,
                 config::list_of(config::words<Served>({{"api", Served::kApi},
                                                        {"health", Served::kHealth},
                                                        {"metrics", Served::kMetrics}}),
                                 1, 3),
                 "What it answers with. `health` and `metrics` need `allow_from`, "
                 "`client_auth` that is required, or a loopback address.")
          .field("tls", &ListenerConfig::tls, config::object(tls::listener_tls_schema()),
                 "Certificates; where the API is served they may be absent on loopback addresses "
                 "only, or with a waiver of "
                 "`cleartext-listener`.")
          .mark(&ListenerConfig::at)
          .check(check_listener);
  return schema;
}

const Object<Config>& config_schema() {
  static const auto schema =
      Object<Config>("configuration",
                     "The whole file. Nothing in it is ever inert: what cannot "
                     "take effect is an error.")
          .required("version", &Config::version, config::integer(1, 1),
                    "The version of this language.")
          .required("listeners", &Config::listeners,
                    config::named_list(config::object(listener_schema()), 1, kListenersMax),
                    "Where clients connect.")
          .field("trusted_proxies", &Config::trusted_proxies,
                 config::list_of(config::located(config::cidr()), 1, 1024),
                 "Whose X-Forwarded-For and PROXY lines are believed. Never everyone.")
          .field("limits", &Config::limits, config::object(limits_schema()),
                 "Bounds of the whole process.")
          .field("timeouts", &Config::timeouts, config::object(timeouts_schema()),
                 "How long clients are waited for.")
          .field(
              "identity", &Config::identity,
              config::map_of(config::name(), config::object(identity::provider_schema()), 0, 256),
              "Who says who callers are, by name.")
          .field("upstreams", &Config::upstreams,
                 config::map_of(config::name(), config::object(upstream_schema())),
                 "Servers that requests are forwarded to, by name.")
          .field("routes", &Config::routes, config::named_list(config::object(route_schema())),
                 "What is forwarded. A request that no route matches is answered 404.")
          .field("log", &Config::log, config::object(log_schema()), "Where logs go.")
          .field("admin", &Config::admin, config::object(admin_schema()),
                 "How the gateway is watched and steered.")
          .read_apart("waivers", config::waiver_list(),
                      "Exceptions: the only way to an insecure state.")
          .field("shared_state", &Config::shared_state,
                 config::object(state::shared_state_schema()),
                 "Where nodes count together what limits and quotas let through.")
          .read_apart(std::string(config::kIncludeKey), config::include_list(),
                      std::string(config::kIncludeDoc))
          .later("snmp", "SNMP")
          .later("firewall", "firewall rules")
          .later("user", "giving up root");
  return schema;
}

}  // namespace merlon::gateway
