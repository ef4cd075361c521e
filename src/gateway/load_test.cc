#include "gateway/load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "config/waivers.h"
#include "gateway/test_config.h"
#include "tls/test_pki.h"

namespace merlon::gateway {
namespace {

using test::with;

/// 2027-01-01, or today for tests with certificates, which are made on the spot.
constexpr WallTime kToday{std::chrono::sys_days{std::chrono::January / 1 / 2027}};

LoadResult load(const std::string& text, LoadMode mode = kStrict, WallTime today = kToday) {
  const auto broker = io::make_local_broker();
  return load_plan_text("merlon.yaml", text, *broker, today, mode);
}

// Of `with`.
constexpr std::uint32_t kListenerLine = 5;
constexpr std::uint32_t kUpstreamLine = 9;
constexpr std::uint32_t kRouteLine = 16;
constexpr std::uint32_t kRestLine = 17;

std::string waiver(std::string_view rule, std::string_view on) {
  return fmt::format(
      "waivers:\n  - {{ rule: {}, on: {}, reason: it is a test of this, owner: a@b.example, "
      "expires: 2027-05-01 }}",
      rule, on);
}

TEST(Load, TimesThatEndNothingAreRefused) {
  const auto refused = [](const std::string& text, std::string_view said) {
    const LoadResult loaded = load(text);
    EXPECT_EQ(loaded.plan, nullptr) << said;
    EXPECT_NE(loaded.diagnostics.render().find(said), std::string::npos)
        << loaded.diagnostics.render();
  };
  refused(with("", "timeouts: { response: 31s }"),
          "`response` has no effect: every route to `orders` times out after 30s at most");
  EXPECT_NE(load(with("", "timeouts: { response: 31s }", "timeout: 31s")).plan, nullptr);
  refused(with("", "", "", "timeouts: { handshake: 5s }"), "`handshake` has no effect");
  EXPECT_NE(load(with("proxy_protocol: true", "", "",
                      "timeouts: { handshake: 5s }\ntrusted_proxies: [127.0.0.1/32]"))
                .plan,
            nullptr);
  const std::string more =
      "  - { name: own, match: { host: a.example, path: /own }, methods: [POST], auth: none,\n"
      "      respond: { status: 200 }, ";
  refused(with("", "", "", more + "headers: { remove: [x-a] } }"),
          "`headers.remove` changes nothing");
  EXPECT_NE(load(with("", "", "", more + "timeout: 5s }")).plan, nullptr);
}

TEST(Load, TheSmallestIsWhole) {
  const LoadResult result = load(with());
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  const Plan& plan = *result.plan;
  EXPECT_TRUE(result.diagnostics.all().empty()) << result.diagnostics.render();
  ASSERT_EQ(plan.listeners.size(), 1U);
  EXPECT_EQ(plan.listeners[0].address.to_string(), "127.0.0.1:8080");
  EXPECT_TRUE(plan.listeners[0].serve.api);
  ASSERT_EQ(plan.routes.size(), 1U);
  EXPECT_EQ(plan.routes[0]->upstream, plan.upstreams[0].get());
  EXPECT_EQ(plan.routes[0]->body_bytes_max, 1024U * 1024U);
  EXPECT_EQ(plan.hash.size(), 64U);
  EXPECT_EQ(plan.access_log, "-");
  EXPECT_EQ(plan.path, "");
  const RouteMatch found = plan.router->match("a.example", "/orders/7", http::Method::kGet, "GET");
  EXPECT_EQ(found.route, plan.routes[0].get());
}

TEST(Load, AnUnknownKeyIsToldOfAllThatAreKnown) {
  const LoadResult result = load(with("", "", "", "zzzzzzzzzz: 1"));
  ASSERT_EQ(result.diagnostics.all().size(), 1U);
  const std::string& help = result.diagnostics.all()[0].help;
  for (const char* const key : {"`routes`", "`waivers`", "`include`"})
    EXPECT_NE(help.find(key), std::string::npos) << help;
}

TEST(Load, TheHashIsOfTheText) {
  const std::string one = load(with()).plan->hash;
  EXPECT_EQ(load(with()).plan->hash, one);
  EXPECT_NE(load(with("", "", "", "# a comment")).plan->hash, one);
}

TEST(Load, EveryKeyReachesThePlan) {
  std::string text =
      with("proxy_protocol: true\n    allow_from: [10.1.0.0/16]\n    serve: [api, health]",
           "host: legacy.internal:81\n    balance: least_requests\n"
           "    limits: { connections: 7, pending: 8 }\n"
           "    timeouts: { connect: 1s, response: 3s, idle: 4s }",
           "body: { max: 2MiB }\n    rewrite: { strip_prefix: /orders, add_prefix: /v2 }\n"
           "    headers: { set: { Cache-Control: no-store }, remove: [X-Debug] }\n"
           "    forward: { authorization: true }\n    timeout: 9s",
           "trusted_proxies: [10.0.0.0/8]\n"
           "limits: { workers: 3, connections: 100, connections_per_client: 10, "
           "requests_in_flight: 50, memory: 1GiB }\n"
           "timeouts: { handshake: 1s, head: 2s, idle: 3s, drain: 4s }\n"
           "admin: { socket: admin.sock, address: 127.0.0.1:9901 }\n"
           "log: { access: access.log, process: '-', level: warning }");
  const std::string_view one = "endpoints: [127.0.0.1:9000]";
  text.replace(text.find(one), one.size(), "endpoints: [127.0.0.1:9000, 127.0.0.1:9001]");
  const LoadResult result = load(text);
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  const Plan& plan = *result.plan;
  EXPECT_TRUE(plan.listeners[0].proxy_protocol);
  EXPECT_EQ(plan.listeners[0].allow_from.size(), 1U);
  EXPECT_TRUE(plan.listeners[0].serve.health);
  const auto& upstream = *plan.upstreams[0];
  EXPECT_EQ(upstream.host, "legacy.internal:81");
  EXPECT_EQ(upstream.balance, Balance::kLeastRequests);
  EXPECT_EQ(upstream.connections_max, 7U);
  EXPECT_EQ(upstream.pending_max, 8U);
  EXPECT_EQ(upstream.connect_timeout, seconds{1});
  EXPECT_EQ(upstream.response_timeout, seconds{3});
  EXPECT_EQ(upstream.idle_timeout, seconds{4});
  const Route& route = *plan.routes[0];
  EXPECT_EQ(route.body_bytes_max, 2U * 1024U * 1024U);
  EXPECT_EQ(route.body_at.line, kRouteLine + 5);
  EXPECT_EQ(route.strip_prefix, "/orders");
  EXPECT_EQ(route.add_prefix, "/v2");
  ASSERT_EQ(route.set_headers.size(), 1U);
  EXPECT_EQ(route.set_headers[0].value, "no-store");
  EXPECT_EQ(route.remove_headers, std::vector<std::string>{"x-debug"});
  EXPECT_TRUE(route.forward_authorization);
  EXPECT_EQ(route.timeout, seconds{9});
  EXPECT_EQ(plan.limits.workers, 3U);
  EXPECT_EQ(plan.limits.connections, 100U);
  EXPECT_EQ(plan.limits.connections_per_client, 10U);
  EXPECT_EQ(plan.limits.requests_in_flight, 50U);
  EXPECT_EQ(plan.limits.memory_bytes, 1ULL << 30U);
  EXPECT_EQ(plan.timeouts.handshake, seconds{1});
  EXPECT_EQ(plan.timeouts.drain, seconds{4});
  EXPECT_EQ(plan.admin_socket, "admin.sock");
  EXPECT_TRUE(plan.admin_address.has_value());
  EXPECT_EQ(plan.access_log, "access.log");
  EXPECT_EQ(plan.log_level, "warning");
}

TEST(Load, WeightsAreSpreadEvenly) {
  std::string text = with();
  const std::string_view plain = "endpoints: [127.0.0.1:9000]";
  text.replace(text.find(plain), plain.size(),
               "endpoints: [{ address: 127.0.0.1:1, weight: 60 }, "
               "{ address: 127.0.0.1:2, weight: 20 }]");
  const LoadResult result = load(text);
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  std::string order;
  for (const Endpoint& e : result.plan->upstreams[0]->endpoints) order += std::to_string(e.port);
  EXPECT_EQ(order, "1121");
}

TEST(Load, WaiversOpenWhatTheyName) {
  const struct {
    const char* rule;
    bool (*open)(const Route& route);
  } cases[] = {
      {"path-encoded-slash",
       [](const Route& r) { return r.waived_oddities.contains(http::PathOddity::kEncodedSlash); }},
      {"path-empty-segment",
       [](const Route& r) { return r.waived_oddities.contains(http::PathOddity::kEmptySegment); }},
      {"csp-html", [](const Route& r) { return r.html_csp_waived; }},
      {"upstream-error-bodies", [](const Route& r) { return r.upstream_error_bodies; }},
  };
  for (const auto& c : cases) {
    const LoadResult plain = load(with());
    EXPECT_FALSE(c.open(*plain.plan->routes[0])) << c.rule;
    const LoadResult waived = load(with("", "", "", waiver(c.rule, "routes.orders")));
    ASSERT_NE(waived.plan, nullptr) << waived.diagnostics.render();
    EXPECT_TRUE(c.open(*waived.plan->routes[0])) << c.rule;
    ASSERT_EQ(waived.diagnostics.all().size(), 1U) << waived.diagnostics.render();
    EXPECT_EQ(waived.diagnostics.all()[0].severity, Severity::kNote);
  }
}

struct Case {
  const char* name;
  std::string text;
  std::uint32_t line;
  const char* message;
  const char* rule = "";
  int errors = 1;  ///< in all: what one mistake makes of other parts counts
};
std::vector<Case> cases() {
  const auto listener = [](const char* text) { return with(text); };
  const auto upstream = [](const char* text) { return with("", text); };
  const auto route = [](const char* text) { return with("", "", text); };
  const auto rest = [](const std::string& text) { return with("", "", "", text); };
  const auto replaced = [](std::string_view from, std::string_view to) {
    std::string text = with();
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const auto route_line = [&](std::string_view more) {
    return with("", "", "", "").replace(with().rfind("    \n"), 5, std::string(more) + "\n");
  };
  const std::string second =
      "  - { name: two, match: { host: a.example, path: /two }, methods: [GET], auth: none, ";
  return {
      // ---- the language ----
      {"version_is_required", with().substr(11), 1, "needs the key `version`"},
      {"version_2", replaced("version: 1", "version: 2"), 1, "the maximum is 1"},
      {"no_listeners", "version: 1\nlisteners: []\n", 2, "at least 1 needed"},
      {"unknown_key", listener("adress: 1"), kListenerLine, "unknown key `adress`"},
      {"top_level_later", rest("firewall: {}"), kRestLine, "`firewall`"},
      {"identity_unused", rest("identity: { id: { api_keys: { file: /none } } }"), kRestLine,
       "no route asks for `id`"},
      {"shared_without_store", route("rate_limit: { rate: 9/s, shared: true }"), kRouteLine,
       "`shared_state`"},
      {"websocket_false", route("websocket: false"), kRouteLine, "leave it out"},
      {"health_empty", upstream("health: {}"), kUpstreamLine, "does not say how to check"},
      {"health_both", upstream("protocol: h2\n    health: { path: /, grpc: true }"),
       kUpstreamLine + 1, "give only one of them"},
      {"health_grpc_false", upstream("health: { path: /, grpc: false }"), kUpstreamLine,
       "leave it out"},
      {"health_grpc_http1", upstream("health: { grpc: true }"), kUpstreamLine, "gRPC needs HTTP/2"},
      {"health_service", upstream("health: { path: /, service: a.B }"), kUpstreamLine,
       "`service` names a gRPC service"},
      {"health_slow", upstream("health: { path: /, interval: 1s, timeout: 2s }"), kUpstreamLine,
       "longer than the `interval`"},
      {"health_slow_default", upstream("health: { path: /, interval: 900ms }"), kUpstreamLine,
       "longer than the `interval`"},
      {"health_path_relative", upstream("health: { path: healthz }"), kUpstreamLine, "path"},
      {"health_path_fragment", upstream("health: { path: \"/a#b\" }"), kUpstreamLine, "path"},
      {"health_path_space", upstream("health: { path: \"/a b\" }"), kUpstreamLine, "path"},
      {"health_path_dots", upstream("health: { path: /a/../b }"), kUpstreamLine, "path"},
      {"health_path_other_form", upstream("health: { path: /%61 }"), kUpstreamLine,
       "write it as `/a`"},
      {"health_query", upstream("health: { path: \"/a?b c\" }"), kUpstreamLine, "query"},
      {"h3_unknown", upstream("protocol: h3"), kUpstreamLine, "found `h3`"},
      {"p2c_later", upstream("balance: p2c"), kUpstreamLine, "`p2c`"},
      {"hash_later", upstream("balance: { hash: { by: client } }"), kUpstreamLine, "`hash`"},
      {"dns_later", replaced("127.0.0.1:9000", "\"dns:a.internal:1\""), 8, "`dns:`"},
      {"jwt_later", replaced("auth: none", "auth: { jwt: staff }"), 14,
       "under `identity` is named"},
      {"introspect_by_nobody", replaced("auth: none", "auth: { introspect: staff }"), 14,
       "nothing under `identity`"},
      {"auth_empty", replaced("auth: none", "auth: {}"), 14, "asks for nothing"},
      {"auth_missing", replaced("    auth: none\n", ""), 11, "needs the key `auth`"},
      {"schema_missing", route("body: { schema: no.json }"), kRouteLine, "cannot be used"},
      // ---- listeners ----
      {"address_without_port", replaced("127.0.0.1:8080", "127.0.0.1"), 4, "IPv4 address"},
      {"cleartext", replaced("127.0.0.1:8080", "0.0.0.0:8080"), 3, "without TLS",
       "cleartext-listener"},
      {"redirect_without_tls", listener("redirect_from: 80"), kListenerLine, "has no `tls`"},
      {"proxy_protocol_alone", listener("proxy_protocol: true"), kListenerLine, "trusts nobody",
       "proxy-protocol-untrusted"},
      {"allow_everyone", listener("allow_from: [0.0.0.0/0]"), kListenerLine, "limits nothing"},
      {"allow_overlap", listener("allow_from: [10.0.0.0/8, 10.1.0.0/16]"), kListenerLine,
       "10.1.0.0/16 changes nothing"},
      {"serve_twice", listener("serve: [api, api]"), kListenerLine, "one thing twice"},
      {"health_exposed", replaced("127.0.0.1:8080", "10.0.0.1:8080\n    serve: [health]"), 5,
       "need `allow_from`", "status-page-exposed", 2},
      {"no_listener_serves", listener("serve: [health]"), 11, "no listener serves the API"},
      {"same_address_twice",
       replaced("upstreams:", "  - { name: two, address: 127.0.0.1:8080 }\nupstreams:"), 6,
       "is taken already"},
      {"same_port_of_both_families",
       replaced("upstreams:",
                "  - { name: two, address: '[::]:8080', allow_from: [10.0.0.0/8] }\nupstreams:"),
       6, "[::]:8080 is taken already", "", 2},
      {"listener_name_twice",
       replaced("upstreams:", "  - { name: public, address: 127.0.0.1:8081 }\nupstreams:"), 6,
       "given twice"},
      {"admin_on_listener", rest("admin: { address: 127.0.0.1:8080 }"), kRestLine, "is taken"},
      // ---- trust, limits, log, admin ----
      {"trust_everyone", rest("trusted_proxies: [0.0.0.0/0]"), kRestLine, "covers every address",
       "realip-trust-all"},
      {"trust_everyone_in_halves", rest("trusted_proxies: [0.0.0.0/1, 128.0.0.0/1]"), kRestLine,
       "covers every address", "realip-trust-all"},
      {"trust_everyone_v6", rest("trusted_proxies: ['::/0']"), kRestLine, "covers every address",
       "realip-trust-all"},
      {"host_bits", rest("trusted_proxies: [10.0.0.1/8]"), kRestLine, "zero"},
      {"workers", rest("limits: { workers: 1025 }"), kRestLine, "the maximum is 1024"},
      {"per_client", rest("limits: { connections: 20, connections_per_client: 21 }"), kRestLine,
       "limits nothing"},
      {"places_beyond_all", route("concurrency: { limit: 10001 }"), kRouteLine, "limits nothing"},
      {"socket_path", rest("admin: { socket: /run/" + std::string(103, 'm') + " }"), kRestLine,
       "107 bytes at most, and this one has 108"},
      {"slow_head", rest("timeouts: { head: 2min }"), kRestLine, "the maximum is 1min",
       "slow-client-timeouts"},
      {"zero_timeout", rest("timeouts: { idle: 0s }"), kRestLine, "the minimum is"},
      {"no_unit", rest("timeouts: { idle: 60 }"), kRestLine, "unit"},
      {"admin_exposed", rest("admin: { address: 0.0.0.0:9901 }"), kRestLine, "loopback",
       "admin-interface-exposed"},
      {"access_log_off", rest("log: { access: 'off' }"), kRestLine, "switched off",
       "access-log-off"},
      {"log_level", rest("log: { level: verbose }"), kRestLine, "found `verbose`"},
      // ---- upstreams ----
      {"upstream_in_clear", replaced("127.0.0.1:9000", "10.0.0.1:9000"), 8, "without TLS",
       "upstream-cleartext"},
      {"upstream_unused", replaced("routes:", "  idle: { endpoints: [127.0.0.1:1] }\nroutes:"), 10,
       "no route uses the upstream `idle`"},
      {"upstream_unknown", replaced("upstream: orders", "upstream: order"), 15,
       "no upstream is named `order`"},
      {"upstream_is_us", replaced("127.0.0.1:9000", "127.0.0.1:8080"), 8,
       "is the listener `public`"},
      {"endpoint_twice",
       replaced("[127.0.0.1:9000]", "[127.0.0.1:9000, { address: 127.0.0.1:9000, weight: 2 }]"), 8,
       "the endpoint 127.0.0.1:9000 is listed twice"},
      {"no_endpoints", replaced("[127.0.0.1:9000]", "[]"), 8, "at least 1 needed"},
      {"weight", replaced("127.0.0.1:9000", "{ address: 127.0.0.1:9000, weight: 101 }"), 8,
       "the maximum is 100"},
      {"upstream_host", upstream("host: 'a b'"), kUpstreamLine, "not valid as a host"},
      {"upstream_timeout", upstream("timeouts: { response: 1h }"), kUpstreamLine, "the maximum is",
       "upstream-timeout-infinite"},
      // ---- routes ----
      {"route_timeout", route("timeout: 1h"), kRouteLine, "the maximum is 15min",
       "upstream-timeout-infinite"},
      {"body_max", route("body: { max: 2GiB }"), kRouteLine, "the maximum is 1GiB",
       "body-size-unlimited"},
      {"trace", replaced("[GET]", "[GET, TRACE]"), 13, "TRACE", "trace-forwarded"},
      {"track", replaced("[GET]", "[TRACK]"), 13, "TRACK", "trace-forwarded"},
      {"connect", replaced("[GET]", "[CONNECT]"), 13, "tunnel", "connect-enabled"},
      {"method_case", replaced("[GET]", "[get]"), 13, "write `GET`"},
      {"method_star", replaced("[GET]", "['*']"), 13, "`*` is not a method"},
      {"method_twice", replaced("[GET]", "[GET, GET]"), 13, "listed twice"},
      {"method_token", replaced("[GET]", "['G T']"), 13, "not valid as a method"},
      {"no_methods", replaced("[GET]", "[]"), 13, "at least 1 needed"},
      {"path_relative", replaced("/orders/**", "orders"), 12, "begins with `/`"},
      {"path_not_canonical", replaced("/orders/**", "/a/%2e%2e"), 12, "dot"},
      {"path_oddity", replaced("/orders/**", "/a;b"), 12, "no request reaches this route"},
      {"host_port", replaced("a.example", "a.example:80"), 12, "port"},
      {"host_twice", replaced("host: a.example", "host: [a.example, a.example]"), 12,
       "given twice"},
      {"strip_prefix", route("rewrite: { strip_prefix: /order }"), kRouteLine,
       "not every path of `/orders/**` starts with `/order`"},
      {"rewrite_nothing", route("rewrite: {}"), kRouteLine, "rewrites nothing"},
      {"respond_and_upstream", route("respond: { status: 204 }"), 11, "not both"},
      {"no_target", replaced("    upstream: orders\n", ""), 11, "needs `upstream` or `respond`", "",
       2},
      {"respond_inert",
       replaced("routes:\n", "routes:\n" + second +
                                 "respond: { status: 204 }, forward: { authorization: true } }\n"),
       11, "`forward` changes nothing"},
      {"respond_body_of_204",
       replaced("routes:\n", "routes:\n" + second + "respond: { status: 204, body: x } }\n"), 11,
       "has no body"},
      {"respond_status",
       replaced("routes:\n", "routes:\n" + second + "respond: { status: 100 } }\n"), 11,
       "the minimum is 200"},
      {"set_baseline", route("headers: { set: { x-frame-options: SAMEORIGIN } }"), kRouteLine,
       "part of the baseline"},
      {"set_baseline_alias", route("headers: { set: { X_Frame_Options: SAMEORIGIN } }"), kRouteLine,
       "part of the baseline"},
      {"remove_baseline", route("headers: { remove: [Strict-Transport-Security] }"), kRouteLine,
       "part of the baseline"},
      {"set_server", route("headers: { set: { Server: nginx } }"), kRouteLine, "always removed"},
      {"remove_what_always_goes", route("headers: { remove: [SourceMap] }"), kRouteLine,
       "always removed"},
      {"shared_state_wrong",
       with("", "", "rate_limit: { rate: 9/s, shared: true }",
            "shared_state: { redis: { address: 127.0.0.1:6379 }, nodes: 0 }"),
       kRestLine, "the minimum is 1"},
      {"set_framing", route("headers: { set: { Transfer-Encoding: chunked } }"), kRouteLine,
       "belongs to the connection"},
      {"set_length", route("headers: { set: { Content-Length: '5' } }"), kRouteLine,
       "is set by the gateway"},
      {"set_cors", route("headers: { set: { Access-Control-Allow-Origin: '*' } }"), kRouteLine,
       "`cors` is for"},
      {"set_and_remove", route("headers: { set: { X-A: b }, remove: [x-a] }"), kRouteLine,
       "`x-a` is given twice"},
      {"set_splits_responses", route("headers: { set: { X-A: \"b\\r\\nX-B: c\" } }"), kRouteLine,
       "not printable"},
      {"equal_patterns",
       rest("").replace(rest("").find("routes:\n"), 8,
                        "routes:\n  - { name: two, match: { host: a.example, path: /orders/** }, "
                        "methods: [HEAD], auth: none, upstream: orders }\n"),
       13, "the routes `two` and `orders` both match"},
      {"route_name_twice",
       replaced("routes:\n",
                "routes:\n  - { name: orders, match: { host: b.example, path: / }, "
                "methods: [GET], auth: none, upstream: orders }\n"),
       12, "the name `orders` is given twice"},
      {"unreachable",
       route_line("  - { name: p, match: { host: a.example, path: /orders }, methods: [GET], auth: "
                  "none, upstream: orders }\n"
                  "  - { name: q, match: { host: a.example, path: /orders/ }, methods: [GET], "
                  "auth: none, upstream: orders }\n"
                  "  - { name: r, match: { host: a.example, path: '/orders/{x}/**' }, methods: "
                  "[GET], auth: none, upstream: orders }"),
       12, "no request reaches the route `orders`"},
      // ---- waivers ----
      {"waiver_unused", rest(waiver("csp-html", "listeners.public")), kRestLine + 1,
       "waives nothing"},
      {"waiver_inert",
       with("", "", "", waiver("path-semicolon", "routes.orders"))
           .replace(with().find("/**"), 3, ""),
       kRestLine + 1, "waives nothing"},
      {"waiver_nowhere", rest(waiver("csp-html", "routes.other")), kRestLine + 1,
       "there is nothing at `routes.other`"},
      {"aes128_in_clear", rest(waiver("tls-aes128", "listeners.public")), kRestLine + 1,
       "waives nothing"},
  };
}

class Refused : public testing::TestWithParam<Case> {};
TEST_P(Refused, WithTheLineAndTheReason) {
  const Case& c = GetParam();
  const LoadResult result = load(c.text);
  EXPECT_EQ(result.plan, nullptr);
  const auto& all = result.diagnostics.all();
  const auto errors = std::ranges::count(all, Severity::kError, &Diagnostic::severity);
  EXPECT_EQ(errors, c.errors) << result.diagnostics.render();
  const bool found = std::ranges::any_of(all, [&](const Diagnostic& d) {
    return d.at.line == c.line && d.message.find(c.message) != std::string::npos &&
           d.rule == c.rule;
  });
  EXPECT_TRUE(found) << c.line << ": " << c.message << "\n" << result.diagnostics.render();
}
INSTANTIATE_TEST_SUITE_P(Load, Refused, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

TEST(Load, RemediesMendWhatTheyStandBeside) {
  struct Remedy {
    std::string text;
    const char* message;
    const char* help;
  };
  const auto replaced = [](std::string_view from, std::string_view to, const char* rest = "") {
    std::string text = with("", "", "", rest);
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const Remedy remedies[] = {
      {with("", "protocol: http2"), "found `http2`", "HTTP/2 is `h2`"},
      {with("", "timeouts: { connect: 60s }"), "the maximum is 30s",
       "Give a connection a few seconds"},
      {with("", "", "", "timeouts: { handshake: 31s }"), "the maximum is 30s", "a handshake"},
      {replaced("[GET]", "[GET, CONNECT]"), "tunnel", "Take CONNECT out"},
      {replaced("auth: none", "auth: { api_key: machine }",
                "identity: { machines: { api_keys: { file: keys.yaml } } }"),
       "named `machine`", "did you mean `machines`?"},
      {replaced("upstream: orders", "upstream:"), "found nothing", "leave the key out"},
      {replaced("auth: none", "auth: { jwt: staff }",
                "identity: { staff: { issuer: 'https://id.example', audience: a, jwks_file: k, "
                "algorithms: [none] } }"),
       "`none`", "take `none` out"},
  };
  for (const Remedy& each : remedies) {
    const LoadResult result = load(each.text);
    const auto& all = result.diagnostics.all();
    EXPECT_TRUE(std::ranges::any_of(all,
                                    [&](const Diagnostic& d) {
                                      return d.message.contains(each.message) &&
                                             d.help.contains(each.help);
                                    }))
        << each.message << "\n"
        << result.diagnostics.render();
    EXPECT_TRUE(std::ranges::none_of(
        all, [](const Diagnostic& d) { return d.message.starts_with("no route "); }))
        << "what was meant is not unused\n"
        << result.diagnostics.render();
  }
}

TEST(Load, WaivedRulesAreLetThrough) {
  const struct {
    std::string text;
    const char* rule;
    const char* on;
  } given[] = {
      {with(), "cleartext-listener", "listeners.public"},
      {with(), "upstream-cleartext", "upstreams.orders"},
      {with("", "", "body: { max: 2GiB }"), "body-size-unlimited", "routes.orders.body.max"},
      {with("", "", "", "timeouts: { head: 2min }"), "slow-client-timeouts", "timeouts.head"},
      {with("", "", "", "log: { access: 'off' }"), "access-log-off", "log.access"},
  };
  for (const auto& g : given) {
    std::string text = g.text;
    const auto replace = [&](std::string_view from, std::string_view to) {
      text.replace(text.find(from), from.size(), to);
    };
    if (std::string_view(g.rule) == "cleartext-listener") replace("127.0.0.1:8080", "10.0.0.1:80");
    if (std::string_view(g.rule) == "upstream-cleartext") replace("127.0.0.1:9000", "10.0.0.1:90");
    EXPECT_EQ(load(text).plan, nullptr) << g.rule;
    const LoadResult waived = load(text + waiver(g.rule, g.on));
    EXPECT_NE(waived.plan, nullptr) << g.rule << waived.diagnostics.render();
  }
}

TEST(Load, AnExpiredWaiverStopsAReloadButNoStart) {
  std::string text = with("", "", "", waiver("csp-html", "routes.orders"));
  text.replace(text.find("2027-05-01"), 10, "2026-12-31");
  EXPECT_EQ(load(text, kStrict).plan, nullptr);
  const LoadResult start = load(text, kAtStart);
  ASSERT_NE(start.plan, nullptr) << start.diagnostics.render();
  EXPECT_TRUE(start.plan->routes[0]->html_csp_waived);
}

TEST(Load, AWaiverOfAPartThatCouldNotBeReadIsNotCalledUnused) {
  const LoadResult result =
      load(with("", "", "timeout: soon", waiver("csp-html", "routes.orders")));
  EXPECT_EQ(result.diagnostics.error_count(), 1U) << result.diagnostics.render();
}

TEST(Load, ARouteThatCannotBeReadStillNamesItsUpstream) {
  std::string text = with("", "", "timeout: soon");
  text.replace(text.find("upstream: orders"), 16, "upstream: order");
  EXPECT_EQ(load(text).diagnostics.error_count(), 2U) << load(text).diagnostics.render();
}

TEST(Load, WhatIsNoMappingIsRefused) {
  for (const char* text : {"", "[]", "a", "version: [1", "\t", "- version: 1"}) {
    const LoadResult result = load(text);
    EXPECT_EQ(result.plan, nullptr) << text;
    EXPECT_FALSE(result.diagnostics.ok()) << text;
  }
}

TEST(Load, EveryCutOfTheTextIsJudged) {
  const std::string text = with("", "", "", waiver("csp-html", "routes.orders"));
  for (std::size_t size = 0; size < text.size(); ++size) {
    const LoadResult result = load(text.substr(0, size));
    EXPECT_EQ(result.plan != nullptr, result.diagnostics.ok()) << size;
  }
}

/// Twenty routes, each with five mistakes of its own.
TEST(Load, AHundredMistakesAreAHundredErrors) {
  std::string text =
      "version: 1\nlisteners: [{ name: public, address: 127.0.0.1:8080 }]\nroutes:\n";
  for (int i = 0; i < 20; ++i) {
    fmt::format_to(std::back_inserter(text),
                   "  - name: r{0}\n"
                   "    match: {{ host: A{0}.example, path: no-slash }}\n"  // two
                   "    methods: [get]\n"
                   "    timeout: soon\n"
                   "    colour: red\n"
                   "    auth: none\n"
                   "    respond: {{ status: 204 }}\n",
                   i);
  }
  const LoadResult result = load(text);
  EXPECT_EQ(result.plan, nullptr);
  EXPECT_EQ(result.diagnostics.error_count(), 100U) << result.diagnostics.render();
  for (std::uint32_t i = 0; i < 20; ++i) {
    for (const std::uint32_t line : {5U, 6U, 7U, 8U}) {
      const std::uint32_t want = line + 7 * i;
      const bool found = std::ranges::any_of(
          result.diagnostics.all(), [&](const Diagnostic& d) { return d.at.line == want; });
      EXPECT_TRUE(found) << "line " << want;
    }
  }
}

/// Mistakes of several parts at once: one that cannot be read hides none of the others.
TEST(Load, MistakesDoNotHideEachOther) {
  const LoadResult result = load(with("", "tls: { ca: [1] }", "timeout: soon",
                                      "  - { name: two, match: { host: b.example, path: / }, "
                                      "methods: [TRACE], auth: none, upstream: nowhere }\n"
                                      "trusted_proxies: [0.0.0.0/0]\nfirewall: {}"));
  std::string messages = result.diagnostics.render();
  for (const char* part : {"`firewall`", "covers every address", "TRACE", "named `nowhere`", "soon",
                           "expected the name of a file"}) {
    EXPECT_NE(messages.find(part), std::string::npos) << part << "\n" << messages;
  }
  EXPECT_EQ(result.diagnostics.error_count(), 6U) << messages;
}

// ---- with certificates ----

class WithCertificates : public testing::Test {
 protected:
  void SetUp() override {
    const auto key = tls::test::ec_key();
    const auto good = tls::test::make_certificate(key.get(), {.names = "DNS:a.example"});
    const auto old = tls::test::make_certificate(
        key.get(), {.names = "DNS:a.example", .from_days = -90, .to_days = -1});
    key_ = folder_.write("a.key", tls::test::pem_of(key.get()));
    good_ = folder_.write("good.crt", tls::test::pem_of(good.get()));
    old_ = folder_.write("old.crt", tls::test::pem_of(old.get()));
  }

  [[nodiscard]] std::string text(const std::string& cert, std::string_view rest = "") const {
    std::string out = with("redirect_from: 8079\n    tls: { certificates: [{ cert: " + cert +
                               ", key: " + key_ + " }] }",
                           "", "", rest);
    return out;
  }
  static WallTime now() { return SystemClock().wall_now(); }
  static std::string soon() {
    return config::format_date(std::chrono::floor<std::chrono::days>(now()) +
                               std::chrono::days{20});
  }
  static std::string replaced(std::string text, std::string_view from, std::string_view to) {
    return text.replace(text.find(from), from.size(), to);
  }
  static bool has_rule(const LoadResult& result, std::string_view rule, Severity severity) {
    return std::ranges::any_of(result.diagnostics.all(), [&](const Diagnostic& d) {
      return d.rule == rule && d.severity == severity;
    });
  }

  tls::test::Folder folder_;
  std::string key_;
  std::string good_;
  std::string old_;
};

TEST_F(WithCertificates, AListenerAndItsRedirect) {
  const LoadResult result = load(text(good_), kStrict, now());
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  ASSERT_EQ(result.plan->listeners.size(), 2U);
  EXPECT_NE(result.plan->listeners[0].tls, nullptr);
  const Listener& redirect = result.plan->listeners[1];
  EXPECT_EQ(redirect.tls, nullptr);
  EXPECT_EQ(redirect.address.port, 8079);
  EXPECT_EQ(redirect.redirect_to_port, 8080);
  EXPECT_FALSE(redirect.serve.api);
  EXPECT_EQ(redirect.index, 1U);
}

TEST_F(WithCertificates, AHostThatNoCertificateCarries) {
  const std::string other =
      replaced(text(good_), "host: a.example", "host: [a.example, b.example]");
  const LoadResult check = load(other, kStrict, now());
  EXPECT_EQ(check.plan, nullptr);
  EXPECT_TRUE(has_rule(check, "cert-san-mismatch", Severity::kError)) << check.diagnostics.render();
  const LoadResult start = load(other, kAtStart, now());
  ASSERT_NE(start.plan, nullptr) << "no start fails for it";
  EXPECT_EQ(start.plan->closed, std::vector<std::string>{"listeners: b.example"});
  const std::string waived =
      other +
      "waivers:\n  - { rule: cert-san-mismatch, on: routes.orders, reason: the "
      "name is not in DNS yet, owner: api@example.com, expires: " +
      soon() + " }\n";
  for (const LoadMode mode : {kStrict, kAtStart}) {
    const LoadResult result = load(waived, mode, now());
    ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
    EXPECT_TRUE(result.plan->closed.empty());
  }
  const std::string wild = replaced(text(good_), "host: a.example", "host: '*.example'");
  EXPECT_NE(load(wild, kStrict, now()).plan, nullptr);
}

TEST_F(WithCertificates, AHostThatNoCertificateCarriesIsToldBesideAListenerInClearToo) {
  const std::string both =
      replaced(replaced(text(good_), "host: a.example", "host: [a.example, b.example]"),
               "listeners:\n", "listeners:\n  - { name: inner, address: 127.0.0.1:8078 }\n");
  const LoadResult check = load(both, kStrict, now());
  EXPECT_NE(check.plan, nullptr) << check.diagnostics.render();
  const std::string told = check.diagnostics.render();
  EXPECT_NE(told.find("b.example"), std::string::npos) << told;
  EXPECT_EQ(told.find("carries `a.example`"), std::string::npos) << told;
}

TEST_F(WithCertificates, NoDateRefusesTheTextThatIsInForce) {
  EXPECT_EQ(load(text(old_), kStrict, now()).plan, nullptr);
  const LoadResult same = load(text(old_), kUnchanged, now());
  EXPECT_NE(same.plan, nullptr) << same.diagnostics.render();
  const std::string none = folder_.write("none.crt", "nothing");
  EXPECT_EQ(load(text(none), kUnchanged, now()).plan, nullptr);
}

TEST_F(WithCertificates, ABadOneStopsACheckButNoStart) {
  for (const std::string& bad : {old_, folder_.write("none.crt", "nothing")}) {
    EXPECT_EQ(load(text(bad), kStrict, now()).plan, nullptr) << bad;
    const LoadResult start = load(text(bad), kAtStart, now());
    ASSERT_NE(start.plan, nullptr) << start.diagnostics.render();
    EXPECT_NE(start.plan->listeners[0].tls, nullptr) << "never in clear";
    ASSERT_EQ(start.bad_files.size(), 1U);
    EXPECT_EQ(start.bad_files[0].rule, bad == old_ ? "cert-expired" : "");
    EXPECT_FALSE(start.diagnostics.all().empty());
  }
}

TEST_F(WithCertificates, UpstreamsAreVerified) {
  const std::string upstream = with("", "tls: { ca: " + good_ + ", server_name: orders.internal }");
  const LoadResult result = load(upstream, kStrict, now());
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  EXPECT_NE(result.plan->upstreams[0]->tls, nullptr);
  const std::string identity = result.plan->upstreams[0]->identity;
  const LoadResult other =
      load(replaced(upstream, "orders.internal", "other.internal"), kStrict, now());
  EXPECT_NE(other.plan->upstreams[0]->identity, identity);
  const LoadResult slower =
      load(replaced(upstream, "    upstream: orders", "    timeout: 5s\n    upstream: orders"),
           kStrict, now());
  EXPECT_EQ(slower.plan->upstreams[0]->identity, identity) << "connections outlive such a change";
}

/// As for the configuration itself (SYS-02): who may write an authority decides whom it vouches
/// for.
TEST_F(WithCertificates, FilesThatSayWhatIsLetThroughMayNotBeWrittenByOthers) {
  const std::string schema = folder_.write("schema.json", "{}", 0644);
  const std::string upstream = replaced(
      with("", "tls: { ca: " + good_ + ", server_name: orders.internal }"), "    upstream: orders",
      "    body: { schema: " + schema + " }\n    upstream: orders");
  ASSERT_NE(load(upstream, kStrict, now()).plan, nullptr);
  for (const std::string& file : {good_, schema}) {
    std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0646));
    for (const LoadMode mode : {kStrict, kAtStart}) {
      const LoadResult result = load(upstream, mode, now());
      EXPECT_EQ(result.plan, nullptr) << file;
      EXPECT_TRUE(has_rule(result, "config-writable", Severity::kError)) << file;
    }
    std::filesystem::permissions(file, static_cast<std::filesystem::perms>(0644));
  }
}

TEST_F(WithCertificates, APasswordThatOthersReadIsNoSecret) {
  const std::string password = folder_.write("password", "a-password\n", 0644);
  const LoadResult result =
      load(with("", "", "rate_limit: { rate: 10/s, burst: 20, shared: true }",
                "shared_state: { redis: { address: 127.0.0.1:6379, password_file: " + password +
                    " }, nodes: 1 }"),
           kStrict, now());
  EXPECT_EQ(result.plan, nullptr);
  EXPECT_TRUE(has_rule(result, "key-permissions", Severity::kError)) << result.diagnostics.render();
}

TEST_F(WithCertificates, AnUpstreamWhoseAuthoritiesAreGoneIsClosedAndNeverReachedInClear) {
  const std::string upstream = with("", "tls: { ca: /nonexistent.pem, server_name: a.example }");
  EXPECT_EQ(load(upstream, kStrict, now()).plan, nullptr);
  EXPECT_EQ(load(upstream, kUnchanged, now()).plan, nullptr) << "what is in use stays";
  const LoadResult start = load(upstream, kAtStart, now());
  ASSERT_NE(start.plan, nullptr) << start.diagnostics.render();
  EXPECT_TRUE(start.plan->upstreams[0]->closed);
  EXPECT_EQ(start.plan->closed, std::vector<std::string>{"upstreams.orders"});
  EXPECT_FALSE(start.diagnostics.all().empty());
}

TEST_F(WithCertificates, UpstreamsOfTheSameServersKeepTheirOwnConnections) {
  // They may differ in timeouts and bounds, which belong to the connections.
  const LoadResult result = load(replaced(
      replaced(with(), "upstreams:\n", "upstreams:\n  other:\n    endpoints: [127.0.0.1:9000]\n"),
      "routes:\n",
      "routes:\n  - { name: other, match: { host: b.example, path: /b }, methods: [GET], auth: "
      "none, "
      "upstream: other }\n"));
  ASSERT_NE(result.plan, nullptr) << result.diagnostics.render();
  EXPECT_NE(result.plan->upstreams[0]->identity, result.plan->upstreams[1]->identity);
}

TEST_F(WithCertificates, ServerNameIsNeededForSeveralAddresses) {
  const std::string two = replaced(with("", "tls: { ca: " + good_ + " }"), "[127.0.0.1:9000]",
                                   "[10.0.0.1:1, 10.0.0.2:1]");
  const LoadResult result = load(two, kStrict, now());
  EXPECT_NE(result.diagnostics.render().find("several addresses"), std::string::npos)
      << result.diagnostics.render();
}

// ---- from files ----

TEST(LoadFile, IncludesAndModes) {
  const tls::test::Folder folder;
  const auto broker = io::make_local_broker();
  std::string text = with();
  const std::size_t routes = text.find("routes:");
  folder.write("routes.yaml", text.substr(routes), 0644);
  const std::string main = "include: [routes.yaml]\n" + text.substr(0, routes);
  const std::string path = folder.write("merlon.yaml", main, 0644);
  const LoadResult good = load_plan(path, *broker, kToday, kStrict);
  ASSERT_NE(good.plan, nullptr) << good.diagnostics.render();
  EXPECT_EQ(good.plan->path, path);
  folder.write("routes.yaml", text.substr(routes) + "# changed\n", 0644);
  const LoadResult changed = load_plan(path, *broker, kToday, kStrict);
  EXPECT_NE(changed.plan->hash, good.plan->hash) << "what is included counts";
  folder.write("merlon.yaml", main, 0666);
  const LoadResult open = load_plan(path, *broker, kToday, kStrict);
  ASSERT_EQ(open.diagnostics.error_count(), 1U) << open.diagnostics.render();
  EXPECT_EQ(open.diagnostics.all()[0].rule, "config-writable");
  const LoadResult none = load_plan(path + ".no", *broker, kToday, kStrict);
  EXPECT_EQ(none.plan, nullptr);
  EXPECT_EQ(none.tree, nullptr);
  EXPECT_EQ(none.diagnostics.error_count(), 1U);
}

TEST(LoadText, IncludesNothing) {
  EXPECT_EQ(load("include: [other.yaml]\n" + with()).plan, nullptr);
}

}  // namespace
}  // namespace merlon::gateway
