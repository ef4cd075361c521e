#include "policy/websocket.h"

#include <gtest/gtest.h>

#include <string>

#include "policy/test_request.h"

namespace merlon::policy {
namespace {

constexpr std::string_view kHandshake =
    "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

struct Case {
  const char* name;
  std::string_view policies;
  std::string_view more;   ///< fields behind the handshake
  std::uint16_t want = 0;  ///< code; 0: let through
};
constexpr Case kCases[] = {
    {"no_origin", "websocket: true", "", 0},
    {"own_origin", "websocket: true", "\r\nOrigin: http://a.test", 0},
    {"own_origin_with_port", "websocket: true", "\r\nOrigin: http://a.test:80", 0},
    {"own_host_over_https", "websocket: true", "\r\nOrigin: https://a.test",
     code::kWebSocketOrigin},
    {"foreign_origin", "websocket: true", "\r\nOrigin: https://evil.example",
     code::kWebSocketOrigin},
    {"null_origin", "websocket: true", "\r\nOrigin: null", code::kWebSocketOrigin},
    {"listed_origin", "websocket: true\ncors: { origins: [https://app.example.com] }",
     "\r\nOrigin: https://app.example.com", 0},
    {"unlisted_origin", "websocket: true\ncors: { origins: [https://app.example.com] }",
     "\r\nOrigin: https://evil.example", code::kForeignOrigin},
    {"bad_offer", "websocket: true", "\r\nSec-WebSocket-Protocol: a,,b", code::kWebSocketHandshake},
};

TEST(WebSocketPolicy, JudgesHandshakes) {
  for (const Case& test : kCases) {
    const CompiledPolicies compiled(test.policies);
    ASSERT_TRUE(compiled.ok()) << test.name << compiled.diagnostics.render();
    AskedRequest asked(fmt::format("{}{}", kHandshake, test.more));
    ASSERT_TRUE(asked.good()) << test.name;
    const Decision decision = asked.judge(compiled);
    EXPECT_EQ(decision.refusal.error.code, test.want) << test.name;
  }
}

TEST(WebSocketPolicy, LeavesOtherRequestsAlone) {
  const CompiledPolicies compiled("websocket: true");
  AskedRequest plain("GET /ws HTTP/1.1\r\nHost: a.test\r\nOrigin: https://evil.example");
  EXPECT_EQ(plain.judge(compiled).kind, Decision::Kind::kNext);
  AskedRequest other(
      "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nOrigin: null");
  EXPECT_EQ(other.judge(compiled).kind, Decision::Kind::kNext);
}

TEST(WebSocketPolicy, SaysWhichVersionItSpeaks) {
  const CompiledPolicies compiled("websocket: true");
  std::string old(kHandshake);
  old.replace(old.rfind("13"), 2, "8");
  AskedRequest asked(old);
  const Decision decision = asked.judge(compiled);
  EXPECT_EQ(decision.refusal.status, 426U);
  EXPECT_EQ(asked.response("Sec-WebSocket-Version"), "13");
}

TEST(WebSocketPolicy, CountsTheTunnelsOfAClient) {
  const CompiledPolicies compiled("websocket: { tunnels_per_client: 1 }");
  {
    AskedRequest first(kHandshake);
    ASSERT_EQ(first.judge(compiled).kind, Decision::Kind::kNext);
    AskedRequest second(kHandshake);
    EXPECT_EQ(second.judge(compiled).refusal.error.code, code::kWebSocketTunnels);
    AskedRequest plain("GET /ws HTTP/1.1\r\nHost: a.test");
    EXPECT_EQ(plain.judge(compiled).kind, Decision::Kind::kNext);
  }
  AskedRequest third(kHandshake);
  EXPECT_EQ(third.judge(compiled).kind, Decision::Kind::kNext);
}

}  // namespace
}  // namespace merlon::policy
