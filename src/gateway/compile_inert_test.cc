#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "gateway/load.h"
#include "gateway/test_config.h"

namespace merlon::gateway {
namespace {

using test::with;

LoadResult load(const std::string& text) {
  const auto broker = io::make_local_broker();
  return load_plan_text("merlon.yaml", text, *broker,
                        std::chrono::sys_days{std::chrono::January / 1 / 2027}, kStrict);
}

std::string proxied(std::string_view allowed) {
  return with(fmt::format("proxy_protocol: true\n    allow_from: [{}]", allowed), "", "",
              "trusted_proxies: [10.0.0.0/8]");
}

/// Another route, behind that of `with`.
std::string and_route(std::string_view path, std::string_view methods, std::string_view more,
                      std::string_view listener = "serve: [api, health, metrics]") {
  std::string text = with(listener);
  text.resize(text.rfind("    \n"));
  return text + fmt::format(
                    "  - {{ name: own, match: {{ host: a.example, path: {} }}, methods: [{}], "
                    "auth: none, {} }}\n",
                    path, methods, more);
}

std::string classes(std::string_view listener, std::string_view network, std::string_view rest) {
  return with(listener, "",
              fmt::format("rate_limit: {{ rate: 1/s, classes: [{{ name: near, networks: [{}], "
                          "rate: 9/s }}] }}",
                          network),
              rest);
}

/// `text` with `what` in place of the first `part`.
std::string replaced(std::string text, std::string_view part, std::string_view what) {
  return text.replace(text.find(part), part.size(), what);
}

std::string quota(std::string_view limit, std::string_view rate, int nodes = 1) {
  return replaced(
      with("", "", fmt::format("quota: {{ limit: {} }}\n    rate_limit: {{ {} }}", limit, rate),
           fmt::format("shared_state: {{ redis: {{ address: 127.0.0.1:6379 }}, nodes: {} }}\n"
                       "identity: {{ staff: {{ issuer: https://id.example/, audience: a }} }}\n",
                       nodes)),
      "auth: none", "auth: { jwt: staff }");
}

struct Case {
  const char* name;
  std::string text;
  const char* said;  ///< "": nothing is wrong
};
std::vector<Case> cases() {
  const auto tunnels = [](std::string_view more, std::string_view rest = "") {
    return with("", "", fmt::format("websocket: {{ tunnels_per_client: 100 }}\n    {}", more),
                rest);
  };
  const auto places = [](std::string_view limit, std::string_view rest) {
    return with("", "", fmt::format("concurrency: {{ limit: {} }}", limit), rest);
  };
  constexpr std::string_view kFew = "limits: { connections_per_client: 2 }\n";
  return {
      {"proxies_that_may_not_connect", proxied("198.51.100.0/24"),
       "198.51.100.0/24 lets nobody in"},
      {"one_network_without_proxies", proxied("10.1.0.0/16, 198.51.100.0/24"),
       "198.51.100.0/24 lets nobody in"},
      {"some_of_the_proxies", proxied("10.1.0.0/16"), ""},
      {"more_than_the_proxies", proxied("10.0.0.0/7"), ""},

      {"connect_time", with("", "timeouts: { connect: 2s }", "timeout: 1s"),
       "`connect` has no effect: every route to `orders` times out after 1s at most"},
      {"connect_time_that_counts", with("", "timeouts: { connect: 1s }", "timeout: 1s"), ""},
      {"connect_time_of_many_requests",
       with("", "protocol: h2\n    timeouts: { connect: 2s }", "timeout: 1s"), ""},

      {"held_body_beyond_the_memory",
       with("", "", "body: { max: 17MiB, json_depth: 4 }", "limits: { memory: 64MiB }"),
       "no body of this size can be buffered for validation: all of them together may take 16MiB"},
      {"held_body_that_takes_all_of_it",
       with("", "", "body: { max: 16MiB, json_depth: 4 }", "limits: { memory: 64MiB }"), ""},
      {"streamed_body_beyond_the_memory",
       with("", "", "body: { max: 17MiB }", "limits: { memory: 64MiB }"), ""},

      {"tunnels_beyond_the_clients_places", tunnels("concurrency: { limit: 99 }"),
       "`concurrency` lets a client have 99 requests"},
      {"tunnels_beyond_the_routes_places", tunnels("concurrency: { limit: 99, per: route }"),
       "`concurrency` lets a client have 99 requests"},
      {"tunnels_within_the_places", tunnels("concurrency: { limit: 100 }"), ""},
      {"tunnels_by_default",
       with("", "", "websocket: { idle_timeout: 1min }\n    concurrency: { limit: 3 }"), ""},
      {"tunnels_where_places_are_observed",
       tunnels("concurrency: { limit: 99 }",
               "waivers:\n  - { rule: policy-observed, on: routes.orders.concurrency, reason: what "
               "would it refuse, owner: a@b.example, expires: 2027-01-20 }"),
       ""},

      {"places_beyond_the_connections", places("201", kFew),
       "carry at most 200 requests and tunnels"},
      {"places_within_the_connections", places("200", kFew), ""},
      {"places_of_clients_behind_proxies",
       places("201", std::string(kFew) + "trusted_proxies: [10.0.0.0/8]"), ""},

      {"own_page", and_route("/healthz", "GET", "upstream: orders"),
       "no request reaches the route `own`: every listener that serves the API answers `/healthz`"},
      {"own_metrics", and_route("/metrics", "GET, HEAD", "respond: { status: 204 }"),
       "answers `/metrics` itself"},
      {"own_page_and_another_method", and_route("/healthz", "GET, POST", "upstream: orders"), ""},
      {"own_page_below", and_route("/healthz/**", "GET", "upstream: orders"), ""},
      {"own_page_that_is_not_served",
       and_route("/metrics", "GET", "upstream: orders", "serve: [api, health]"), ""},
      {"own_page_of_another_listener",
       and_route("/healthz", "GET", "upstream: orders",
                 "serve: [api, health]\n  - { name: two, address: 127.0.0.1:8081 }"),
       ""},

      {"class_of_nobody", classes("allow_from: [10.0.0.0/8]", "192.0.2.0/24", ""),
       "nobody connects from 192.0.2.0/24"},
      {"class_of_some", classes("allow_from: [10.0.0.0/8]", "10.1.0.0/16", ""), ""},
      {"class_at_an_open_listener",
       classes("allow_from: [10.0.0.0/8]\n  - { name: two, address: 127.0.0.1:8081 }",
               "192.0.2.0/24", ""),
       ""},
      {"class_behind_proxies",
       classes("allow_from: [10.0.0.0/8]", "192.0.2.0/24", "trusted_proxies: [10.0.0.0/8]"), ""},

      {"class_of_another_family", classes("", "2001:db8::/32", ""),
       "nobody connects from 2001:db8::/32"},
      {"class_of_a_family_of_both",
       replaced(classes("", "2001:db8::/32", ""), "127.0.0.1:8080", "'[::1]:8080'"), ""},
      {"peers_of_another_family", with("allow_from: ['2001:db8::/32']"),
       "nobody can connect: 127.0.0.1 is an IPv4 address"},
      {"peers_of_both_families", with("allow_from: ['2001:db8::/32', 10.0.0.0/8]"), ""},

      {"quota_that_the_rate_outdoes", quota("1000/h", "rate: 1/min, burst: 5, per: identity"),
       "this quota limits nothing: `rate_limit` lets an identity make 65 requests in that time"},
      {"quota_within_the_rate", quota("64/h", "rate: 1/min, burst: 5, per: identity"), ""},
      {"quota_beside_a_limit_of_clients", quota("1000/h", "rate: 1/min, burst: 5"), ""},
      {"quota_that_the_route_outdoes", quota("1000/h", "rate: 1/min, burst: 5, per: route"),
       "this quota limits nothing"},
      {"quota_over_nodes", quota("129/h", "rate: 1/min, burst: 5, per: identity", 2), ""},
      {"quota_over_nodes_that_share",
       quota("129/h", "rate: 1/min, burst: 5, per: identity, shared: true", 2),
       "this quota limits nothing"},
      {"quota_of_the_longest_month", quota("744/month", "rate: 1/h, per: identity"), ""},
      {"quota_of_more_than_a_month", quota("745/month", "rate: 1/h, per: identity"),
       "lets an identity make 745 requests"},

      {"rewrite_to_the_same",
       with("", "", "rewrite: { strip_prefix: /orders, add_prefix: /orders }"),
       "`rewrite` changes nothing"},
      {"expose_what_never_leaves",
       with("", "", "cors: { origins: [https://a.test], expose: [Server] }"),
       "no page gets `Server`"},
      {"expose_what_is_unknown_and_never_leaves",
       with("", "", "cors: { origins: [https://a.test], expose: [X-Varnish] }"),
       "no page gets `X-Varnish`"},
  };
}

class Inert : public testing::TestWithParam<Case> {};
TEST_P(Inert, IsRefused) {
  const LoadResult result = load(GetParam().text);
  const std::string said = result.diagnostics.render();
  const std::string_view wanted = GetParam().said;
  EXPECT_EQ(result.plan == nullptr, !wanted.empty()) << said;
  EXPECT_EQ(result.diagnostics.error_count(), wanted.empty() ? 0U : 1U) << said;
  EXPECT_NE(said.find(wanted), std::string::npos) << said;
}
INSTANTIATE_TEST_SUITE_P(Load, Inert, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

/// Lines of a log would be written behind a private key, or a socket put in its place.
TEST(Load, WhatIsWrittenIsNothingThatIsRead) {
  const std::filesystem::path folder = testing::TempDir() + "merlon_written";
  std::filesystem::create_directories(folder);
  const std::string main = folder / "merlon.yaml";
  std::ofstream(folder / "schema.json") << "{}";
  std::error_code ignored;
  std::filesystem::create_symlink("schema.json", folder / "link", ignored);
  const auto said_of = [&](std::string_view rest) {
    std::ofstream(main) << with("", "", "body: { schema: schema.json }", rest);
    const auto broker = io::make_local_broker();
    return load_plan(main, *broker, std::chrono::sys_days{std::chrono::January / 1 / 2027}, kStrict)
        .diagnostics.render();
  };
  EXPECT_EQ(said_of("log: { access: access.log, process: process.log }"), "");
  EXPECT_EQ(said_of("log: { process: /dev/null }"), "");
  EXPECT_NE(said_of("log: { access: /dev/../dev/null }").find("`/dev/null` discards every line"),
            std::string::npos);
  EXPECT_NE(said_of("log: { access: one.log, process: one.log }").find("both logs go to"),
            std::string::npos);
  EXPECT_NE(said_of("log: { access: merlon.yaml }").find("is the configuration itself"),
            std::string::npos);
  for (const char* const rest : {"log: { access: schema.json }", "log: { process: ./schema.json }",
                                 "log: { process: link }", "admin: { socket: schema.json }"}) {
    const std::string said = said_of(rest);
    EXPECT_NE(said.find("is a file that the gateway reads"), std::string::npos) << rest << said;
    EXPECT_NE(said.find("merlon.yaml:17"), std::string::npos) << rest << said;
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace merlon::gateway
