#include <gtest/gtest.h>

#include "config/tree.h"
#include "policy/concurrency.h"
#include "policy/rate_limit.h"
#include "policy/test_context.h"

namespace merlon::policy {
namespace {

using Kind = Decision::Kind;

struct Both {
  std::vector<RateLimitConfig> rate_limit;
  std::vector<ConcurrencyConfig> concurrency;
};

const config::Object<Both>& schema() {
  static const auto schema =
      config::Object<Both>("route", "For tests.")
          .field("rate_limit", &Both::rate_limit, rate_limit_type(), "Rates.")
          .field("concurrency", &Both::concurrency, concurrency_type(), "Concurrency.")
          .check([](const Both& both, config::Reader& reader) {
            check_rate_limits(both.rate_limit, reader);
            check_concurrency(both.concurrency, reader);
          });
  return schema;
}

/// The configuration of `yaml`, and the first error it has.
std::pair<Both, std::string> read(const std::string& yaml) {
  Diagnostics diagnostics;
  const auto tree = config::Tree::parse(
      std::make_shared<Source>(Source{.path = "test.yaml", .text = yaml}), {}, diagnostics);
  config::Reader reader(diagnostics);
  Both both;
  if (tree) static_cast<void>(schema().read(tree->root(), both, reader));
  diagnostics.sort();
  return {both, diagnostics.ok() ? std::string() : diagnostics.render()};
}

RateLimit limits(const std::string& yaml, std::string_view place = "routes.r.rate_limit") {
  auto [both, error] = read(yaml);
  EXPECT_EQ(error, "");
  return RateLimit(both.rate_limit, place);
}

Concurrency at_a_time(const std::string& yaml) {
  auto [both, error] = read(yaml);
  EXPECT_EQ(error, "");
  return Concurrency(both.concurrency, "routes.r.concurrency");
}

// ---- What is accepted is effective. ----

struct Refused {
  const char* name;
  const char* yaml;
  const char* says;
};
constexpr Refused kRefused[] = {
    {"no_rate", "rate_limit: { burst: 5 }", "rate"},
    {"no_unit", "rate_limit: { rate: 10 }", "rate"},
    {"zero_rate", "rate_limit: { rate: 0/s }", "rate"},
    {"burst_below_one", "rate_limit: { rate: 10/s, burst: 0 }", "burst"},
    {"rate_too_high", "rate_limit: { rate: 1000001/s }", "at most 1000000/s"},
    {"burst_of_years", "rate_limit: { rate: 1/h, burst: 1000 }", "32 days"},
    {"outdone_by_the_route_too",
     "rate_limit: [{ rate: 5/s, per: identity }, { rate: 1/s, per: route }]", "limits nothing"},
    {"shared_delay", "rate_limit: { rate: 1/s, burst: 5, shared: true, delay: true }",
     "do not go together"},
    {"shared_too_fast", "rate_limit: { rate: 100001/s, shared: true }", "at most 100000/s"},
    {"unknown_key", "rate_limit: { rate: 1/s, bursts: 4 }", "bursts"},
    {"empty_list", "rate_limit: []", "1"},
    {"delays_nothing", "rate_limit: { rate: 1/s, delay: true }", "delays nothing"},
    {"waits_too_long", "rate_limit: { rate: 1/s, burst: 32, delay: true }", "31 s"},
    {"twice", "rate_limit: [{ rate: 1/s }, { rate: 60/min }]", "limits nothing"},
    {"outdone_by_a_stricter_one", "rate_limit: [{ rate: 5/s, burst: 9 }, { rate: 5/s, burst: 8 }]",
     "limits nothing"},
    {"outdone_by_the_route", "rate_limit: [{ rate: 5/s, burst: 9 }, { rate: 1/s, per: route }]",
     "limits nothing"},
    {"places_0", "concurrency: { limit: 0 }", "limit"},
    {"places_without_number", "concurrency: { per: route }", "limit"},
    {"places_twice", "concurrency: [{ limit: 4 }, { limit: 5 }]", "limits nothing"},
    {"places_outdone_by_the_route", "concurrency: [{ limit: 4 }, { limit: 4, per: route }]",
     "limits nothing"},
};

class RefusedLimits : public testing::TestWithParam<Refused> {};
TEST_P(RefusedLimits, AreErrors) {
  const std::string error = read(GetParam().yaml).second;
  EXPECT_NE(error.find(GetParam().says), std::string::npos) << error;
}
INSTANTIATE_TEST_SUITE_P(Limits, RefusedLimits, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

TEST(LimitConfig, TakesLimitsThatEachHaveAnEffect) {
  for (const char* yaml : {
           "rate_limit: { rate: 10/s, burst: 20, per: client }",
           "rate_limit: [{ rate: 10/s, burst: 5 }, { rate: 100/min, burst: 100 }]",
           "rate_limit: [{ rate: 10/s, burst: 5 }, { rate: 10/s, burst: 50, per: route }]",
           "rate_limit: [{ rate: 10/s, burst: 5 }, { rate: 20/s, burst: 10, delay: true }]",
           "rate_limit: { rate: 100000/month, burst: 100000 }",
           "rate_limit: [{ rate: 10/s }, { rate: 10/s, per: identity }]",
           "concurrency: { limit: 20, per: client }",
           "concurrency: [{ limit: 20 }, { limit: 21, per: route }]",
       }) {
    EXPECT_EQ(read(yaml).second, "") << yaml;
  }
}

// ---- Rates. ----

TEST(RateLimit, RefusesBeyondTheBurstAndTellsWhenToComeBack) {
  const RateLimit policy = limits("rate_limit: { rate: 2/s, burst: 3 }");
  TestRequest request;
  for (const char* left : {"\"client\";r=2;t=1", "\"client\";r=1;t=1", "\"client\";r=0;t=1"}) {
    ASSERT_EQ(request.ask(policy).kind, Kind::kNext);
    EXPECT_EQ(request.field("RateLimit"), left);
    EXPECT_EQ(request.field("RateLimit-Policy"), "\"client\";q=3;w=2");
    EXPECT_EQ(request.field("Retry-After"), "");
  }
  const Decision refused = request.ask(policy);
  ASSERT_EQ(refused.kind, Kind::kRefuse);
  EXPECT_EQ(refused.refusal.status, 429U);
  EXPECT_EQ(rule_name(refused.refusal.error.code), "rate-limited");
  EXPECT_EQ(refused.refusal.step, "rate_limit");
  ASSERT_NE(refused.refusal.line, nullptr);
  EXPECT_EQ(refused.refusal.line->file_line(), "test.yaml:1");
  EXPECT_EQ(request.field("Retry-After"), "1");
  EXPECT_EQ(request.field("RateLimit"), "\"client\";r=0;t=1");
  request.now += seconds{1};
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext) << "whoever came back as told gets in";
}

TEST(RateLimit, PreflightsCount) {
  const RateLimit policy = limits("rate_limit: { rate: 1/min }");
  TestRequest request;
  request.preflight = true;
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  request.preflight = false;
  EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
}

TEST(RateLimit, ARouteCountsEveryone) {
  const RateLimit policy = limits("rate_limit: { rate: 1/min, burst: 2, per: route }");
  TestRequest request;
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  request.from("2001:db8::1");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  request.from("198.51.100.1");
  EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
  EXPECT_EQ(request.field("Retry-After"), "60");
}

TEST(RateLimit, OneClientCannotUseUpWhatAllShare) {
  const RateLimit policy =
      limits("rate_limit: [{ rate: 1/min, burst: 10, per: route }, { rate: 1/min, burst: 2 }]");
  TestRequest request;
  for (int i = 0; i < 1000; ++i) static_cast<void>(request.ask(policy));
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client\";q=2;w=120, \"route\";q=10;w=600");
  request.from("198.51.100.1");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext) << "2 of the route's 10 are gone, not 1000";
}

