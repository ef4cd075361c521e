#include "http/request_rules.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace merlon::http {
namespace {

// A23, A32, A99: HTTP/2 gives its :path to the same function.
TEST(Target, RefusesWhatNoProtocolMaySay) {
  struct {
    std::string_view target;
    std::uint16_t code;
    std::uint32_t offset;
  } constexpr kCases[] = {
      {"", code::kBadTarget, 0},
      {"/a HTTP/1.1\r\nX: y", code::kBadTarget, 2},
      {"/a\r\n", code::kBadTarget, 2},
      {"/a#b", code::kBadTarget, 2},
      {"/\x80", code::kBadTarget, 1},
      {"a/b", code::kBadTarget, 0},
      {"http", code::kBadTarget, 0},
      {"https:/a", code::kBadTarget, 0},
      {"http:///a", code::kBadHost, 7},
      {"http://u@a/", code::kBadHost, 7},
      {"*", code::kBadTarget, 0},
      {"**", code::kBadTarget, 0},
      {"suites.v1.Echo/Unary", code::kBadTarget, 0},
  };
  for (const auto& test : kCases) {
    Target target;
    const auto got = parse_target(test.target, Method::kGet, target);
    ASSERT_FALSE(got.has_value()) << test.target;
    EXPECT_EQ(rule_name(got.error().code), rule_name(test.code)) << test.target;
    EXPECT_EQ(got.error().offset_bytes, test.offset) << test.target;
  }
}

// A32: a path that begins with two slashes is a path, never an authority.
TEST(Target, TwoSlashesAreAPath) {
  Target target;
  ASSERT_TRUE(parse_target("//evil.example/x?y", Method::kGet, target).has_value());
  EXPECT_EQ(target.form, TargetForm::kOrigin);
  EXPECT_EQ(target.path, "//evil.example/x");
  EXPECT_EQ(target.authority, "");
}

/// The code of the first refusal while the names are added one by one, 0 when there is none.
std::uint16_t judge(const std::vector<std::string>& names) {
  Fields fields;
  for (const std::string& name : names) {
    fields.add(name, "x");
    if (auto ok = judge_last_field(fields); !ok) return ok.error().code;
  }
  const auto ok = judge_aliases(fields);
  return ok ? std::uint16_t{0} : ok.error().code;
}

// A40, A47.
TEST(FieldNames, AreRefusedWhenTwoReadingsMeet) {
  EXPECT_EQ(judge({"X-Tenant", "X-Tenant", "X_Role", "x_role", "A.b"}), 0);
  EXPECT_EQ(judge({"Cookie", "Cookie"}), 0);
  EXPECT_EQ(judge({"host", "Host"}), code::kDuplicateField);
  EXPECT_EQ(judge({"X_Forwarded_Proto"}), code::kAliasedField);
  EXPECT_EQ(judge({"Remote_Groups"}), code::kAliasedField);
  EXPECT_EQ(judge({"X.Merlon.Identity"}), code::kAliasedField);
  EXPECT_EQ(judge({"X-Tenant", "A", "x_tenant"}), code::kAliasedField);
  EXPECT_EQ(judge({"x_tenant", "A", "X-Tenant"}), code::kAliasedField);
  EXPECT_EQ(judge({"x_tenant", "x.tenant"}), code::kAliasedField);
}

TEST(Te, AcceptsTrailersInAnyLine) {
  Fields fields;
  fields.add("TE", "deflate;q=0.5");
  EXPECT_FALSE(accepts_trailers(fields));
  fields.add("TE", "x, Trailers");
  EXPECT_TRUE(accepts_trailers(fields));
}

}  // namespace
}  // namespace merlon::http
