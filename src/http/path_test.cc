#include "http/path.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace merlon::http {
namespace {

using enum PathOddity;

struct Case {
  const char* name;
  std::string_view raw;
  std::string_view want;  ///< canonical form, when it has one
  PathOddities oddities{};
  std::uint16_t code = 0;  ///< of the refusal
};

class Path : public testing::TestWithParam<Case> {};

TEST_P(Path, HasOneFormOrIsRefused) {
  const Case& test = GetParam();
  std::array<char, 256> scratch;
  const auto got = canonical_path(test.raw, scratch);
  ASSERT_EQ(got.has_value(), test.code == 0) << (got ? got->text : got.error().what);
  if (!got) {
    EXPECT_EQ(rule_name(got.error().code), rule_name(test.code));
    return;
  }
  EXPECT_EQ(got->text, test.want);
  EXPECT_EQ(got->oddities.bits(), test.oddities.bits());
  std::array<char, 256> again_scratch;
  const auto again = canonical_path(got->text, again_scratch);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->text, got->text) << "the canonical form is not its own";
  EXPECT_EQ(again->oddities.bits(), got->oddities.bits());
}

auto name_of = [](const auto& test) { return test.param.name; };
constexpr PathOddities odd(PathOddity one) { return PathOddities{}.add(one); }

// RFC 3986 §6.2.2.
INSTANTIATE_TEST_SUITE_P(Canonical, Path,
                         testing::ValuesIn<Case>({
                             {"root", "/", "/"},
                             {"plain", "/a/b-c_d~e.f/1", "/a/b-c_d~e.f/1"},
                             {"sub_delims", "/!$&'()*+,=:@", "/!$&'()*+,=:@"},
                             {"trailing_slash", "/a/", "/a/"},
                             {"unreserved", "/%61%2D%7e%5F%30", "/a-~_0"},
                             {"reserved_upper", "/%3f%3a%25%c3%a9", "/%3F%3A%25%C3%A9"},
                             {"encoded_percent", "/%252e%252e/", "/%252e%252e/"},
                             {"case_kept", "/Login", "/Login"},
                             {"well_known", "/.well-known/x", "/.well-known/x"},
                             {"dots", "/.../a..b/..c/d..", "/.../a..b/..c/d.."},
                             {"control", "/%09%0d", "/%09%0D"},
                         }),
                         name_of);

// A29 to A32, A36: the oddities that a route may waive.
INSTANTIATE_TEST_SUITE_P(Odd, Path,
                         testing::ValuesIn<Case>({
                             {"slash", "/a%2fb", "/a%2Fb", odd(kEncodedSlash)},
                             {"backslash", "/a%5cb", "/a%5Cb", odd(kEncodedBackslash)},
                             {"semicolon", "/a;b=c", "/a;b=c", odd(kSemicolon)},
                             {"encoded_semicolon", "/a%3bb", "/a%3Bb", odd(kSemicolon)},
                             {"empty_segment", "//a", "//a", odd(kEmptySegment)},
                             {"empty_last_segments", "/a//", "/a//", odd(kEmptySegment)},
                             {"all", "//;%2F%5C", "//;%2F%5C", PathOddities{15}},
                         }),
                         name_of);

// A29, A31, A36, A37: what no route may have.
INSTANTIATE_TEST_SUITE_P(
    Refused, Path,
    testing::ValuesIn<Case>({
        {"dot", "/.", {}, {}, code::kPathDotSegment},
        {"dots", "/a/../b", {}, {}, code::kPathDotSegment},
        {"last_dots", "/a/..", {}, {}, code::kPathDotSegment},
        {"encoded_dots", "/a/%2e%2E/b", {}, {}, code::kPathDotSegment},
        {"half_encoded_dots", "/a/.%2e", {}, {}, code::kPathDotSegment},
        {"dots_semicolon", "/public/..;/admin", {}, {}, code::kPathDotSegment},
        {"dots_encoded_semicolon", "/public/..%3b/admin", {}, {}, code::kPathDotSegment},
        {"dots_after_encoded_slash", "/a%2f..", {}, {}, code::kPathDotSegment},
        {"dots_before_encoded_backslash", "/..%5cadmin", {}, {}, code::kPathDotSegment},
        {"backslash", "/a\\b", {}, {}, code::kBadPath},
        {"nul", "/a%00", {}, {}, code::kBadPath},
        {"raw_nul", std::string_view("/a\0", 3), {}, {}, code::kBadPath},
        {"broken", "/a%", {}, {}, code::kBadPath},
        {"broken_one", "/a%2", {}, {}, code::kBadPath},
        {"broken_letters", "/a%g0", {}, {}, code::kBadPath},
        {"overlong_dot", "/%c0%ae%c0%ae/", {}, {}, code::kBadPath},
        {"overlong_slash", "/%e0%80%af", {}, {}, code::kBadPath},
        {"overlong_four", "/%F0%80%80%AF", {}, {}, code::kBadPath},
        {"space", "/a b", {}, {}, code::kBadPath},
        {"non_ascii", "/\xc3\xa9", {}, {}, code::kBadPath},
        {"question", "/a?b", {}, {}, code::kBadPath},
        {"no_slash", "a", {}, {}, code::kBadPath},
        {"empty", "", {}, {}, code::kBadPath},
    }),
    name_of);

TEST(Path, IsNotCopiedWhenCanonical) {
  std::array<char, 1> scratch;
  const std::string_view raw = "/a/.b;c//d";
  const auto got = canonical_path(raw, scratch);
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->text.data(), raw.data());
}

TEST(Path, NeedsRoomToRewrite) {
  std::array<char, 4> scratch;
  EXPECT_TRUE(canonical_path("/%61", scratch).has_value());
  EXPECT_FALSE(canonical_path("/%61", std::span<char>(scratch).first(3)).has_value());
}

TEST(Oddities, AreRefusedByNameUnlessWaived) {
  struct {
    PathOddity oddity;
    std::uint16_t code;
  } constexpr kCases[] = {{kEncodedSlash, code::kPathEncodedSlash},
                          {kEncodedBackslash, code::kPathEncodedBackslash},
                          {kSemicolon, code::kPathSemicolon},
                          {kEmptySegment, code::kPathEmptySegment}};
  for (const auto& test : kCases) {
    const auto got = check_oddities(odd(test.oddity), PathOddities{15}.without(odd(test.oddity)));
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code, test.code);
    EXPECT_EQ(rule_name(test.code), oddity_slug(test.oddity));
    EXPECT_TRUE(check_oddities(odd(test.oddity), odd(test.oddity)).has_value());
  }
  EXPECT_TRUE(check_oddities({}, {}).has_value());
}

TEST(Query, PassesUnchangedOrNotAtAll) {
  for (const std::string_view good :
       {"", "a=b&c=%2F%2f", "filter[name]={x}", "a?b/c", "a|b^c`d", "'!*()"}) {
    EXPECT_TRUE(check_query(good).has_value()) << good;
  }
  for (const std::string_view wrong : {"%", "%2", "%zz", "a b", "a\"b", "a<b", "a>b", "a\\b", "a#b",
                                       "\xc3\xa9", "a\tb", "a\x7f"}) {
    EXPECT_FALSE(check_query(wrong).has_value()) << wrong;
  }
}

}  // namespace
}  // namespace merlon::http