TEST(RateLimit, WhatAFastLimitRefusesCostsTheSlowOneNothing) {
  const RateLimit policy =
      limits("rate_limit: [{ rate: 100/h, burst: 100 }, { rate: 10/s, burst: 5 }]");
  TestRequest request;
  std::size_t admitted = 0;
  for (int i = 0; i < 10'000; ++i) {
    request.now += milliseconds{1};
    admitted += request.ask(policy).kind == Kind::kNext ? 1 : 0;
  }
  EXPECT_EQ(admitted, 100U) << "5 at once and 10/s for 10 s, then the hour's limit holds";
}

TEST(RateLimit, TellsOfTheScarcest) {
  const RateLimit policy =
      limits("rate_limit: [{ rate: 100/h, burst: 3 }, { rate: 10/s, burst: 2 }]");
  TestRequest request;
  ASSERT_EQ(request.ask(policy).kind, Kind::kNext);
  EXPECT_EQ(request.field("RateLimit"), "\"client\";r=1;t=1");
  for (int i = 0; i < 2; ++i) {
    request.now += seconds{1};
    ASSERT_EQ(request.ask(policy).kind, Kind::kNext);
  }
  EXPECT_EQ(request.field("RateLimit"), "\"client-2\";r=0;t=34");
}

TEST(RateLimit, DelaysABurstAndRefusesBeyondIt) {
  const RateLimit policy = limits("rate_limit: { rate: 10/s, burst: 4, delay: true }");
  TestRequest request;
  ASSERT_EQ(request.ask(policy).kind, Kind::kNext);
  for (const int ms : {100, 200, 300}) {
    const Decision decision = request.ask(policy);
    ASSERT_EQ(decision.kind, Kind::kDelay);
    EXPECT_EQ(decision.delay, milliseconds{ms});
  }
  EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
}

