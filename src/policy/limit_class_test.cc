#include "policy/limit_class.h"

#include <gtest/gtest.h>

#include "config/tree.h"
#include "policy/rate_limit.h"
#include "policy/shared_limit.h"
#include "policy/test_context.h"

namespace merlon::policy {
namespace {

using Kind = Decision::Kind;

struct Limits {
  std::vector<RateLimitConfig> rate_limit;
};

const config::Object<Limits>& schema() {
  static const auto schema =
      config::Object<Limits>("route", "For tests.")
          .field("rate_limit", &Limits::rate_limit, rate_limit_type(), "Rates.")
          .check([](const Limits& all, config::Reader& reader) {
            check_rate_limits(all.rate_limit, reader);
          });
  return schema;
}

/// The limits of `yaml`, and the errors it has.
std::pair<Limits, std::string> read(const std::string& yaml) {
  Diagnostics diagnostics;
  const auto tree = config::Tree::parse(
      std::make_shared<Source>(Source{.path = "test.yaml", .text = "rate_limit: " + yaml}), {},
      diagnostics);
  config::Reader reader(diagnostics);
  Limits all;
  if (tree) static_cast<void>(schema().read(tree->root(), all, reader));
  diagnostics.sort();
  return {all, diagnostics.ok() ? std::string() : diagnostics.render()};
}

RateLimit limit(const std::string& yaml, Step step = Step::kClientLimit) {
  auto [all, error] = read(yaml);
  EXPECT_EQ(error, "");
  return RateLimit(all.rate_limit, "routes.r.rate_limit", step);
}

std::shared_ptr<const identity::Identity> someone(std::string_view subject,
                                                  std::string_view client_id = "") {
  return identity::Identity::make({.subject = subject, .client_id = client_id});
}

int passed(TestRequest& request, const Policy& policy, int count) {
  int out = 0;
  for (int i = 0; i < count; ++i) out += request.ask(policy).kind == Kind::kNext ? 1 : 0;
  return out;
}

// ---- What is accepted is effective. ----

struct Refused {
  const char* name;
  const char* classes;
  const char* says;
};
constexpr Refused kRefused[] = {
    {"no_rate", "[{ name: a, networks: [10.0.0.0/8] }]", "rate"},
    {"zero_rate", "[{ name: a, networks: [10.0.0.0/8], rate: 0/s }]", "rate"},
    {"rate_too_high", "[{ name: a, networks: [10.0.0.0/8], rate: 1000001/s }]",
     "at most 1000000/s"},
    {"burst_below_one", "[{ name: a, networks: [10.0.0.0/8], rate: 9/s, burst: 0 }]", "burst"},
    {"burst_of_years", "[{ name: a, networks: [10.0.0.0/8], rate: 1/h, burst: 1000 }]", "32 days"},
    {"nobody", "[{ name: a, rate: 9/s }]", "does not say who"},
    {"no_name", "[{ networks: [10.0.0.0/8], rate: 9/s }]", "name"},
    {"one_name_twice",
     "[{ name: a, networks: [10.0.0.0/8], rate: 9/s }, { name: a, networks: [11.0.0.0/8], rate: "
     "8/s }]",
     "`a`"},
    {"no_class", "[]", "1"},
    {"everyone", "[{ name: a, networks: [0.0.0.0/0], rate: 9/s }]", "everyone"},
    {"host_bits", "[{ name: a, networks: [10.0.0.1/8], rate: 9/s }]", "networks"},
    {"network_twice", "[{ name: a, networks: [10.0.0.0/8, 10.0.0.0/8], rate: 9/s }]",
     "listed in this class"},
    {"network_in_another", "[{ name: a, networks: [10.1.0.0/16, 10.0.0.0/8], rate: 9/s }]",
     "`10.1.0.0/16` is already listed in this class"},
    {"shadowed",
     "[{ name: a, networks: [10.0.0.0/8], rate: 9/s }, { name: b, networks: [10.1.0.0/16], rate: "
     "8/s }]",
     "`10.1.0.0/16` belongs to the class `a` already"},
    {"shadowed_in_part",
     "[{ name: a, networks: [10.0.0.0/8], rate: 9/s }, { name: b, networks: [11.0.0.0/8, "
     "10.0.0.0/8], rate: 8/s }]",
     "`10.0.0.0/8` belongs to the class `a` already"},
    {"as_the_limit", "[{ name: a, networks: [10.0.0.0/8], rate: 5/s }]", "changes nothing"},
    {"identity_of_a_client", "[{ name: a, identities: [ann], rate: 9/s }]", "per: identity"},
    {"unknown_key", "[{ name: a, networks: [10.0.0.0/8], rate: 9/s, per: route }]", "per"},
};

class RefusedClasses : public testing::TestWithParam<Refused> {};
TEST_P(RefusedClasses, AreErrors) {
  const std::string error =
      read(std::string("{ rate: 5/s, classes: ") + GetParam().classes + " }").second;
  EXPECT_NE(error.find(GetParam().says), std::string::npos) << error;
}
INSTANTIATE_TEST_SUITE_P(Classes, RefusedClasses, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

TEST(LimitClassConfig, AnIdentityIsOfOneClass) {
  const auto both = [](const char* first, const char* second) {
    return read(std::string("{ rate: 5/s, per: identity, classes: [{ name: a, rate: 9/s, ") +
                first + " }, { name: b, rate: 8/s, " + second + " }] }")
        .second;
  };
  EXPECT_NE(
      both("identities: [ann, bob]", "identities: [bob]").find("`bob` belongs to the class `a`"),
      std::string::npos);
  EXPECT_NE(both("identities: [ann, ann]", "identities: [bob]").find("listed in this class"),
            std::string::npos);
  // Whoever is of the second is of the first before.
  EXPECT_NE(both("identities: [bob]", "identities: [bob], networks: [10.0.0.0/8]").find("already"),
            std::string::npos);
  EXPECT_NE(both("networks: [10.0.0.0/8]", "identities: [bob], networks: [10.1.0.0/16]")
                .find("`10.1.0.0/16` belongs to the class `a` already"),
            std::string::npos);
  // The narrower one comes first: each has requests of its own.
  EXPECT_EQ(both("identities: [bob], networks: [10.0.0.0/8]", "identities: [bob]"), "");
  EXPECT_EQ(both("networks: [10.1.0.0/16]", "networks: [10.0.0.0/8]"), "");
  EXPECT_EQ(both("networks: [10.0.0.0/8]", "identities: [bob]"), "");
}

TEST(LimitClassConfig, AClassCountsWhenLimitsAreCompared) {
  // The stricter limit would make the looser one idle, were there no class that it lets through.
  EXPECT_NE(read("[{ rate: 9/s, burst: 9 }, { rate: 5/s, burst: 5 }]").second, "");
  EXPECT_EQ(read("[{ rate: 9/s, burst: 9 }, { rate: 5/s, burst: 5, classes: [{ name: a, networks: "
                 "[10.0.0.0/8], rate: 99/s, burst: 99 }] }]")
                .second,
            "");
  const char* const twice =
      "{ rate: 5/s, classes: [{ name: a, networks: [10.0.0.0/8], rate: 9/s }] }";
  EXPECT_NE(read(std::string("[") + twice + ", " + twice + "]").second.find("limits nothing"),
            std::string::npos);
  EXPECT_NE(read("[{ rate: 5/s, burst: 5, classes: [{ name: a, networks: [10.0.0.0/8], rate: 9/s, "
                 "burst: 9 }] }, { rate: 4/s }]")
                .second.find("limits nothing"),
            std::string::npos);
}

TEST(LimitClassConfig, DelaysThatAreTooLongAreErrorsInAClassToo) {
  EXPECT_NE(read("{ rate: 5/s, burst: 5, delay: true, classes: [{ name: a, networks: [10.0.0.0/8], "
                 "rate: 1/s, burst: 32 }] }")
                .second.find("31 s"),
            std::string::npos);
  EXPECT_NE(read("{ rate: 5/s, shared: true, classes: [{ name: a, networks: [10.0.0.0/8], rate: "
                 "100001/s }] }")
                .second.find("at most 100000/s"),
            std::string::npos);
}

// ---- What they do. ----

constexpr const char* kByNetwork =
    "{ rate: 1/h, burst: 2, classes: [{ name: office, networks: [10.1.0.0/16], rate: 1/h, burst: 4 "
    "}, { name: partners, networks: [10.0.0.0/8, 2001:db8::/32], rate: 1/h, burst: 6 }] }";

TEST(LimitClass, TheFirstThatFitsCounts) {
  const RateLimit policy = limit(kByNetwork);
  TestRequest request;
  EXPECT_EQ(passed(request, policy, 9), 2);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client\";q=2;w=7200");
  request.from("10.1.2.3");
  EXPECT_EQ(passed(request, policy, 9), 4);
  request.from("10.2.2.3");
  EXPECT_EQ(passed(request, policy, 9), 6);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client\";q=6;w=21600");
  request.from("10.2.2.4");
  EXPECT_EQ(passed(request, policy, 9), 6) << "each client of it has its own count";
  request.from("2001:db8::1");
  EXPECT_EQ(passed(request, policy, 9), 6);
  request.from("2001:db9::1");
  EXPECT_EQ(passed(request, policy, 9), 2);
}

TEST(LimitClass, ARefusalNamesItAndItsLine) {
  const RateLimit policy = limit(
      "\n  rate: 1/h\n  classes:\n  - { name: office, networks: [10.1.0.0/16], rate: 2/h }\n");
  TestRequest request;
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  const Decision outside = request.ask(policy);
  ASSERT_EQ(outside.kind, Kind::kRefuse);
  EXPECT_EQ(outside.refusal.limit_class, "");
  EXPECT_EQ(outside.refusal.line->line, 2U);
  request.from("10.1.0.1");
  EXPECT_EQ(request.ask(policy).kind, Kind::kNext);
  const Decision inside = request.ask(policy);
  ASSERT_EQ(inside.kind, Kind::kRefuse);
  EXPECT_EQ(inside.refusal.limit_class, "office");
  EXPECT_EQ(inside.refusal.line->line, 4U);
  EXPECT_EQ(request.field("Retry-After"), "1800");
}

TEST(LimitClass, AnIdentityIsOfItByItsSubjectOnly) {
  const RateLimit policy = limit(
      "{ rate: 1/h, per: identity, classes: [{ name: batch, identities: [svc-batch], rate: "
      "1/h, burst: 5 }] }",
      Step::kIdentityLimit);
  TestRequest request;
  request.identity = someone("svc-batch");
  EXPECT_EQ(passed(request, policy, 9), 5);
  request.identity = someone("ann");
  EXPECT_EQ(passed(request, policy, 9), 1);
  request.identity = someone("", "svc-batch");
  EXPECT_EQ(passed(request, policy, 9), 1) << "a client is not the subject of its name";
  request.identity = someone("svc-batch2");
  EXPECT_EQ(passed(request, policy, 9), 1);
}

TEST(LimitClass, WithBothARequestHasToBeOfBoth) {
  const RateLimit policy = limit(
      "{ rate: 1/h, per: identity, classes: [{ name: batch, identities: [svc-batch], "
      "networks: [10.0.0.0/8], rate: 1/h, burst: 5 }] }",
      Step::kIdentityLimit);
  TestRequest request("10.0.0.1");
  request.identity = someone("svc-batch");
  EXPECT_EQ(passed(request, policy, 9), 5);
  request.from("192.0.2.1");
  EXPECT_EQ(passed(request, policy, 9), 1) << "a stolen credential elsewhere";
  request.from("10.0.0.1");
  request.identity = someone("ann");
  EXPECT_EQ(passed(request, policy, 9), 1);
}

TEST(LimitClass, OfARouteIsOneCountForAllOfIt) {
  const RateLimit policy = limit(
      "{ rate: 1/h, burst: 3, per: route, classes: [{ name: a, networks: [10.0.0.0/8], rate: "
      "1/h, burst: 4 }] }");
  TestRequest request("10.0.0.1");
  EXPECT_EQ(passed(request, policy, 3), 3);
  request.from("10.0.0.2");
  EXPECT_EQ(passed(request, policy, 3), 1);
  request.from("192.0.2.1");
  EXPECT_EQ(passed(request, policy, 9), 3);
}

TEST(LimitClass, TwoLimitsWithClassesOfOneNameCountApart) {
  const RateLimit policy = limit(
      "[{ rate: 1/h, burst: 2, classes: [{ name: a, networks: [10.0.0.0/8], rate: 1/h, burst: "
      "4 }] }, { rate: 2/h, classes: [{ name: a, networks: [10.0.0.0/8], rate: 1/h, burst: 4 "
      "}] }]");
  TestRequest request("10.0.0.1");
  EXPECT_EQ(passed(request, policy, 9), 4);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client\";q=4;w=14400, \"client-2\";q=4;w=14400");
}

