#include "gateway/limit_simulation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "gateway/load.h"

namespace merlon::gateway {
namespace {

class Simulation : public testing::Test {
 protected:
  /// A plan with one route `/api/**` that has these policies.
  void plan(const std::string& policies, const std::string& waivers = "") {
    loaded_ =
        load_plan_text("test.yaml",
                       fmt::format(R"(version: 1
listeners:
  - {{ name: public, address: "127.0.0.1:8080" }}
routes:
  - name: api
    match: {{ host: "*", path: /api/** }}
    methods: [GET]
    auth: none
    respond: {{ status: 204 }}
    {}
log: {{ access: "-" }}
{})",
                                   policies, waivers),
                       *broker_, std::chrono::sys_days{std::chrono::year{2026} / 11 / 1}, kAtStart);
    ASSERT_NE(loaded_.plan, nullptr) << loaded_.diagnostics.render();
  }
  /// A line of a request that was over at `second`, after `took_us`.
  static std::string line(std::string_view client, double second, std::uint64_t took_us = 100,
                          std::string_view path = "/api/x") {
    return fmt::format(
        R"({{"time":"2026-11-23T20:15:{:09.6f}Z","kind":"request","client":"{}","method":"GET",)"
        R"("host":"a.example","path":"{}","status":204,"total_us":{}}})",
        second, client, path, took_us);
  }

  std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  LoadResult loaded_;
};

TEST_F(Simulation, TellsWhomWhichLineRefuses) {
  plan("rate_limit: { rate: 1/s, burst: 2 }");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  for (int i = 0; i < 5; ++i) simulation.add(line("192.0.2.1", 10.0 + i * 0.01));
  simulation.add(line("192.0.2.2", 10.0));
  simulation.add(line("192.0.2.1", 11.5));
  simulation.add(line("192.0.2.1", 12, 100, "/elsewhere"));
  simulation.add(R"({"time":"2026-11-23T20:15:00.000000Z","kind":"connection","peer":"x"})");
  simulation.add("192.0.2.1 - - [23/Nov/2026] \"GET / HTTP/1.1\" 200");
  const SimulationReport report = simulation.run();
  EXPECT_EQ(report.requests, 7U);
  EXPECT_EQ(report.refused, 3U);
  EXPECT_EQ(report.unrouted, 1U);
  EXPECT_EQ(report.unreadable, 1U);
  ASSERT_EQ(report.limits.size(), 1U);
  EXPECT_EQ(report.limits[0].route, "api");
  EXPECT_EQ(report.limits[0].rule, "rate-limited");
  EXPECT_EQ(report.limits[0].line, "test.yaml:10");
  EXPECT_EQ(report.limits[0].refused, 3U);
  EXPECT_EQ(report.limits[0].clients, 1U);
  ASSERT_EQ(report.clients.size(), 1U);
  EXPECT_EQ(report.clients[0].client.to_string(), "192.0.2.1");
  EXPECT_EQ(report.clients[0].requests, 6U);
}

TEST_F(Simulation, RequestsAtATimeLastAsLongAsTheLogSays) {
  plan("concurrency: { limit: 1 }");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  simulation.add(line("192.0.2.1", 13, 2'000'000));  // from 11 to 13
  simulation.add(line("192.0.2.1", 12, 500'000));    // from 11.5 to 12: beside the first
  simulation.add(line("192.0.2.1", 14, 900'000));    // from 13.1 to 14
  const SimulationReport report = simulation.run();
  EXPECT_EQ(report.refused, 1U);
  ASSERT_EQ(report.limits.size(), 1U);
  EXPECT_EQ(report.limits[0].rule, "concurrency-limited");
}

TEST_F(Simulation, ClassesCountApart) {
  plan(R"(rate_limit:
      rate: 1/h
      classes:
        - { name: partners, networks: [198.51.100.0/24], rate: 1/h, burst: 3 })");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  for (int i = 0; i < 5; ++i) {
    simulation.add(line("192.0.2.1", 10.0 + i));
    simulation.add(line("198.51.100.1", 10.0 + i));
  }
  const SimulationReport report = simulation.run();
  EXPECT_EQ(report.refused, 6U);
  ASSERT_EQ(report.limits.size(), 2U);
  EXPECT_EQ(report.limits[0].limit_class, "");
  EXPECT_EQ(report.limits[0].refused, 4U);
  EXPECT_EQ(report.limits[1].limit_class, "partners");
  EXPECT_EQ(report.limits[1].refused, 2U);
  EXPECT_EQ(report.limits[1].line, "test.yaml:13");
}

TEST_F(Simulation, PreflightsCountWhereTheLogSaysTheyWent) {
  plan(
      "cors: { origins: [\"https://app.example.com\"] }\n"
      "    rate_limit: { rate: 1/s, burst: 2 }");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  const auto preflight = [](std::string_view route) {
    std::string text = line("192.0.2.1", 10.0);
    text.replace(text.find("\"GET\""), 5, "\"OPTIONS\"");
    return text.insert(1, fmt::format(R"("route":"{}",)", route));
  };
  for (int i = 0; i < 3; ++i) simulation.add(preflight("api"));
  simulation.add(preflight("gone"));
  simulation.add(line("192.0.2.1", 10.0));
  const SimulationReport report = simulation.run();
  EXPECT_EQ(report.requests, 4U);
  EXPECT_EQ(report.refused, 2U);
  EXPECT_EQ(report.unrouted, 1U);
}

TEST_F(Simulation, LimitsInShadowModeCountAsRefusing) {
  plan("rate_limit: { rate: 1/s }", R"(waivers:
  - rule: policy-observed
    on: routes.api.rate_limit
    reason: trying it out
    owner: ops@example.com
    expires: 2026-11-20
)");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  for (int i = 0; i < 3; ++i) simulation.add(line("192.0.2.1", 10.0));
  EXPECT_EQ(simulation.run().refused, 2U);
}

TEST_F(Simulation, LinesThatAreNoRequestsAreCounted) {
  plan("rate_limit: { rate: 1/s }");
  LimitSimulation simulation(*loaded_.plan, loaded_.config);
  const char* const lines[] = {
      "{",
      "[]",
      "{}",
      R"({"time":"2026-13-23T20:15:00.000000Z","client":"192.0.2.1","method":"GET","total_us":1})",
      R"({"time":"2026-11-23T20:15:00.000000Z","client":"nobody","method":"GET","total_us":1})",
      R"({"time":"2026-11-23T20:15:00.000000Z","client":"192.0.2.1","method":"GET","total_us":-1})",
      R"({"time":"2026-11-23T20:15:0-.000000Z","client":"192.0.2.1","method":"GET","total_us":1})",
  };
  for (const char* text : lines) simulation.add(text);
  EXPECT_EQ(simulation.run().unreadable, std::size(lines));
}

}  // namespace
}  // namespace merlon::gateway
