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
      Object<LimitsConfig>("limits", "Limits of the whole process.")
          .field("workers", &LimitsConfig::workers, config::integer(1, 1024), "Worker threads.")
          .absent("one per core")
          .field("connections", &LimitsConfig::connections, config::integer(16, kCountMax),
                 "Maximum client connections; further ones are closed at once.")
          .field("connections_per_client", &LimitsConfig::connections_per_client,
                 config::integer(1, kCountMax),
                 "Maximum connections from one client address (a /64 for IPv6). `trusted_proxies` "
                 "are exempt; clients that they name by the PROXY protocol are not.")
          .field("requests_in_flight", &LimitsConfig::requests_in_flight,
                 config::integer(1, kCountMax), "Maximum requests in progress; 503 above it.")
          .field("memory", &LimitsConfig::memory_bytes,
                 config::bytes(64 * kMiB, 1024ULL * 1024 * kMiB),
                 "Maximum memory for all requests in progress, about 120KiB each; above it new "
                 "ones get 503. A quarter of it is for bodies that are buffered for validation.")
          .check(check_limits);
  return schema;
}

Type<milliseconds> client_time(milliseconds min, milliseconds max) {
  return config::waivable(config::duration(min, max), config::duration(min, hours{24}),
                          "slow-client-timeouts");
}

const Object<Timeouts>& timeouts_schema() {
  static const auto schema =
      Object<Timeouts>("timeouts", "How long the gateway waits for clients.")
          .field("handshake", &Timeouts::handshake,
                 client_time(milliseconds{100}, kHandshakeTimeMax),
                 "For the TLS handshake, including a PROXY protocol header.")
          .field("head", &Timeouts::head, client_time(milliseconds{100}, minutes{1}),
                 "From the first byte of a request to the end of its head; 408 after it.")
          .field("idle", &Timeouts::idle, client_time(milliseconds{100}, minutes{10}),
                 "For the next request on an idle connection.")
          .field("drain", &Timeouts::drain, config::duration(milliseconds{100}, hours{1}),
                 "For requests and tunnels still in progress when the gateway stops, or when a "
                 "reload changes or removes their route.");
  return schema;
}

const Object<LogConfig>& log_schema() {
  static const auto schema = Object<LogConfig>("log", "Log destinations.")
                                 .field("access", &LogConfig::access, config::file(),
                                        "One line per request; `-` is standard output. `off` "
                                        "disables it and needs a waiver of `access-log-off`.")
                                 .field("process", &LogConfig::process, config::file(),
                                        "Events of the gateway itself; `-` is standard error.")
                                 .field("level", &LogConfig::level,
                                        config::words<LogLevel>({{"error", LogLevel::kError},
                                                                 {"warning", LogLevel::kWarning},
                                                                 {"info", LogLevel::kInfo},
                                                                 {"debug", LogLevel::kDebug}}),
                                        "The lowest severity that is written to `process`.");
  return schema;
}

const Object<AdminConfig>& admin_schema() {
  static const auto schema =
      Object<AdminConfig>("admin", "Monitoring and control of the gateway.")
          .field(
              "socket", &AdminConfig::socket, config::file(),
              "A Unix socket that only its owner may use, for `merlon reload` and `merlon limits`.")
          .field("address", &AdminConfig::address, config::endpoint(),
                 "A loopback address for read-only access: health and metrics.");
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
                    "Where it listens. `0.0.0.0` or `[::]` means every address of the host.")
          .field("redirect_from", &ListenerConfig::redirect_from, config::port(),
                 "A port without TLS on the same address. It redirects GET and HEAD without "
                 "credentials to https (308) and answers 403 to anything else.")
          .field("proxy_protocol", &ListenerConfig::proxy_protocol, config::boolean(),
                 "Whether each connection begins with a PROXY protocol header (version 1 or 2). It "
                 "is trusted from `trusted_proxies` only.")
          .field("allow_from", &ListenerConfig::allow_from,
                 config::list_of(config::located(config::cidr()), 1, 1024),
                 "Networks that may connect; other connections are dropped. Without it everyone "
                 "may connect.")
          .field("serve", &ListenerConfig::serve,
                 config::list_of(config::words<Served>({{"api", Served::kApi},
                                                        {"health", Served::kHealth},
                                                        {"metrics", Served::kMetrics}}),
                                 1, 3),
                 "What it serves. `health` and `metrics` need `allow_from`, mandatory client "
                 "certificates (`client_auth`), or a loopback address.")
          .field("tls", &ListenerConfig::tls, config::object(tls::listener_tls_schema()),
                 "TLS. A listener that serves the API may omit it only on a loopback address, or "
                 "with a waiver of `cleartext-listener`.")
          .mark(&ListenerConfig::at)
          .check(check_listener);
  return schema;
}

const Object<Config>& config_schema() {
  static const auto schema =
      Object<Config>("configuration",
                     "The whole file. A setting that cannot take effect is an error.")
          .required("version", &Config::version, config::integer(1, 1),
                    "The version of the configuration language.")
          .required("listeners", &Config::listeners,
                    config::named_list(config::object(listener_schema()), 1, kListenersMax),
                    "Where clients connect.")
          .field(
              "trusted_proxies", &Config::trusted_proxies,
              config::list_of(config::located(config::cidr()), 1, 1024),
              "Networks of proxies whose Forwarded and X-Forwarded-For fields and PROXY protocol "
              "headers are trusted. They may not cover every address.")
          .field("limits", &Config::limits, config::object(limits_schema()),
                 "Limits of the whole process.")
          .field("timeouts", &Config::timeouts, config::object(timeouts_schema()),
                 "How long the gateway waits for clients.")
          .field(
              "identity", &Config::identity,
              config::map_of(config::name(), config::object(identity::provider_schema()), 0, 256),
              "Authentication providers, by name.")
          .field("upstreams", &Config::upstreams,
                 config::map_of(config::name(), config::object(upstream_schema())),
                 "Servers that requests are forwarded to, by name.")
          .field("routes", &Config::routes, config::named_list(config::object(route_schema())),
                 "Which requests are served, and how. A request that matches no route gets 404.")
          .field("log", &Config::log, config::object(log_schema()), "Where logs go.")
          .field("admin", &Config::admin, config::object(admin_schema()),
                 "Monitoring and control of the gateway.")
          .read_apart("waivers", config::waiver_list(),
                      "Named exceptions to rules: the only way to configure anything insecure.")
          .field("shared_state", &Config::shared_state,
                 config::object(state::shared_state_schema()),
                 "Where nodes keep the common counts of limits and quotas.")
          .read_apart(std::string(config::kIncludeKey), config::include_list(),
                      std::string(config::kIncludeDoc))
          .later("snmp", "SNMP")
          .later("firewall", "firewall rules")
          .later("user", "dropping root privileges");
  return schema;
}

}  // namespace merlon::gateway
