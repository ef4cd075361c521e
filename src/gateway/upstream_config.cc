#include "gateway/upstream_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <string>

#include "config/later_words.h"
#include "config/shown.h"
#include "http/host.h"

namespace merlon::gateway {
namespace {

using config::Object;
using config::Type;
using std::chrono::hours;
using std::chrono::minutes;

constexpr std::size_t kEndpointsMax = 256;

Type<Endpoint> endpoint_address() {
  Type<Endpoint> type = config::where<Endpoint>(config::endpoint(), [](const Endpoint& e) {
    return e.address.is_unspecified() ? "no server has this address" : "";
  });
  type.read = [read = type.read](const config::Node& node, Endpoint& out, config::Reader& reader) {
    if (node.text().starts_with("dns:")) {
      reader.error(node.at(), "`dns:` (names looked up in DNS) is not built into this version yet",
                   "write the address of the server");
      return false;
    }
    return read(node, out, reader);
  };
  return type;
}

const Object<EndpointConfig>& endpoint_schema() {
  static const auto schema =
      Object<EndpointConfig>("endpoint", "One server of an upstream.")
          .required("address", &EndpointConfig::address, endpoint_address(), "Its address.")
          .field("weight", &EndpointConfig::weight, config::integer(1, 100),
                 "Its share of the requests, relative to the other endpoints.");
  return schema;
}

Type<EndpointConfig> endpoint_type() {
  return config::scalar_or<EndpointConfig>(
      config::converted<EndpointConfig, Located<Endpoint>>(
          config::located(endpoint_address()),
          [](Located<Endpoint> at) { return EndpointConfig{.address = std::move(at)}; },
          [](const EndpointConfig& e) { return e.address; }),
      config::object(endpoint_schema()), [](const EndpointConfig& e) { return e.weight == 1; });
}

/// A host with or without a port, as it goes out in Host.
Type<std::string> host_to_send() {
  const auto parse = [](std::string_view text) -> std::expected<std::string, std::string> {
    std::array<char, http::kHostBytesMax> scratch{};
    const auto host = http::canonical_host(text, scratch);
    if (!host.has_value()) return std::unexpected(host.error().what);
    return std::string(text);
  };
  return config::custom<std::string>(
      {.name = "a host, with a port if need be",
       .example = "legacy.internal",
       .parse = parse,
       .format = [](const std::string& v) { return config::detail::yaml_scalar(v); }});
}

/// What others write for HTTP/2 is near to the wrong word by its letters.
Type<Protocol> protocol() {
  auto type = config::words<Protocol>({{"http1", Protocol::kHttp1}, {"h2", Protocol::kHttp2}});
  type.read = [type](const config::Node& node, Protocol& out, config::Reader& reader) {
    constexpr std::string_view kOthers[] = {"http2", "http/2", "HTTP/2", "h2c", "grpc"};
    if (!node.is_scalar() || std::ranges::find(kOthers, node.text()) == std::end(kOthers))
      return type.read(node, out, reader);
    reader.error(node.at(),
                 fmt::format("expected {}, found {}", type.shape->name, config::shown(node.text())),
                 "HTTP/2 is `h2`, over TLS and in clear");
    return false;
  };
  return type;
}

const Object<UpstreamLimitsConfig>& limits_schema() {
  static const auto schema =
      Object<UpstreamLimitsConfig>("upstream limits", "Limits on the load sent to an upstream.")
          .field("connections", &UpstreamLimitsConfig::connections, config::integer(1, 65'535),
                 "Maximum connections to it, per worker.")
          .field("pending", &UpstreamLimitsConfig::pending, config::integer(1, 65'535),
                 "Maximum requests that wait for a connection, per worker; 503 above it.");
  return schema;
}

Type<milliseconds> upstream_time(milliseconds min, milliseconds max) {
  return config::waivable(config::duration(min, max), config::duration(min, hours{24}),
                          "upstream-timeout-infinite");
}

const Object<UpstreamTimeoutsConfig>& timeouts_schema() {
  static const auto schema =
      Object<UpstreamTimeoutsConfig>("upstream timeouts",
                                     "How long the gateway waits for an upstream.")
          .field("connect", &UpstreamTimeoutsConfig::connect,
                 upstream_time(milliseconds{10}, kConnectTimeMax),
                 "For connecting, TLS included; 504 after it.")
          .field("response", &UpstreamTimeoutsConfig::response,
                 upstream_time(milliseconds{10}, kResponseTimeMax),
                 "From the request to the end of the response head; 504 after it.")
          .field("idle", &UpstreamTimeoutsConfig::idle,
                 upstream_time(milliseconds{100}, minutes{10}),
                 "Between two parts of a body, and for an idle connection that is kept for reuse.");
  return schema;
}

/// Twice would be a weight in disguise.
void check_endpoints(const UpstreamConfig& upstream, config::Reader& reader) {
  std::set<std::string> seen;
  for (const EndpointConfig& endpoint : upstream.endpoints) {
    const std::string text = endpoint.address->to_string();
    if (seen.insert(text).second) continue;
    reader.error(endpoint.address.at, fmt::format("the endpoint {} is listed twice", text),
                 "give it a `weight` if it should have more of the requests");
  }
}

void check_health(const UpstreamConfig& upstream, config::Reader& reader) {
  if (!upstream.health.has_value() || !upstream.health->grpc) return;
  if (upstream.protocol == Protocol::kHttp2) return;
  reader.error(upstream.health->at, "gRPC needs HTTP/2, and this upstream uses HTTP/1.1",
               "write `protocol: h2`, or ask for a `path`");
}

}  // namespace

const Object<UpstreamConfig>& upstream_schema() {
  static const auto schema =
      Object<UpstreamConfig>("upstream", "A group of interchangeable servers.")
          .required("endpoints", &UpstreamConfig::endpoints,
                    config::list_of(endpoint_type(), 1, kEndpointsMax),
                    "The addresses of the servers.")
          .field("protocol", &UpstreamConfig::protocol, protocol(),
                 "The protocol of the servers: HTTP/1.1, or HTTP/2, which gRPC needs. HTTP/2 is "
                 "negotiated by ALPN over TLS, and used with prior knowledge without TLS.")
          .field("host", &UpstreamConfig::host, host_to_send(), "The Host field to send.")
          .absent("the client's, as authorised")
          .field("balance", &UpstreamConfig::balance,
                 with_later_words(config::words<Balance>({
                                      {"round_robin", Balance::kRoundRobin},
                                      {"least_requests", Balance::kLeastRequests},
                                  }),
                                  {{.word = "p2c", .part = "the better of two random endpoints"},
                                   {.word = "hash", .part = "balance by a hash"}}),
                 "How the endpoint for a request is chosen.")
          .field("tls", &UpstreamConfig::tls, config::object(tls::upstream_tls_schema()),
                 "TLS; may be omitted only for loopback addresses, or with a waiver of "
                 "`upstream-cleartext`.")
          .field("limits", &UpstreamConfig::limits, config::object(limits_schema()),
                 "Limits on the load sent to it.")
          .field("timeouts", &UpstreamConfig::timeouts, config::object(timeouts_schema()),
                 "How long the gateway waits for it.")
          .field("health", &UpstreamConfig::health, config::object(health_schema()),
                 "Active health checks of the endpoints; without it there are none.")
          .later("outlier", "outlier detection")
          .later("retry", "retries")
          .mark(&UpstreamConfig::at)
          .check(&check_endpoints)
          .check(&check_health);
  return schema;
}

}  // namespace merlon::gateway
