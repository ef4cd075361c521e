#include "audit/envoy/reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "audit/audit.h"

namespace merlon::audit::envoy {
namespace {

AuditResult audited(std::string text) {
  Options options;
  options.kind = Kind::kEnvoy;
  return audit_text("envoy.yaml", std::move(text), options);
}

/// What is told of some rules, as "RULE:level RULE:level", each once and sorted.
std::string findings_in(const AuditResult& result, const std::vector<std::string>& rules) {
  std::set<std::string> found;
  for (const Finding& one : result.findings) {
    if (std::ranges::find(rules, one.rule) == rules.end()) continue;
    found.insert(fmt::format("{}:{}", one.rule, name(one.level)));
  }
  return fmt::format("{}", fmt::join(found, " "));
}

std::string listener_with(std::string_view filter) {
  return fmt::format(
      "static_resources:\n  listeners:\n"
      "  - address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\n"
      "    filter_chains:\n    - filters:\n      - {}\n",
      filter);
}

struct OldForm {
  const char* name;
  const char* filter;
  const char* want;  ///< of CFG-01 and CFG-04
  bool gap;
};

class Untyped : public testing::TestWithParam<OldForm> {};

TEST_P(Untyped, ConfigIsCheckedByTheNameOfItsFilter) {
  const AuditResult result = audited(listener_with(GetParam().filter));
  EXPECT_EQ(findings_in(result, {"CFG-01", "CFG-04"}), GetParam().want);
  EXPECT_EQ(!result.gaps.empty(), GetParam().gap);
}

const OldForm kOld[] = {
    {"right", "{name: envoy.tcp_proxy, config: {stat_prefix: a, cluster: b}}", "CFG-04:info",
     false},
    {"misspelt",
     "{name: envoy.filters.network.http_connection_manager,"
     " config: {stat_prefix: a, use_remote_addres: true}}",
     "CFG-01:medium CFG-04:info", true},
    {"of_the_v2_api",
     "{name: envoy.http_connection_manager, config: {stat_prefix: a, tracing: {operation_name: b},"
     " http_filters: [{name: envoy.router, config: {}}]}}",
     "CFG-04:info", false},
    {"of_a_filter_of_others", "{name: com.example.own, config: {anything: 1}}", "CFG-04:info",
     false},
    {"of_the_v1_api",
     "{name: envoy.http_connection_manager,"
     " config: {deprecated_v1: true, value: {stat_prefix: a, codec_type: auto}}}",
     "CFG-01:low CFG-04:info", true},
};

INSTANTIATE_TEST_SUITE_P(Envoy, Untyped, testing::ValuesIn(kOld),
                         [](const auto& test) { return test.param.name; });

TEST(Typed, FieldsCalledConfigAreCheckedToo) {
  const auto told = [](const char* field) {
    return findings_in(audited(listener_with(fmt::format(
                           "{{name: w, typed_config: {{\"@type\": type.googleapis.com/"
                           "envoy.extensions.filters.network.wasm.v3.Wasm, config: {{{}: a}}}}}}",
                           field))),
                       {"CFG-01", "CFG-04"});
  };
  EXPECT_EQ(told("root_id"), "");
  EXPECT_EQ(told("rootid"), "CFG-01:medium");
}

constexpr const char* kConfigMap =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e}\ndata:\n"
    "  envoy.yaml: |\n"
    "    admin:\n"
    "      address:\n"
    "        socket_address:\n"
    "          address: 0.0.0.0\n"
    "          port_value: 9901\n"
    "    static_resources: {}\n";

struct Objects {
  const char* name;
  const char* beside;
  std::size_t gaps;
};

class Kubernetes : public testing::TestWithParam<Objects> {};

TEST_P(Kubernetes, ObjectsWithoutEnvoysConfigurationAreNoGaps) {
  const AuditResult result = audited(fmt::format("{}---\n{}", GetParam().beside, kConfigMap));
  EXPECT_EQ(result.gaps.size(), GetParam().gaps);
  EXPECT_EQ(findings_in(result, {"EXP-01"}), "EXP-01:critical");
}

const Objects kObjects[] = {
    {"service", "apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80}]}\n", 0},
    {"deployment",
     "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers:"
     " [{name: envoy, args: [-c, /etc/envoy/envoy.yaml]}]}}}\n",
     0},
    {"filter",
     "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nspec: {configPatches: []}\n", 1},
    {"other_with_envoys_words",
     "apiVersion: a/v1\nkind: Own\nspec: {static_resources: {listeners: []}}\n", 1},
};

INSTANTIATE_TEST_SUITE_P(Envoy, Kubernetes, testing::ValuesIn(kObjects),
                         [](const auto& test) { return test.param.name; });

TEST(ConfigMap, HasTheLinesAndColumnsOfItsFile) {
  const AuditResult result = audited(kConfigMap);
  const auto found = std::ranges::find(result.findings, "EXP-01", &Finding::rule);
  ASSERT_NE(found, result.findings.end());
  EXPECT_EQ(found->at.line, 9U);
  EXPECT_EQ(found->at.column, 11U);
  EXPECT_EQ(found->at.source->line(9), "          address: 0.0.0.0");
}

TEST(ConfigMap, IsReadWhereItsLinesAreNotThoseOfTheFile) {
  for (const char* data :
       {"  a: \"admin: {address: {socket_address: {address: 0.0.0.0, port_value: 1}}}\\n"
        "static_resources: {}\\n\"\n",
        "  a: |\n    ---\n    admin:\n      address: {socket_address: {address: 0.0.0.0,"
        " port_value: 1}}\n    static_resources: {}\n"}) {
    const AuditResult result =
        audited(std::string("apiVersion: v1\nkind: ConfigMap\ndata:\n") + data);
    EXPECT_EQ(findings_in(result, {"EXP-01"}), "EXP-01:critical") << data;
  }
}

TEST(Upstreams, OnTheUnspecifiedAddressAreOfThisHost) {
  const auto told = [](const char* address) {
    const std::string text = fmt::format(
        "static_resources:\n  listeners:\n"
        "  - address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}\n"
        "    filter_chains: [{{filters: [{{name: h, typed_config: {{\"@type\": type.googleapis.com/"
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,"
        " stat_prefix: a, route_config: {{virtual_hosts: [{{name: v, domains: [\"*\"], routes:"
        " [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}}}}}]}}]\n"
        "  clusters:\n  - name: c\n    load_assignment: {{cluster_name: c, endpoints:"
        " [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: \"{}\","
        " port_value: 9090}}}}}}}}]}}]}}\n",
        address);
    return findings_in(audited(text), {"UPS-01"});
  };
  EXPECT_EQ(told("0.0.0.0"), "");
  EXPECT_EQ(told("::"), "");
  EXPECT_EQ(told("198.51.100.7"), "UPS-01:medium");
}

TEST(Runtime, CapOfConnectionsIsDeprecated) {
  const auto told = [](const char* layer) {
    return findings_in(
        audited(fmt::format("static_resources: {{}}\nlayered_runtime: {{layers: [{{name: a,"
                            " static_layer: {}}}]}}\n",
                            layer)),
        {"CFG-04"});
  };
  EXPECT_EQ(told("{overload.global_downstream_max_connections: 50000}"), "CFG-04:info");
  EXPECT_EQ(told("{overload: {global_downstream_max_connections: 50000}}"), "CFG-04:info");
  EXPECT_EQ(told("{overload: {other: 1}}"), "");
}

TEST(Origins, OfAPatternThatTakesTheStarAreAll) {
  const auto told = [](const char* regex) {
    const std::string text = fmt::format(
        "static_resources:\n  listeners:\n"
        "  - address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}\n"
        "    filter_chains: [{{filters: [{{name: h, typed_config: {{\"@type\": type.googleapis.com/"
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,"
        " stat_prefix: a, http_filters: [{{name: envoy.filters.http.cors, typed_config:"
        " {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}}}],"
        " route_config: {{virtual_hosts: [{{name: v, domains: [\"*\"], typed_per_filter_config:"
        " {{envoy.filters.http.cors: {{\"@type\": type.googleapis.com/"
        "envoy.extensions.filters.http.cors.v3.CorsPolicy, allow_credentials: true,"
        " allow_origin_string_match: [{{safe_regex: {{regex: '{}'}}}}]}}}}, routes:"
        " [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}}}}}]}}]\n",
        regex);
    return findings_in(audited(text), {"COR-01", "COR-04"});
  };
  EXPECT_EQ(told("\\*"), "COR-01:high");
  EXPECT_EQ(told("\\*|https://a\\.test"), "COR-01:high");
  EXPECT_EQ(told("https://a\\.test"), "");
}

}  // namespace
}  // namespace merlon::audit::envoy
