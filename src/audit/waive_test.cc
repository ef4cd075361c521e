#include "audit/waive.h"

#include <gtest/gtest.h>

#include <string>

#include "audit/audit.h"

namespace merlon::audit {
namespace {

std::string with_tokens(const std::string& comment) {
  return "events {}\nhttp {\n  " + comment + "\n  server_tokens on;\n}\n";
}

TEST(Waivers, CoverTheirLineUntilTheyExpire) {
  Options options;
  options.now = 1'780'272'000;  // 2026-06-01
  struct Case {
    const char* comment;
    bool covers;
  };
  const Case cases[] = {
      {"# merlon: waive INF-01 until 2026-12-31 shown on purpose, PLAT-1", true},
      {"# merlon: waive server-version-disclosed until 2026-06-01 last day", true},
      {"# merlon: waive INF-01 until 2026-05-31 one day late", false},
      {"# merlon: waive INF-01 until 2026-02-30 no such day", false},
      {"# merlon: waive INF-01 until 2026-12-31 reason shown on purpose", true},
      {"# don't mend: merlon: waive INF-01 until 2026-12-31 shown on purpose", true},
      {"# merlon: waive INF-01 until 2026-12-31", false},
      {"# merlon: waive INF-01 until 2026-12-31 reason", false},
      {"# merlon: waive INF-01 because I say so", false},
      {"# merlon: waive INF-06 until 2026-12-31 another rule", false},
      {"# merlon: waive NOPE-1 until 2026-12-31 no such rule", false},
  };
  for (const Case& one : cases) {
    const AuditResult result = audit_text("t.conf", with_tokens(one.comment), options);
    ASSERT_EQ(result.waivers.size(), 1U) << one.comment;
    EXPECT_EQ(result.waivers[0].used, one.covers) << one.comment;
    EXPECT_EQ(exit_code(result, Level::kLow), one.covers ? 0 : 1) << one.comment;
  }
}

TEST(Waivers, OfMerlonsOwnConfigurationAreNoComments) {
  const AuditResult result = audit_text(
      "merlon.yaml",
      "version: 1\nlisteners: [{ name: a, address: 127.0.0.1:8080, proxy_protocol: true }]\n"
      "# merlon: waive XFF-01 until 2100-12-31 reason only reachable from the office\n"
      "trusted_proxies: [0.0.0.0/0]\n"
      "routes: [{ name: r, match: { host: a.test, path: / }, methods: [GET], auth: none, "
      "respond: { status: 204 } }]\n",
      {});
  EXPECT_TRUE(result.waivers.empty());
  EXPECT_NE(exit_code(result, Level::kLow), 0);
}

TEST(Waivers, SeveralMayStandAboveOneLine) {
  Options options;
  options.only_rules = {"INF-01", "INF-06"};
  const AuditResult result =
      audit_text("t.conf",
                 with_tokens("# merlon: waive INF-01 until 2100-12-31 shown on purpose\n"
                             "  # of which nobody minds the\n"
                             "  # merlon: waive INF-06 until 2100-12-31 list of downloads"),
                 options);
  ASSERT_EQ(result.waivers.size(), 2U);
  EXPECT_TRUE(result.waivers[0].used);
  EXPECT_FALSE(result.waivers[1].used) << "there is no such finding";
}

TEST(Waivers, BehindSomethingAreOfTheirOwnLineOnly) {
  constexpr const char* kWaiver = "# merlon: waive INF-06 until 2100-12-31 a list of downloads";
  const auto listing = [&](std::string_view above, std::string_view beside) {
    return std::string("server {\n  listen 127.0.0.1:8080;\n  root /srv/a;\n  ") +
           std::string(above) + "\n  location /a { autoindex on; } " + std::string(beside) +
           "\n  location /b { autoindex on; }\n}\n";
  };
  Options options;
  options.only_rules = {"INF-06"};
  for (const std::string& text : {listing(kWaiver, ""), listing("", kWaiver)}) {
    const AuditResult result = audit_text("t.conf", text, options);
    ASSERT_EQ(result.findings.size(), 2U) << text;
    EXPECT_FALSE(result.findings[0].waived.empty()) << text;
    EXPECT_TRUE(result.findings[1].waived.empty()) << text;
  }
}

TEST(Waivers, OfRulesThatWereNotAskedForAreNoLessUsed) {
  Options options;
  options.only_rules = {"TLS-13"};
  const AuditResult result = audit_text(
      "t.conf", with_tokens("# merlon: waive INF-01 until 2100-12-31 shown on purpose"), options);
  ASSERT_EQ(result.waivers.size(), 1U);
  EXPECT_TRUE(result.waivers[0].used);
  EXPECT_TRUE(result.findings.empty());
}

TEST(Waivers, SayHowLongAReasonIs) {
  const AuditResult result =
      audit_text("t.conf", with_tokens("# merlon: waive INF-01 until 2100-12-31 test"));
  ASSERT_EQ(result.waivers.size(), 1U);
  EXPECT_EQ(result.waivers[0].problem, "a waiver needs a reason of 5 letters or more");
}

TEST(Waivers, InTextsAreNone) {
  const AuditResult result = audit_text(
      "t.conf",
      with_tokens("log_format a 'x # merlon: waive INF-01 until 2100-12-31 only a text';"));
  EXPECT_TRUE(result.waivers.empty());
  EXPECT_EQ(exit_code(result, Level::kLow), 1);
}

TEST(Waivers, InTextsThatSpanLinesAreNone) {
  constexpr const char* kWaiver =
      "# merlon: waive PTH-01 until 2100-12-31 only a text, no comment\n";
  constexpr const char* kAlias = "location /s { alias /srv/s/; }\n}\n";
  const std::string server = "server { listen 127.0.0.1:8080;\n";
  const std::string quoted = server + "set $x \"text\n" + kWaiver + "\"; " + kAlias;
  const std::string lua =
      server + "content_by_lua_block {\nlocal s = [[\n" + kWaiver + "]] } " + kAlias;
  for (const std::string& text : {quoted, lua}) {
    const AuditResult result = audit_text("t.conf", text);
    EXPECT_TRUE(result.waivers.empty()) << text;
    EXPECT_EQ(exit_code(result, Level::kCritical), 1) << text;
  }
  const AuditResult yaml = audit_text(
      "t.yaml",
      "node:\n  id: |\n    # merlon: waive EXP-01 until 2100-12-31 only a text, no comment\nadmin: "
      "{ address: { socket_address: { address: 0.0.0.0, port_value: 9901 } } }\n"
      "static_resources: { clusters: [] }\n");
  EXPECT_TRUE(yaml.waivers.empty());
  EXPECT_EQ(exit_code(yaml, Level::kCritical), 1);
}

}  // namespace
}  // namespace merlon::audit