TEST(LimitClass, TwoLimitsOfTheSameNumbersCountApart) {
  const RateLimit policy = limit(
      "[{ rate: 1/h, burst: 4, classes: [{ name: a, networks: [10.0.0.0/8], rate: 9/s, burst: 99 "
      "}] }, "
      "{ rate: 1/h, burst: 4, classes: [{ name: b, networks: [11.0.0.0/8], rate: 9/s }] }]");
  TestRequest request("192.0.2.1");
  EXPECT_EQ(passed(request, policy, 9), 4);
  request.from("10.0.0.1");
  EXPECT_EQ(passed(request, policy, 9), 4) << "the other one's class does not help";
}

TEST(LimitClass, ChangingWhoIsOfItKeepsTheCounts) {
  TestRequest request("10.0.0.1");
  EXPECT_EQ(passed(request,
                   limit("{ rate: 1/h, classes: [{ name: a, networks: [10.0.0.0/8], rate: "
                         "2/h }] }"),
                   1),
            1);
  EXPECT_EQ(request
                .ask(limit("{ rate: 1/h, classes: [{ name: a, networks: [10.0.0.0/8, 11.0.0.0/8], "
                           "rate: 2/h }] }"))
                .kind,
            Kind::kRefuse);
  EXPECT_EQ(passed(request, limit("{ rate: 1/h }"), 9), 1) << "of the limit itself nothing is used";
}

