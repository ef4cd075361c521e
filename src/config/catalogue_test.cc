#include "config/catalogue.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/ascii.h"

namespace merlon::config {
namespace {

TEST(Catalogue, EveryRuleIsWhole) {
  std::set<std::string_view> ids;
  std::set<std::string_view> slugs;
  EXPECT_GE(rules().size(), 155U);
  for (const Rule& rule : rules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    EXPECT_TRUE(slugs.insert(rule.slug).second) << rule.slug;
    EXPECT_EQ(rule.id.size(), 6U) << rule.id;
    EXPECT_FALSE(rule.title.empty()) << rule.id;
    EXPECT_FALSE(rule.remediation.empty()) << rule.id;
    EXPECT_FALSE(rule.owasp.empty()) << rule.id;
    EXPECT_FALSE(rule.nist.empty()) << rule.id;
    EXPECT_TRUE(rule.tier == "A" || rule.tier == "B" || rule.tier == "C") << rule.id;
    for (const char c : rule.slug) {
      EXPECT_TRUE(ascii::is_digit(c) || c == '-' || (c >= 'a' && c <= 'z')) << rule.slug;
    }
    EXPECT_EQ(find_rule(rule.slug), &rule);
    EXPECT_EQ(find_rule_by_id(rule.id), &rule);
  }
}

TEST(Catalogue, HasTheRulesThatTheLanguageWaives) {
  for (const char* slug :
       {"upstream-cleartext", "cleartext-listener", "tls-aes128", "policy-observed",
        "path-encoded-slash", "path-encoded-backslash", "path-semicolon", "path-empty-segment",
        "upstream-error-bodies", "csp-html"}) {
    const Rule* rule = find_rule(slug);
    ASSERT_NE(rule, nullptr) << slug;
    EXPECT_FALSE(rule->merlon_trigger.empty()) << slug;
  }
  EXPECT_EQ(find_rule("upstream-cleartext")->id, "UPS-01");
  EXPECT_EQ(find_rule("upstream-cleartext")->severity, RuleSeverity::kMedium);
  EXPECT_EQ(to_string(find_rule_by_id("PTH-01")->severity), "critical");
}

TEST(Catalogue, SuggestsTheNearestSlug) {
  EXPECT_EQ(find_rule("upstream-clear-text"), nullptr);
  EXPECT_EQ(nearest_slug("upstream-clear-text"), "upstream-cleartext");
  EXPECT_EQ(nearest_slug("entirely-different-words"), "");
  EXPECT_EQ(nearest_slug(std::string(100'000, 'a')), "");
}

}  // namespace
}  // namespace merlon::config
