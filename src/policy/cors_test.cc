#include "policy/cors.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "policy/test_request.h"

namespace merlon::policy {
namespace {

using Kind = Decision::Kind;

constexpr std::string_view kRoute =
    "cors:\n"
    "  origins: [https://good.test, \"https://good.test:8443\", \"http://[::1]:3000\"]\n"
    "  methods: [GET, DELETE]\n"
    "  headers: [Authorization, X-Trace]\n"
    "  expose: [etag, x-total]\n"
    "  credentials: true\n"
    "  max_age: 10min";

const CompiledPolicies& route() {
  static const CompiledPolicies compiled(kRoute);
  return compiled;
}

std::string request(std::string_view method, std::string_view origin, std::string_view more = "") {
  return fmt::format("{} /x HTTP/1.1\r\nHost: api.test{}{}{}", method,
                     origin.empty() ? "" : "\r\nOrigin: ", origin, more);
}

TEST(Cors, Compiles) { ASSERT_TRUE(route().ok()) << route().diagnostics.render(); }

TEST(Cors, OnlyListedOriginsAreAllowed) {
  struct Case {
    std::string_view origin;
    bool allowed;
  };
  // A80: what reflecting, prefix, suffix and decoding matchers let in.
  constexpr Case kCases[] = {
      {"https://good.test", true},
      {"https://good.test:8443", true},
      {"http://[::1]:3000", true},
      {"https://evil", false},
      {"null", false},
      {"https://good.test.evil", false},
      {"https://evilgood.test", false},
      {"http://good.test", false},
      {"https://good.test:443", false},
      {"https://good.test%60.evil", false},
      {"https://GOOD.test", false},
      {"HTTPS://good.test", false},
      {"https://good.test/", false},
      {"https://good.test.", false},
      {"https://good.test, https://evil", false},
      {"https://good.test https://evil", false},
      {"https://a.good.test", false},
      {"good.test", false},
      {"*", false},
      {"file://", false},
  };
  for (const Case& test : kCases) {
    AskedRequest asked(request("GET", test.origin));
    ASSERT_TRUE(asked.good()) << test.origin;
    const Decision decision = asked.judge(route());
    EXPECT_EQ(decision.kind == Kind::kNext, test.allowed) << test.origin;
    EXPECT_EQ(asked.response("Vary"), "Origin") << test.origin;
    if (test.allowed) {
      EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), test.origin);
      EXPECT_EQ(asked.response("Access-Control-Allow-Credentials"), "true");
      EXPECT_EQ(asked.response("Access-Control-Expose-Headers"), "etag, x-total");
    } else {
      EXPECT_EQ(decision.refusal.status, 403U) << test.origin;
      EXPECT_EQ(decision.refusal.error.code, code::kForeignOrigin) << test.origin;
      EXPECT_EQ(decision.refusal.line->line, 4U);
      EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), std::nullopt) << test.origin;
    }
  }
}

TEST(Cors, ARequestWithoutOriginIsOrdinary) {
  AskedRequest asked(request("POST", ""));
  EXPECT_EQ(asked.judge(route()).kind, Kind::kNext);
  EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), std::nullopt);
  EXPECT_EQ(asked.response("Vary"), "Origin");
}

TEST(Cors, APageOfTheHostItselfIsNotForeign) {
  AskedRequest own(request("POST", "http://api.test"));
  EXPECT_EQ(own.judge(route()).kind, Kind::kNext);
  EXPECT_EQ(own.response("Access-Control-Allow-Origin"), std::nullopt);
  for (const std::string_view other :
       {"https://api.test", "http://api.test:81", "http://api.test.evil", "http://apixtest"}) {
    AskedRequest asked(request("POST", other));
    EXPECT_EQ(asked.judge(route()).refusal.status, 403U) << other;
  }
}

TEST(Cors, APageOfTheHostItselfMayDoWhatIsNotOpenToOthers) {
  const CompiledPolicies all(
      "cors: { origins: [\"*\"], methods: [GET] }",
      "waivers:\n  - { rule: cors-wildcard-credentials, on: routes.r.cors.origins, reason: public "
      "data for all, owner: web@x.example, expires: 2027-01-20 }\n");
  const CompiledPolicies listed(
      "cors: { origins: [https://good.test, http://api.test], methods: [GET] }");
  for (const CompiledPolicies* open : {&all, &listed}) {
    ASSERT_TRUE(open->ok()) << open->diagnostics.render();
    AskedRequest own(request("POST", "http://api.test"));
    EXPECT_EQ(own.judge(*open).kind, Kind::kNext);
    EXPECT_EQ(own.response("Vary"), "Origin");
    EXPECT_TRUE(own.observations().waivers().empty()) << "it needs none";
    AskedRequest other(request("POST", "https://good.test"));
    EXPECT_EQ(other.judge(*open).refusal.error.code, code::kCorsMethod);
  }
}

