#include "identity/introspection.h"

#include <gtest/gtest.h>

namespace merlon::identity {
namespace {

constexpr TokenTime kNow = 2'000'000'000;

Result<std::shared_ptr<const Identity>> read(std::string_view text, TokenRules rules = {}) {
  static JsonDocument document;
  return read_introspection(text, rules, kNow, document);
}

TEST(Introspection, AnActiveTokenIsSomebody) {
  const auto who =
      read(R"({"active":true,"sub":"u1","client_id":"c1","scope":"a b","exp":2000000100,)"
           R"("token_type":"Bearer","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})");
  ASSERT_TRUE(who.has_value());
  EXPECT_EQ((*who)->method(), Method::kIntrospection);
  EXPECT_EQ((*who)->subject(), "u1");
  EXPECT_TRUE((*who)->has_scope("b"));
  EXPECT_EQ((*who)->expires(), 2'000'000'100);
  EXPECT_EQ((*who)->dpop_thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

struct Case {
  const char* name;
  std::string_view text;
  std::uint16_t code;
};
constexpr Case kCases[] = {
    {"not_active", R"({"active":false})", code::kTokenInactive},
    {"not_active_with_the_rest", R"({"active":false,"sub":"u1"})", code::kTokenInactive},
    {"silent", R"({})", code::kIntrospectionFailed},
    {"active_as_text", R"({"active":"true"})", code::kIntrospectionFailed},
    {"active_as_number", R"({"active":1})", code::kIntrospectionFailed},
    {"active_null", R"({"active":null})", code::kIntrospectionFailed},
    {"active_twice", R"({"active":false,"active":true})", code::kIntrospectionFailed},
    {"a_list", R"([{"active":true}])", code::kIntrospectionFailed},
    {"cut", R"({"active":true)", code::kIntrospectionFailed},
    {"html", "<html>", code::kIntrospectionFailed},
    {"expired", R"({"active":true,"exp":1999999000})", code::kTokenExpired},
    {"not_yet", R"({"active":true,"nbf":2000001000})", code::kTokenNotYetValid},
    {"date_no_number", R"({"active":true,"exp":"2000000100"})", code::kTokenClaims},
    {"refresh_token", R"({"active":true,"token_type":"refresh_token"})", code::kTokenType},
    {"other_issuer", R"({"active":true,"aud":"a","iss":"https://b.example"})", code::kTokenIssuer},
    {"other_audience", R"({"active":true,"aud":"b"})", code::kTokenAudience},
    {"no_audience", R"({"active":true})", code::kTokenClaims},
    {"dpop_without_key", R"({"active":true,"token_type":"DPoP"})", code::kTokenBinding},
    {"dpop_with_another_binding",
     R"({"active":true,"token_type":"dpop",)"
     R"("cnf":{"x5t#S256":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})",
     code::kTokenBinding},
    {"unknown_binding", R"({"active":true,"aud":"a","cnf":{"kid":"x"}})", code::kTokenBinding},
};
class IntrospectionAnswer : public testing::TestWithParam<Case> {};
TEST_P(IntrospectionAnswer, IsRefused) {
  TokenRules rules;
  const bool judged = GetParam().text.contains("aud") || GetParam().code == code::kTokenClaims;
  if (judged && !GetParam().text.contains("exp")) {
    rules.issuer = "https://a.example";
    rules.audiences = {"a"};
  }
  const auto who = read(GetParam().text, rules);
  ASSERT_FALSE(who.has_value());
  EXPECT_EQ(who.error().code, GetParam().code);
}
INSTANTIATE_TEST_SUITE_P(Rfc7662, IntrospectionAnswer, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(Introspection, AnAnswerCutAnywhereOpensNothing) {
  constexpr std::string_view kWhole = R"({"active":true,"sub":"u1","scope":"a"})";
  for (std::size_t size = 0; size < kWhole.size(); ++size) {
    EXPECT_FALSE(read(kWhole.substr(0, size)).has_value()) << size;
  }
  EXPECT_TRUE(read(kWhole).has_value());
}

TEST(Introspection, AsksAsOAuthWantsIt) {
  IntrospectionSource source;
  source.url = *upstream::parse_https_url("https://id.example.com/introspect?a=1");
  source.authorization = Secret(basic_authorization("a:b", "c d/ä"));
  const auto request = introspection_request(source, "ab+/=&token_type_hint=x");
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.query, "a=1");
  EXPECT_EQ(request.body, "token=ab%2B%2F%3D%26token_type_hint%3Dx&token_type_hint=access_token");
  // base64 of a%3Ab:c%20d%2F%C3%A4
  EXPECT_EQ(request.fields[1].second, "Basic YSUzQWI6YyUyMGQlMkYlQzMlQTQ=");
}

TEST(Introspection, OnlyWhatCanBeATokenIsAskedAbout) {
  for (const std::string_view good : {"a", "A-._~+/9", "abc=="}) EXPECT_TRUE(is_bearer_token(good));
  for (const std::string_view bad : {"", "=", "a=b", "a b", "a\"", "a%20", "\xc3\xa4"})
    EXPECT_FALSE(is_bearer_token(bad)) << bad;
}

}  // namespace
}  // namespace merlon::identity
