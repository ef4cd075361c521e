#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/include.h"
#include "config/schema.h"
#include "config/waivers.h"

/// A small configuration with every form of key, for the tests of this room.
namespace merlon::config::test {

enum class Protocol { kHttp1, kH2 };

struct Tls {
  FilePath ca;
  std::optional<std::string> server_name;
  Mark at;
};
inline const Object<Tls>& tls_schema() {
  static const auto schema =
      Object<Tls>("upstream tls", "How the upstream proves who it is.")
          .required("ca", &Tls::ca, file(), "Roots that are trusted.")
          .field("server_name", &Tls::server_name, text(1, 253), "The name to verify.")
          .absent("the host of the endpoint")
          .mark(&Tls::at);
  return schema;
}

struct Target {
  Endpoint address;
  std::uint32_t weight = 1;
};
inline const Object<Target>& target_schema() {
  static const auto schema = Object<Target>("endpoint", "One server.")
                                 .required("address", &Target::address, endpoint(), "Where it is.")
                                 .field("weight", &Target::weight, integer(1, 100), "Its share.");
  return schema;
}
inline Type<Target> target() {
  return scalar_or<Target>(converted<Target, Endpoint>(
                               endpoint(), [](Endpoint e) { return Target{.address = e}; },
                               [](const Target& t) { return t.address; }),
                           object(target_schema()), [](const Target& t) { return t.weight == 1; });
}

struct Timeouts {
  milliseconds connect{seconds{2}};
  milliseconds response{seconds{15}};
};
inline const Object<Timeouts>& timeouts_schema() {
  static const auto schema =
      Object<Timeouts>("upstream timeouts", "How long to wait.")
          .field("connect", &Timeouts::connect, duration(milliseconds{10}, seconds{30}),
                 "For a connection.")
          .field("response", &Timeouts::response,
                 waivable(duration(milliseconds{100}, seconds{60}),
                          duration(milliseconds{100}, std::chrono::minutes{10}),
                          "upstream-timeout-infinite"),
                 "For the first byte.");
  return schema;
}

struct Upstream {
  std::vector<Target> endpoints;
  Protocol protocol = Protocol::kHttp1;
  std::optional<Tls> tls;
  Timeouts timeouts{.connect = seconds{1}};
  Located<std::uint32_t> retry_budget{.value = 20, .at = {}};
  Mark at;
};
inline const Object<Upstream>& upstream_schema() {
  static const auto schema =
      Object<Upstream>("upstream", "A group of servers.")
          .required("endpoints", &Upstream::endpoints, list_of(target(), 1, 4), "Its servers.")
          .field("protocol", &Upstream::protocol,
                 words<Protocol>({{"http1", Protocol::kHttp1}, {"h2", Protocol::kH2}}),
                 "What it speaks.")
          .field("tls", &Upstream::tls, object(tls_schema()), "Encryption towards it.")
          .field("timeouts", &Upstream::timeouts, object(timeouts_schema()), "Patience.")
          .field("retry_budget", &Upstream::retry_budget, percent(), "Share of retries.")
          .later("outlier", "outlier detection")
          .mark(&Upstream::at)
          .check([](const Upstream& u, Reader& reader) {
            if (u.tls.has_value()) return;
            static_cast<void>(
                reader.require_waived("upstream-cleartext", u.at, "the upstream has no `tls`"));
          });
  return schema;
}

struct Limit {
  Rate rate;
  std::uint64_t burst = 0;
};
inline const Object<Limit>& limit_schema() {
  static const auto schema = Object<Limit>("rate limit", "How often.")
                                 .required("rate", &Limit::rate, rate(1000), "The rate.")
                                 .field("burst", &Limit::burst, integer(0, 1000), "Beyond it.");
  return schema;
}

struct Auth {
  bool none = false;
  std::string jwt;
};
inline const Object<Auth>& auth_schema() {
  static const auto schema =
      Object<Auth>("auth", "Who may.").required("jwt", &Auth::jwt, name(), "An issuer.");
  return schema;
}

struct Route {
  std::string name;
  Auth auth;
  std::vector<Limit> rate_limit;
  std::uint64_t body_bytes_max = 1024 * 1024;
  bool websocket = false;
  std::optional<Located<std::string>> upstream;
  std::vector<Located<std::string>> hosts;
  Mark at;
};
inline const Object<Route>& route_schema() {
  static const auto schema =
      Object<Route>("route", "What is forwarded.")
          .required("name", &Route::name, name(), "Its name.")
          .required("auth", &Route::auth,
                    word_or<Auth>("none", Auth{.none = true, .jwt = {}}, object(auth_schema()),
                                  [](const Auth& a) { return a.none; }),
                    "Who may use it.")
          .field("rate_limit", &Route::rate_limit, one_or_list(object(limit_schema()), 1, 3),
                 "Rates.")
          .field("body", &Route::body_bytes_max, bytes(1024, 8UL << 20U), "The largest | body.")
          .field("websocket", &Route::websocket, boolean(), "Upgrades.")
          .field("upstream", &Route::upstream, name(), "Where to.")
          .field("hosts", &Route::hosts, one_or_list(located(text(1, 20)), 1, 2), "For whom.")
          .mark(&Route::at)
          .check([](const Route& r, Diagnostics& out) {
            if (r.auth.none && r.websocket) out.error(r.at, "a public route has no websocket");
          });
  return schema;
}

struct Config {
  std::uint32_t version = 0;
  std::vector<Cidr> trusted;
  std::map<std::string, Upstream, std::less<>> upstreams;
  std::vector<Route> routes;
  std::optional<std::uint16_t> admin_port;
};
inline const Object<Config>& config_schema() {
  static const auto schema =
      Object<Config>("configuration", "The whole file.")
          .required("version", &Config::version, integer(1, 1), "Of the language.")
          .field("trusted", &Config::trusted, list_of(cidr(), 0, 3), "Proxies.")
          .field("upstreams", &Config::upstreams, map_of(name(), object(upstream_schema())),
                 "Servers.")
          .field("routes", &Config::routes, named_list(object(route_schema())), "Routes.")
          .field("admin_port", &Config::admin_port, port(), "Of the admin.")
          .read_apart("waivers", waiver_list(), "Exceptions.")
          .read_apart(std::string(kIncludeKey), include_list(), std::string(kIncludeDoc));
  return schema;
}

struct Loaded {
  Diagnostics out;
  std::shared_ptr<const Tree> tree;
  Waivers waivers;
  std::optional<Config> config;
};
inline Loaded load_config(const std::string& text, const std::string& directory = "/etc/merlon") {
  Loaded l;
  l.tree = load_text(directory + "/m.yaml", text, l.out);
  if (l.tree == nullptr) return l;
  l.waivers = Waivers::read(l.tree->root(), *parse_date("2027-01-01"), ExpiryMode::kRefuse, l.out);
  Reader reader(l.out, directory, &l.waivers);
  l.config = read(config_schema(), l.tree->root(), reader);
  return l;
}

inline constexpr const char* kGood = R"(version: 1
trusted: [10.0.0.0/8, "2001:db8::/32"]
upstreams:
  orders:
    endpoints: [10.0.0.1:80, {address: "[::1]:81", weight: 7}]
    protocol: h2
    tls: { ca: internal.pem }
    timeouts: { response: 2min }
    retry_budget: 10%
routes:
  - name: a
    auth: none
    rate_limit: { rate: 10/s, burst: 5 }
    body: 16KiB
    upstream: orders
    hosts: x.example
  - name: b
    auth: { jwt: staff }
    rate_limit: [{ rate: 1/s }, { rate: 100/h }]
    websocket: true
    hosts: [x.example, y.example]
admin_port: 9901
waivers:
  - { rule: upstream-timeout-infinite, on: upstreams.orders.timeouts.response,
      reason: reports take long, owner: ops@example.com, expires: 2027-03-01 }
)";

}  // namespace merlon::config::test