TEST(Cors, MethodsThatNeedNoPreflightAreJudgedToo) {
  AskedRequest asked(request("POST", "https://good.test"));
  const Decision decision = asked.judge(route());
  EXPECT_EQ(decision.refusal.status, 403U);
  EXPECT_EQ(decision.refusal.error.code, code::kCorsMethod);
  EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), std::nullopt);
}

std::string preflight(std::string_view origin, std::string_view method, std::string_view headers) {
  return request(
      "OPTIONS", origin,
      fmt::format("\r\nAccess-Control-Request-Method: {}{}{}", method,
                  headers.empty() ? "" : "\r\nAccess-Control-Request-Headers: ", headers));
}

TEST(Cors, APreflightIsAnsweredOnlyWhenAllOfItIsOpen) {
  struct Case {
    std::string_view origin, method, headers;
    std::uint16_t code;  // 0: answered
  };
  constexpr Case kCases[] = {
      {"https://good.test", "GET", "", 0},
      {"https://good.test", "HEAD", "", 0},  // comes with GET
      {"https://good.test", "DELETE", "authorization", 0},
      {"https://good.test", "DELETE", "AUTHORIZATION , x-trace,", 0},
      {"https://good.test", "POST", "", code::kCorsMethod},
      {"https://good.test", "get", "", code::kCorsMethod},
      {"https://good.test", "GET", "x-other", code::kCorsHeader},
      {"https://good.test", "GET", "authorization,x-other", code::kCorsHeader},
      {"https://good.test", "GET", "author ization", code::kCorsHeader},
      {"https://good.test", "GET", "*", code::kCorsHeader},
      {"https://evil.test", "GET", "", code::kForeignOrigin},
      {"null", "GET", "", code::kForeignOrigin},
      {"http://api.test", "GET", "", code::kForeignOrigin},  // no browser asks its own origin
  };
  for (const Case& test : kCases) {
    const std::string name = fmt::format("{} {} {}", test.origin, test.method, test.headers);
    AskedRequest asked(preflight(test.origin, test.method, test.headers), true);
    ASSERT_TRUE(asked.good()) << name;
    const Decision decision = asked.judge(route());
    EXPECT_EQ(asked.response("Vary"),
              "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    if (test.code != 0) {
      EXPECT_EQ(decision.refusal.status, 403U) << name;
      EXPECT_EQ(decision.refusal.error.code, test.code) << name;
      EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), std::nullopt) << name;
      continue;
    }
    EXPECT_EQ(decision.kind, Kind::kAnswer) << name;
    EXPECT_EQ(decision.refusal.status, 204U);
    EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), test.origin);
    EXPECT_EQ(asked.response("Access-Control-Allow-Methods"), "GET, DELETE");
    EXPECT_EQ(asked.response("Access-Control-Allow-Credentials"), "true");
    EXPECT_EQ(asked.response("Access-Control-Max-Age"), "600");
    EXPECT_EQ(asked.response("Access-Control-Allow-Headers").has_value(), !test.headers.empty());
  }
}

TEST(Cors, AListOfRequestedHeadersIsBounded) {
  std::string headers = "x-trace";
  for (int i = 0; i < 99; ++i) headers += ",x-trace";
  AskedRequest most(preflight("https://good.test", "GET", headers), true);
  EXPECT_EQ(most.judge(route()).kind, Kind::kAnswer);
  AskedRequest more(preflight("https://good.test", "GET", headers + ",x-trace"), true);
  EXPECT_EQ(more.judge(route()).refusal.error.code, code::kCorsHeader);
}

constexpr std::string_view kWaiver =
    "waivers:\n  - { rule: cors-wildcard-credentials, on: routes.r.cors.origins, reason: public "
    "data for every page, owner: web@x.example, expires: 2027-05-01 }\n";

TEST(Cors, EveryOriginTakesAWaiverAndNeverGoesWithCredentials) {
  const CompiledPolicies refused("cors: { origins: [\"*\"] }");
  EXPECT_FALSE(refused.ok());
  const CompiledPolicies open("cors: { origins: [\"*\"] }", kWaiver);
  ASSERT_TRUE(open.ok()) << open.diagnostics.render();
  AskedRequest asked(request("GET", "https://any.test"));
  EXPECT_EQ(asked.judge(open).kind, Kind::kNext);
  EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), "*");
  AskedRequest null(request("GET", "null"));
  EXPECT_EQ(null.judge(open).refusal.status, 403U);
  // A81
  const CompiledPolicies both("cors: { origins: [\"*\"], credentials: true }", kWaiver);
  EXPECT_FALSE(both.ok());
}

