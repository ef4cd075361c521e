#include "audit/nginx/pattern.h"

#include <gtest/gtest.h>

#include "audit/nginx/origin_witness.h"

namespace merlon::audit::nginx {
namespace {

struct Case {
  const char* pattern;
  const char* text;
  bool want;
};

const Case kCases[] = {
    {"^/a$", "/a", true},
    {"^/a$", "/ab", false},
    {"b", "abc", true},
    {"\\.php$", "/x.php", true},
    {"\\.php$", "/xphp", false},
    {"(?i)ABC", "xabcx", true},
    {"^(a|bc)+$", "abcbca", true},
    {"^(a|bc)+$", "abb", false},
    {"^[^/]+$", "a/b", false},
    {"^[a-c\\d]+$", "a1c", true},
    {"^[]a]+$", "]a", true},
    {"^a{2,3}$", "aaa", true},
    {"^a{2,3}$", "a", false},
    {"^a{,2}$", "a{,2}", true},
    {"^/(?!admin)", "/admin", false},
    {"^/(?!admin)", "/user", true},
    {"(?<=x)y", "xy", true},
    {"(?<!x)y", "xy", false},
    {"\\bword\\b", "a word here", true},
    {"\\bword\\b", "swordfish", false},
    {"^a.c$", "a\nc", false},
    {"^(?<name>\\w+)$", "abc_1", true},
    {"^[[:alpha:]]+$", "abc", true},
    {"^a*?b$", "aaab", true},
    {"^x?$", "", true},
};

TEST(Pattern, SearchesAsPcreDoes) {
  for (const Case& one : kCases) {
    const Pattern pattern(one.pattern, false);
    ASSERT_TRUE(pattern.ok()) << one.pattern;
    EXPECT_EQ(pattern.search(one.text), one.want) << one.pattern << " on " << one.text;
  }
}

TEST(Pattern, TakesTheSmallLettersForASample) {
  EXPECT_EQ(Pattern("^/Uploads/.*\\.php$", true).sample(), "/uploads/.php");
  EXPECT_EQ(Pattern("^/Uploads/[A-Z]+$", false).sample(), "/Uploads/A");
}

TEST(Pattern, IsNotOkWhenItIsNotUnderstood) {
  for (const char* text : {"(", "a)", "[a", "*a", "(a)\\1", "(?(1)a|b)", "a\\", "[z-a]"}) {
    EXPECT_FALSE(Pattern(text, false).ok()) << text;
  }
  EXPECT_EQ(Pattern("(", false).search("a"), std::nullopt);
}

TEST(Pattern, GivesUpRatherThanRunAway) {
  const Pattern pattern("^(a+)+$", false);
  EXPECT_EQ(pattern.search(std::string(40, 'a') + "!"), std::nullopt);
  EXPECT_EQ(pattern.search("aaa"), true);
}

TEST(Pattern, KnowsWhatAGroupCanHold) {
  const Pattern pattern("^/([^/]*)/(?<id>\\d+)/(en|fr)(/.*)$", false);
  EXPECT_TRUE(pattern.group_chars(1)['\n']);
  EXPECT_FALSE(pattern.group_chars(1)['/']);
  EXPECT_FALSE(pattern.group_chars(2)['\n']);
  EXPECT_EQ(pattern.group_named("id"), 2U);
  EXPECT_EQ(pattern.group_named("no"), 0U);
  EXPECT_TRUE(pattern.group_is_finite(3));
  EXPECT_FALSE(pattern.group_is_finite(2));
  EXPECT_TRUE(pattern.group_starts_with(4, '/'));
  EXPECT_FALSE(pattern.group_starts_with(1, '/'));
}

TEST(Pattern, KnowsItsAnchors) {
  EXPECT_TRUE(Pattern("^a", false).anchored_at_start());
  EXPECT_FALSE(Pattern("^a|b", false).anchored_at_start());
  EXPECT_TRUE(Pattern("(^a|^b)c$", false).anchored_at_start());
  EXPECT_TRUE(Pattern("a(b$)", false).anchored_at_end());
  EXPECT_FALSE(Pattern("a$?", false).anchored_at_end());
}

TEST(Pattern, FindsWhatExplodes) {
  EXPECT_NE(Pattern("^/(a+)+$", false).explosive(), "");
  EXPECT_NE(Pattern("^/(x*)*$", false).explosive(), "");
  EXPECT_NE(Pattern("^/m/(\\w+\\s?)*$", false).explosive(), "");
  EXPECT_NE(Pattern("^/o/(a|aa)+$", false).explosive(), "");
  EXPECT_NE(Pattern("^/chat/(\\w+-?)*$", false).explosive(), "");
  EXPECT_NE(Pattern("(x|xx)+y", false).explosive(), "");
  EXPECT_EQ(Pattern("^/([a-z]+/)+$", false).explosive(), "");
  EXPECT_EQ(Pattern("^/[a-z]+(-[a-z]+)*$", false).explosive(), "");
  EXPECT_EQ(Pattern("^/(css|js)+$", false).explosive(), "");
  EXPECT_EQ(Pattern("^/(?:[a-z]+/)*index$", false).explosive(), "");
  EXPECT_EQ(Pattern("^/[a-z]+$", false).explosive(), "");
}

struct OriginCase {
  const char* name;
  const char* regex;
  bool fooled;
  bool only_scheme;
};

const OriginCase kOrigins[] = {
    {"anchored", "^https://(www|app)\\.example\\.com$", false, false},
    {"any_subdomain", "^https://([a-z0-9-]+\\.)?example\\.com$", false, false},
    {"any_port", "^https://example\\.com(:\\d+)?$", false, false},
    {"deep_subdomain", "^https://.*\\.example\\.com$", false, false},
    {"no_end", "^https://example\\.com", true, false},
    {"no_start", "example\\.com$", true, false},
    {"no_dot_before", "^https://.*example\\.com$", true, false},
    {"loose_dot", "^https://app.example\\.com$", true, false},
    {"middle", "^https?://.*\\.example\\.com.*$", true, false},
    {"anything", ".*", true, false},
    {"clear_too", "^https?://(www\\.)?example\\.com$", true, true},
    {"localhost", "^https?://localhost(:[0-9]+)?$", false, false},
    {"not_understood", "^https://(a)\\1$", false, false},
};

class Origins : public testing::TestWithParam<OriginCase> {};

TEST_P(Origins, OfOthersAreFoundWhereTheyMatch) {
  const OriginCase& one = GetParam();
  const Witness witness = find_witness(one.regex, false);
  EXPECT_EQ(!witness.origin.empty(), one.fooled) << witness.origin;
  EXPECT_EQ(witness.only_scheme, one.only_scheme) << witness.origin;
  if (!witness.origin.empty()) {
    EXPECT_EQ(Pattern(one.regex, false).search(witness.origin), true);
  }
}

INSTANTIATE_TEST_SUITE_P(Nginx, Origins, testing::ValuesIn(kOrigins),
                         [](const auto& test) { return test.param.name; });

TEST(Pattern, KnowsWhichGroupStartsTheText) {
  EXPECT_TRUE(Pattern("^(.+)/+$", false).group_starts_text(1));
  EXPECT_TRUE(Pattern("^((?:a|b)+)x", false).group_starts_text(1));
  EXPECT_FALSE(Pattern("(.+)/+$", false).group_starts_text(1));
  EXPECT_FALSE(Pattern("^/old(.*)$", false).group_starts_text(1));
  EXPECT_FALSE(Pattern("^(a)(b)", false).group_starts_text(2));
  EXPECT_FALSE(Pattern("^(a)?(b)", false).group_starts_text(2));
}

}  // namespace
}  // namespace merlon::audit::nginx
