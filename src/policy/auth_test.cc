#include <gtest/gtest.h>

#include "policy/auth_config.h"
#include "policy/authenticate.h"

namespace merlon::policy {
namespace {

struct Case {
  const char* name;
  std::string_view value;
  std::string_view token;  // "": refused
  std::uint16_t code = 0;
};
constexpr Case kCases[] = {
    {"usual", "Bearer a.b.c", "a.b.c"},
    {"any_case", "bEARER a.b.c", "a.b.c"},
    {"absent", "", "", code::kCredentialsMissing},
    {"another_scheme", "Basic QTpC", "", code::kCredentialsMissing},
    {"scheme_with_the_same_begin", "BearerX a", "", code::kCredentialsMissing},
    {"no_token", "Bearer", "", code::kTokenMalformed},
    {"empty_token", "Bearer ", "", code::kTokenMalformed},
    {"two_spaces", "Bearer  a", "", code::kTokenMalformed},
    {"two_tokens", "Bearer a b", "", code::kTokenMalformed},
    {"list", "Bearer a,Bearer b", "", code::kTokenMalformed},
    {"tab", "Bearer a\tb", "", code::kTokenMalformed},
};
class BearerToken : public testing::TestWithParam<Case> {};
TEST_P(BearerToken, IsTheOnlyOneBehindTheScheme) {
  http::RequestHead head;
  if (!GetParam().value.empty()) {
    head.fields.add("Authorization", GetParam().value, http::FieldId::kAuthorization);
  }
  const auto token = shown_token(head);
  ASSERT_EQ(token.has_value(), !GetParam().token.empty());
  if (token.has_value()) {
    EXPECT_EQ(token->token, GetParam().token);
  } else {
    EXPECT_EQ(token.error().code, GetParam().code);
  }
}
INSTANTIATE_TEST_SUITE_P(Rfc6750, BearerToken, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(TokenInQuery, IsFoundHoweverItIsWritten) {
  for (const std::string_view query :
       {"access_token=x", "a=1&access_token=x", "access_token", "access%5Ftoken=x",
        "%61ccess_token=", "a&access_token=x&b"}) {
    EXPECT_TRUE(has_token_in_query(query)) << query;
  }
  for (const std::string_view query :
       {"", "a=access_token", "access_tokens=x", "my_access_token=x", "access_toke=x", "&&", "%",
        "access_token%00=x", "access_token%"}) {
    EXPECT_FALSE(has_token_in_query(query)) << query;
  }
}

TEST(ClaimPointer, NamesOneMemberWhateverItsSigns) {
  EXPECT_EQ(claim_pointer("tenant"), "/tenant");
  EXPECT_EQ(claim_pointer("https://example.com/roles"), "/https:~1~1example.com~1roles");
  EXPECT_EQ(claim_pointer("a~b"), "/a~0b");
  EXPECT_EQ(claim_pointer("/realm/roles"), "/realm/roles");
}

TEST(NameKind, GoesByTheForm) {
  EXPECT_EQ(kind_of_name("spiffe://example.org/a@b"), NameKind::kUri);
  EXPECT_EQ(kind_of_name("ops@example.org"), NameKind::kEmail);
  EXPECT_EQ(kind_of_name("svc.example.org"), NameKind::kDns);
}

}  // namespace
}  // namespace merlon::policy