TEST(LimitClass, OfASharedLimitHasARuleOfItsOwn) {
  auto [all, error] = read(kByNetwork);
  ASSERT_EQ(error, "");
  const auto rule = [](std::uint32_t burst, std::uint64_t scope) {
    return state::SharedRule{.gcra = state::Gcra::of({.events = 1, .per = seconds{3600}}, burst),
                             .share = {},
                             .scope = scope};
  };
  SharedLimit::Setup setup{.name = "rate_limit",
                           .label = "client-shared",
                           .per = LimitPer::kClient,
                           .rule = rule(2, 1),
                           .classes = {},
                           .at = all.rate_limit.front().at};
  setup.classes.push_back({.who = LimitClass(all.rate_limit.front().classes.front()),
                           .rule = rule(4, 2),
                           .policy_field = {}});
  const SharedLimit policy(std::move(setup));
  TestRequest request;
  EXPECT_EQ(passed(request, policy, 9), 2);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client-shared\";q=2;w=7200");
  request.from("10.1.0.1");
  EXPECT_EQ(passed(request, policy, 9), 4);
  EXPECT_EQ(request.field("RateLimit-Policy"), "\"client-shared\";q=4;w=14400");
  EXPECT_EQ(request.ask(policy).refusal.limit_class, "office");
}

}  // namespace
}  // namespace merlon::policy
