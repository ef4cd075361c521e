#include "telemetry/metrics.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "base/error.h"
#include "telemetry/families.h"
#include "telemetry/health_families.h"
#include "telemetry/identity_families.h"
#include "telemetry/testing.h"

namespace merlon::telemetry {
namespace {

class MetricsTest : public testing::Test {
 protected:
  /// True when a scrape has this very line.
  [[nodiscard]] bool says(const std::string& line) const {
    return ("\n" + metrics_.scrape()).contains("\n" + line + "\n");
  }
  ManualClock clock_{WallTime{seconds{1'700'000'000}}};
  Metrics metrics_{2, clock_};
};

TEST_F(MetricsTest, AddsUpTheWorkers) {
  for (std::size_t i = 0; i < 2; ++i) {
    WorkerCounters& worker = metrics_.worker(i);
    worker.connections_accepted.add(3);
    worker.connections_active.up();
    worker.refusals.count(code::kNoRoute);
    worker.handshake_failures.count(code::kTlsUnknownName);
    worker.received_bytes.add(1000);
  }
  metrics_.worker(0).connections_active.down();
  EXPECT_TRUE(says("merlon_connections_total 6"));
  EXPECT_TRUE(says("merlon_connections_active 1"));
  EXPECT_TRUE(says("merlon_refusals_total{rule=\"no-route\"} 2"));
  EXPECT_TRUE(says("merlon_refusals_total{rule=\"bad-host\"} 0")) << "known before it happens";
  EXPECT_TRUE(says("merlon_tls_handshake_failures_total{reason=\"tls-unknown-server-name\"} 2"));
  EXPECT_TRUE(says("merlon_received_bytes_total 2000"));
}

TEST_F(MetricsTest, CountsRequestsByRouteClassAndTime) {
  const std::uint32_t slot = metrics_.route_slot("orders");
  metrics_.worker(0).count_request(slot, 200, microseconds{900});
  metrics_.worker(1).count_request(slot, 204, milliseconds{1});
  metrics_.worker(1).count_request(Metrics::kOther, 404, milliseconds{2});
  metrics_.worker(1).count_request(slot, 0, seconds{11});
  EXPECT_TRUE(says("merlon_requests_total{class=\"2xx\"} 2"));
  EXPECT_TRUE(says("merlon_requests_total{class=\"none\"} 1"));
  EXPECT_TRUE(says("merlon_route_requests_total{route=\"orders\",class=\"2xx\"} 2"));
  EXPECT_TRUE(says("merlon_route_requests_total{route=\"other\",class=\"4xx\"} 1"));
  EXPECT_TRUE(says("merlon_request_duration_seconds_bucket{le=\"0.001\"} 2"));
  EXPECT_TRUE(says("merlon_request_duration_seconds_bucket{le=\"0.0025\"} 3"));
  EXPECT_TRUE(says("merlon_request_duration_seconds_bucket{le=\"10\"} 3"));
  EXPECT_TRUE(says("merlon_request_duration_seconds_bucket{le=\"+Inf\"} 4"));
  EXPECT_TRUE(says("merlon_request_duration_seconds_count 4"));
}

TEST_F(MetricsTest, SlotsOutliveReloadsAndAreBounded) {
  const std::uint32_t first = metrics_.route_slot("a");
  EXPECT_EQ(metrics_.route_slot("a"), first);
  EXPECT_NE(metrics_.route_slot("b"), first);
  for (std::uint32_t i = 0; i < SlotArray<Counter>::kSlotsMax; ++i)
    static_cast<void>(metrics_.upstream_slot(std::to_string(i)));
  EXPECT_EQ(metrics_.upstream_slot("one too many"), Metrics::kOther);
  metrics_.worker(0).requests_by_route.at(UINT32_MAX).count(200);  // lands in "other"
  EXPECT_TRUE(says("merlon_route_requests_total{route=\"other\",class=\"2xx\"} 1"));
}

TEST_F(MetricsTest, NamesCannotBreakTheFormat) {
  const std::uint32_t slot = metrics_.route_slot("a\"b\\c\nd");
  metrics_.worker(0).count_request(slot, 200, milliseconds{1});
  EXPECT_TRUE(says(R"(merlon_route_requests_total{route="a\"b\\c\nd",class="2xx"} 1)"));
}

TEST_F(MetricsTest, ShowsTheStateOfTheProcess) {
  const std::uint32_t waiver = metrics_.waiver_slot("upstream-cleartext", "upstreams.legacy");
  metrics_.worker(1).waiver_uses.at(waiver).add();
  metrics_.worker(0).upstreams.at(metrics_.upstream_slot("orders")).retries.add(4);
  metrics_.set_config("abc123", WallTime{seconds{1'700'000'001}});
  metrics_.count_reload_failure();
  metrics_.set_bad_files(2);
  metrics_.set_certificates({{.listener = "public",
                              .name = "api.test",
                              .key_type = "EC",
                              .not_after = WallTime{seconds{1'700'000'060}}}});
  metrics_.set_waivers({{.rule = "cert-expired",
                         .on = "listeners.api",
                         .counted = false,
                         .ends = WallTime{seconds{1'700'000'090}}}});
  metrics_.set_endpoint_source([] {
    return std::vector<EndpointHealth>{{.upstream = "orders", .endpoint = "10.0.0.1:80"}};
  });
  metrics_.set_access_log_drops([] { return std::uint64_t{7}; });
  io::LoopCounters loop;
  loop.busy_ns = 1'500'000'000;
  metrics_.set_loop(1, &loop);
  EXPECT_TRUE(
      says("merlon_waiver_uses_total{rule=\"upstream-cleartext\",on=\"upstreams.legacy\"} 1"));
  EXPECT_TRUE(says("merlon_upstream_retries_total{upstream=\"orders\"} 4"));
  EXPECT_TRUE(says("merlon_config_info{hash=\"abc123\"} 1"));
  EXPECT_TRUE(says("merlon_config_reload_failures_total 1"));
  EXPECT_TRUE(says("merlon_config_bad_files 2"));
  EXPECT_TRUE(
      says("merlon_certificate_expiry_seconds{listener=\"public\",certificate=\"api.test\",key="
           "\"EC\"} 60"));
  EXPECT_TRUE(
      says("merlon_waiver_expiry_seconds{rule=\"cert-expired\",on=\"listeners.api\","
           "of=\"configuration\"} 90"));
  EXPECT_TRUE(
      says("merlon_upstream_endpoint_healthy{upstream=\"orders\",endpoint=\"10.0.0.1:80\"} 0"));
  EXPECT_TRUE(says("merlon_access_log_dropped_lines_total 7"));
  EXPECT_TRUE(says("merlon_loop_busy_seconds_total{worker=\"1\"} 1.5"));
}

TEST_F(MetricsTest, OtherRoomsAddTheirs) {
  metrics_.add_source([](std::vector<prometheus::MetricFamily>& out) {
    Family(out, "merlon_extra", "More.", MetricType::Gauge).add(3);
  });
  EXPECT_TRUE(says("merlon_extra 3"));
}

TEST(Family, WithoutValuesLeavesOthersAlone) {
  std::vector<prometheus::MetricFamily> out;
  {
    const Family empty(out, "empty", "", MetricType::Gauge);
    Family full(out, "full", "", MetricType::Gauge);
    full.add(1);
  }
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].name, "full");
}

TEST_F(MetricsTest, MayBeScrapedWhileWorkersCount) {
  std::thread worker([this] {
    for (int i = 0; i < 100'000; ++i)
      metrics_.worker(0).count_request(Metrics::kOther, 200, milliseconds{i % 20});
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(metrics_.scrape().empty());
    static_cast<void>(metrics_.route_slot(std::to_string(i)));
  }
  worker.join();
  EXPECT_TRUE(says("merlon_requests_total{class=\"2xx\"} 100000"));
}

TEST(ProcessStats, SeesThisProcess) {
  const ProcessStats stats;
  ASSERT_TRUE(stats.resident_bytes().has_value());
  EXPECT_GT(*stats.resident_bytes(), 1'000'000U);
  const auto before = stats.open_fds();
  ASSERT_TRUE(before.has_value());
  const io::Fd one(::dup(0));
  EXPECT_EQ(*stats.open_fds(), *before + 1);
  EXPECT_GE(ProcessStats::fds_max(), *before);
}

/// Every family that a scrape can show stands in the reference, and nothing else does.
TEST_F(MetricsTest, AreTheOnesThatTheReferenceLists) {
  metrics_.worker(0).count_request(metrics_.route_slot("r"), 200, milliseconds{1});
  static_cast<void>(metrics_.waiver_slot("rule", "on"));
  metrics_.worker(0).observed.count(code::kNoRoute);
  metrics_.worker(0).shared.failures.count(code::kTimedOut);
  static_cast<void>(metrics_.upstream_slot("u"));
  metrics_.set_config("h", {});
  metrics_.set_certificates({{.listener = "l", .name = "c", .key_type = "k"}});
  metrics_.set_waivers({{.rule = "r", .on = "o"}});
  metrics_.set_endpoint_source([] { return std::vector<EndpointHealth>(1); });
  metrics_.set_access_log_drops([] { return std::uint64_t{0}; });
  metrics_.set_event_drops([] { return std::uint64_t{0}; });
  metrics_.set_load([] { return LoadGauges{}; });
  const io::LoopCounters loop;
  metrics_.set_loop(0, &loop);
  metrics_.add_source([](auto& families) {
    add_identity_families(
        {{.name = "issuer", .fetched = 1}, {.name = "asked", .introspects = true}}, families);
    add_health_families({{.upstream = "u", .results = {{"passed", 1}}}}, families);
  });
  std::set<std::string> shown;
  for (const auto& family : metrics_.Collect())
    EXPECT_TRUE(shown.insert(family.name).second) << family.name << " stands twice";
  std::set<std::string> listed;
  std::istringstream page(test::read_all(MERLON_SOURCE_DIR "/docs/metrics.md"));
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| `merlon_")) listed.insert(line.substr(3, line.find('`', 3) - 3));
  }
  EXPECT_EQ(shown, listed);
}

}  // namespace
}  // namespace merlon::telemetry