TEST(Cors, MistakesAreReportedAtTheirPlaces) {
  struct Case {
    std::string_view yaml, message;
  };
  constexpr Case kCases[] = {
      {"cors: {}", "`origins`"},
      {"cors: { origins: [] }", "at least 1"},
      {"cors: { origins: [\"null\"] }", "hides where it comes from"},
      {"cors: { origins: [good.test] }", "an origin begins with"},
      {"cors: { origins: [\"https://good.test/\"] }", "no final slash"},
      {"cors: { origins: [\"https://*.good.test\"] }", "origins are exact"},
      {"cors: { origins: [\"https://good.test:443\"] }", "leave out the port"},
      {"cors: { origins: [\"https://Good.test\"] }", "browsers write it `https://good.test`"},
      {"cors: { origins: [\"ftp://good.test\"] }", "an origin begins with"},
      {"cors: { origins: [https://a.test, https://a.test] }", "given twice"},
      {"cors: { origins: [https://a.test], methods: [PATCH] }", "does not list the method PATCH"},
      {"cors: { origins: [https://a.test], headers: [\"*\"] }", "would allow every field"},
      {"cors: { origins: [https://a.test], headers: [a, A] }", "given twice"},
      {"cors: { origins: [https://a.test], expose: [\"*\"] }", "would allow every field"},
      {"cors: { origins: [https://a.test], headers: [Host] }", "no page can set `Host`"},
      {"cors: { origins: [https://a.test], headers: [sec-fetch-site] }", "no page can set"},
      {"cors: { origins: [https://a.test], expose: [Set-Cookie] }", "no page can read"},
      {"cors: { origins: [https://a.test], max_age: 25h }", "1d"},
      {"cors: { origins: [https://a.test], max_age: 0s }", "1s"},
      {"cors: { origins: [https://a.test], max_age: 1500ms }", "whole seconds"},
  };
  for (const Case& test : kCases) {
    const CompiledPolicies compiled(test.yaml);
    EXPECT_FALSE(compiled.ok()) << test.yaml;
    EXPECT_NE(compiled.diagnostics.render().find(test.message), std::string::npos)
        << test.yaml << "\n"
        << compiled.diagnostics.render();
    for (const Diagnostic& finding : compiled.diagnostics.all()) {
      EXPECT_EQ(finding.at.line, 3U) << test.yaml;
    }
  }
}

TEST(Cors, ObservedLetsRequestsThroughButOpensNothing) {
  const CompiledPolicies observed(
      "cors: { origins: [https://good.test] }",
      "waivers:\n  - { rule: policy-observed, on: routes.r.cors, reason: who else calls this, "
      "owner: web@x.example, expires: 2027-01-20 }\n");
  ASSERT_TRUE(observed.ok()) << observed.diagnostics.render();
  AskedRequest asked(request("GET", "https://evil.test"));
  EXPECT_EQ(asked.judge(observed).kind, Kind::kNext);
  EXPECT_EQ(asked.response("Access-Control-Allow-Origin"), std::nullopt);
  // The same answer to an origin that is listed would carry more: caches must tell them apart.
  EXPECT_EQ(asked.response("Vary"), "Origin");
  ASSERT_EQ(asked.observations().all().size(), 1U);
  EXPECT_EQ(asked.observations().all()[0].refusal.error.code, code::kForeignOrigin);
  AskedRequest before(preflight("https://evil.test", "GET", ""), true);
  EXPECT_EQ(before.judge(observed).refusal.status, 403U);
}

TEST(Cors, TheWildcardsWaiverIsCountedWhenItLetsSomebodyIn) {
  const CompiledPolicies open(
      "cors: { origins: [\"*\"] }",
      "waivers:\n  - { rule: cors-wildcard-credentials, on: routes.r.cors.origins, reason: public "
      "data for all, owner: web@x.example, expires: 2027-01-20 }\n");
  ASSERT_TRUE(open.ok()) << open.diagnostics.render();
  AskedRequest page(request("GET", "https://any.test"));
  EXPECT_EQ(page.judge(open).kind, Kind::kNext);
  ASSERT_EQ(page.observations().waivers().size(), 1U);
  EXPECT_EQ(page.observations().waivers()[0], 0U);
  AskedRequest no_page(request("GET", ""));
  EXPECT_EQ(no_page.judge(open).kind, Kind::kNext);
  EXPECT_TRUE(no_page.observations().waivers().empty());
}

}  // namespace
}  // namespace merlon::policy
