#include "upstream/health_checks.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "upstream/test_pair_broker.h"

namespace merlon::upstream {
namespace {

// Ports that refuse; all others are silent.
constexpr std::uint16_t kDead = 1;
constexpr std::uint16_t kAlsoDead = 2;
constexpr std::uint16_t kSilent = 3;

Endpoint endpoint(std::uint16_t port) {
  return {.address = *IpAddress::parse("192.0.2.1"), .port = port};
}

std::shared_ptr<const Upstream> upstream(const std::string& name,
                                         const std::vector<std::uint16_t>& ports,
                                         const std::string& question = "one") {
  auto made = std::make_shared<Upstream>();
  made->name = name;
  for (const std::uint16_t port : ports) made->endpoints.push_back(endpoint(port));
  made->health.emplace();
  made->health->path = "/healthz";
  made->health->interval = made->health->timeout = std::chrono::minutes{10};
  made->health->identity = question;
  return made;
}

class Checks : public testing::Test {
 protected:
  Checks() {
    broker.refuse(kDead);
    broker.refuse(kAlsoDead);
    events = std::move(*telemetry::EventLog::open(broker, clock, {.target = "/dev/null"}));
    checks = std::make_unique<HealthChecks>(broker, clock, *events);
  }
  std::shared_ptr<const UpstreamHealth> adopt(std::shared_ptr<const Upstream> one) {
    return checks->adopt({std::move(one)}).front();
  }
  [[nodiscard]] std::uint64_t count(const std::string& name, std::string_view result) const {
    for (const auto& figures : checks->figures()) {
      if (figures.upstream != name) continue;
      for (const auto& [each, n] : figures.results) {
        if (each == result) return n;
      }
    }
    ADD_FAILURE() << "nothing is counted for " << name;
    return 0;
  }
  /// For what the thread does; a test that passes never waits for long.
  template <class Condition>
  static void wait_until(Condition condition) {
    const Instant end = SystemClock().now() + seconds{60};
    while (!condition() && SystemClock().now() < end) std::this_thread::sleep_for(milliseconds{1});
    EXPECT_TRUE(condition());
  }

  SystemClock clock;
  PairBroker broker;
  std::unique_ptr<telemetry::EventLog> events;
  std::unique_ptr<HealthChecks> checks;
};

TEST_F(Checks, WithoutAnythingToCheckNothingIsAsked) {
  auto plain = std::make_shared<Upstream>(*upstream("plain", {kDead}));
  plain->health.reset();
  auto closed = std::make_shared<Upstream>(*upstream("closed", {kDead}));
  closed->closed = true;
  const auto found = checks->adopt({plain, closed});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0], nullptr);
  EXPECT_EQ(found[1], nullptr) << "nobody may connect to it";
  EXPECT_TRUE(checks->endpoints().empty());
  EXPECT_TRUE(checks->figures().empty());
  EXPECT_TRUE(broker.asked().empty());
}

TEST_F(Checks, EachEndpointIsOneHoweverOftenItsWeightNamesIt) {
  const auto health = adopt(upstream("orders", {kDead, kSilent, kDead, kDead}));
  EXPECT_EQ(health->endpoints().size(), 2U);
  EXPECT_EQ(checks->endpoints().size(), 2U);
  wait_until([&] { return health->in_use() == 1; });
  EXPECT_EQ(count("orders", "unreachable"), 1U);
  EXPECT_TRUE(checks->without_endpoint().empty());
}

TEST_F(Checks, WithoutAnyEndpointTheUpstreamIsNamed) {
  const auto health = adopt(upstream("orders", {kDead, kAlsoDead}));
  wait_until([&] { return health->none_in_use(); });
  EXPECT_EQ(checks->without_endpoint(), std::vector<std::string>{"orders"});
}

TEST_F(Checks, WhatIsKnownOutlivesAReloadOfTheSameQuestion) {
  const auto before = adopt(upstream("orders", {kDead}));
  wait_until([&] { return before->none_in_use(); });
  const auto after = adopt(upstream("orders", {kDead, kAlsoDead}));
  EXPECT_EQ(after->find(endpoint(kDead)), before->find(endpoint(kDead)));
  EXPECT_FALSE(after->find(endpoint(kDead))->in_use());
  wait_until([&] { return after->none_in_use(); });
  EXPECT_EQ(broker.asked(), (std::vector<std::uint16_t>{kDead, kAlsoDead}));
}

TEST_F(Checks, AnotherQuestionBeginsAnew) {
  const auto before = adopt(upstream("orders", {kDead}));
  wait_until([&] { return before->none_in_use(); });
  const auto after = adopt(upstream("orders", {kDead}, "another"));
  EXPECT_NE(after->find(endpoint(kDead)), before->find(endpoint(kDead)));
  wait_until([&] { return after->none_in_use(); });
  EXPECT_EQ(count("orders", "unreachable"), 2U) << "counts go on";
}

TEST_F(Checks, WhatWentAwayIsForgotten) {
  const auto before = adopt(upstream("orders", {kDead}));
  wait_until([&] { return before->none_in_use(); });
  EXPECT_TRUE(checks->adopt({}).empty());
  EXPECT_TRUE(checks->endpoints().empty());
  EXPECT_TRUE(checks->without_endpoint().empty());
  const auto after = adopt(upstream("orders", {kDead}));
  wait_until([&] { return after->none_in_use(); });
  EXPECT_EQ(broker.asked().size(), 2U);
}

TEST_F(Checks, EndEvenWhileTheyWaitForAnAnswer) {
  auto second = std::make_shared<Upstream>(*upstream("h2", {kSilent}));
  second->protocol = Protocol::kHttp2;
  static_cast<void>(checks->adopt({upstream("h1", {kSilent}), second}));
  wait_until([&] { return broker.asked().size() == 2; });
  checks.reset();  // their time would be ten minutes
}

TEST_F(Checks, MayBeAskedWhileTheyAreMade) {
  auto often = std::make_shared<Upstream>(*upstream("orders", {kDead, kAlsoDead, kSilent}));
  often->health->interval = often->health->timeout = milliseconds{1};
  const auto health = adopt(often);
  std::thread reader([&] {
    for (int i = 0; i < 500; ++i) {
      static_cast<void>(checks->endpoints());
      static_cast<void>(checks->figures());
      static_cast<void>(checks->without_endpoint());
      static_cast<void>(health->in_use());
    }
  });
  for (int i = 0; i < 50; ++i) static_cast<void>(checks->adopt({often}));
  reader.join();
  wait_until([&] { return health->none_in_use(); });
  EXPECT_GE(count("orders", "timed_out"), 1U) << "of the silent one";
}

}  // namespace
}  // namespace merlon::upstream