std::shared_ptr<const identity::Identity> someone(std::string_view subject,
                                                  std::string_view client_id = "") {
  return identity::Identity::make({.subject = subject, .client_id = client_id});
}

TEST(RateLimit, AnIdentityIsCountedFromWhereverItComes) {
  auto [both, error] = read("rate_limit: [{ rate: 1/h, per: identity }, { rate: 1/h, burst: 9 }]");
  ASSERT_EQ(error, "");
  const RateLimit by_client(both.rate_limit, "routes.r.rate_limit");
  const RateLimit policy(both.rate_limit, "routes.r.rate_limit", Step::kIdentityLimit);
  EXPECT_EQ(by_client.rules().size(), 1U);
  EXPECT_EQ(policy.rules().size(), 1U);
  EXPECT_EQ(policy.step(), Step::kIdentityLimit);
  TestRequest request;
  request.identity = someone("ann");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  request.from("198.51.100.1");
  EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"identity\";q=1;w=3600");
  request.identity = someone("bob");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  request.identity = someone("", "ann");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext) << "a client is not the subject of its name";
  request.identity = someone("", "ann");
  EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
}

TEST(RateLimit, A77_WhateverANameHoldsItIsOneEntryOfBoundedSize) {
  auto [both, error] = read("rate_limit: { rate: 1/h, per: identity }");
  const RateLimit policy(both.rate_limit, "routes.r.rate_limit", Step::kIdentityLimit);
  TestRequest request;
  const std::size_t bytes = request.tables->limits.bytes();
  for (const std::string& name : {std::string("a\r\nb"), std::string("a b"), std::string("a"),
                                  std::string(60'000, 'x'), std::string(60'000, 'x') + "y"}) {
    request.identity = someone(name);
    EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
    EXPECT_EQ(request.ask(policy).kind, Kind::kRefuse);
  }
  EXPECT_EQ(request.tables->limits.bytes(), bytes);
}

TEST(RateLimit, KeepsItsCountsWhenTheRuleStays) {
  TestRequest request;
  const std::string yaml = "rate_limit: { rate: 1/min }";
  EXPECT_EQ(request.ask(limits(yaml)).kind, Kind::kNext);
  EXPECT_EQ(request.ask(limits(yaml)).kind, Kind::kRefuse) << "compiled anew, the same counts";
  EXPECT_EQ(request.ask(limits(yaml, "routes.other.rate_limit")).kind, Kind::kNext);
  EXPECT_EQ(request.ask(limits("rate_limit: { rate: 2/min }")).kind, Kind::kNext);
}

// ---- Requests at a time. ----

TEST(Concurrency, RefusesWhileThePlacesAreTaken) {
  const Concurrency policy = at_a_time("concurrency: { limit: 2 }");
  TestRequest first;
  TestRequest second;
  TestRequest third;
  second.tables = first.tables;
  third.tables = first.tables;
  EXPECT_EQ(first.ask(policy).kind, Kind::kNext);
  EXPECT_EQ(second.ask(policy).kind, Kind::kNext);
  const Decision refused = third.ask(policy);
  ASSERT_EQ(refused.kind, Kind::kRefuse);
  EXPECT_EQ(refused.refusal.status, 429U);
  EXPECT_EQ(rule_name(refused.refusal.error.code), "concurrency-limited");
  EXPECT_EQ(third.field("Retry-After"), "1");
  first.holds.release();
  EXPECT_EQ(third.ask(policy).kind, Kind::kNext);
}

TEST(Concurrency, AClientThatIsRefusedTakesNoPlaceOfTheRoute) {
  const Concurrency policy =
      at_a_time("concurrency: [{ limit: 2, per: route }, { limit: 1, per: client }]");
  TestRequest first;
  TestRequest again;
  TestRequest other("198.51.100.1");
  TestRequest last("203.0.113.1");
  again.tables = first.tables;
  other.tables = first.tables;
  last.tables = first.tables;
  EXPECT_EQ(first.ask(policy).kind, Kind::kNext);
  EXPECT_EQ(again.ask(policy).kind, Kind::kRefuse);
  EXPECT_EQ(other.ask(policy).kind, Kind::kNext);
  EXPECT_EQ(last.ask(policy).kind, Kind::kRefuse) << "the route has no third place";
  last.holds.release();
  other.holds.release();
  EXPECT_EQ(last.ask(policy).kind, Kind::kNext);
}

}  // namespace
}  // namespace merlon::policy
