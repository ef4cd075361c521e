#include "identity/json.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::identity {
namespace {

struct Case {
  const char* name;
  std::string text;
};

const Case kRefused[] = {
    {"nothing", ""},
    {"byte_order_mark", "\xef\xbb\xbf{}"},
    {"duplicate_name", R"({"sub":"u1","sub":"admin"})"},
    {"duplicate_name_by_escape", R"({"sub":"u1","su\u0062":"admin"})"},
    {"duplicate_name_inside", R"({"a":{"b":1,"c":2,"b":3}})"},
    {"trailing_comma", R"({"a":1,})"},
    {"trailing_comma_in_list", "[1,]"},
    {"two_values", "{}{}"},
    {"something_after", "{} x"},
    {"comment", "{/**/}"},
    {"single_quotes", "{'a':1}"},
    {"bare_name", "{a:1}"},
    {"leading_zero", R"({"exp":01})"},
    {"plus", R"({"exp":+1})"},
    {"hexadecimal", R"({"exp":0x10})"},
    {"no_digit_after_point", R"({"exp":1.})"},
    {"no_digit_in_exponent", R"({"exp":1e})"},
    {"infinity", R"({"exp":Infinity})"},
    {"nan", R"({"exp":NaN})"},
    {"minus_alone", "-"},
    {"control_character", "\"a\nb\""},
    {"nul", std::string("\"a\0b\"", 5)},
    {"escaped_nul", R"("a\u0000b")"},
    {"unknown_escape", R"("\x")"},
    {"half_surrogate_high", R"("\ud800")"},
    {"half_surrogate_low", R"("\udc00")"},
    {"surrogates_reversed", R"("\udc00\ud800")"},
    {"bad_utf8", "\"\xff\""},
    {"overlong_utf8", "\"\xc0\xaf\""},
    {"surrogate_in_utf8", "\"\xed\xa0\x80\""},
    {"unfinished_string", "\"abc"},
    {"unfinished_escape", "\"abc\\"},
    {"unfinished_object", R"({"a":1)"},
    {"capital_word", "True"},
    {"deep", std::string(9, '[') + std::string(9, ']')},
    {"very_deep", std::string(100'000, '[')},
    {"too_long", "\"" + std::string(20'000, 'a') + "\""},
};
class JsonRefused : public testing::TestWithParam<Case> {};
TEST_P(JsonRefused, IsNoStrictJson) {
  JsonDocument document;
  JsonLimits limits;
  if (std::string_view(GetParam().name) == "very_deep") limits.bytes_max = 200'000;
  const auto read = document.read(GetParam().text, limits);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, code::kBadJson);
}
INSTANTIATE_TEST_SUITE_P(Json, JsonRefused, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

TEST(Json, ReadsEveryKindOfValue) {
  JsonDocument document;
  const auto root = document.read(
      "\t{ \"s\" : \"a\\u00e9\\n\\ud83d\\ude00\" , \"n\":-12.5e+3,\"i\":42,\"t\":true,\"f\":false,"
      "\"z\":null,\"l\":[1,[],{}],\"o\":{\"x\":{\"y/z\":\"deep\"}}} \r\n");
  ASSERT_TRUE(root.has_value()) << root.error().what;
  EXPECT_EQ(root->find("s").text(), "a\xc3\xa9\n\xf0\x9f\x98\x80");
  EXPECT_EQ(root->find("n").text(), "-12.5e+3");
  EXPECT_FALSE(root->find("n").integer().has_value());
  EXPECT_EQ(root->find("i").integer(), 42);
  EXPECT_TRUE(root->find("t").is(JsonKind::kTrue));
  EXPECT_TRUE(root->find("f").is(JsonKind::kFalse));
  EXPECT_TRUE(root->find("z").is(JsonKind::kNull));
  EXPECT_EQ(root->find("l").first().integer(), 1);
  EXPECT_TRUE(root->find("l").first().next().is(JsonKind::kArray));
  EXPECT_FALSE(root->find("l").first().next().next().next());
  EXPECT_EQ(root->at("/o/x/y~1z").text(), "deep");
  EXPECT_FALSE(root->at("/o/nothing/here"));
  EXPECT_FALSE(root->find("nothing"));
}

TEST(Json, IntegersAreWholeAndFit) {
  JsonDocument document;
  const auto root = document.read(
      R"({"max":9223372036854775807,"over":9223372036854775808,"huge":1e400,"point":1.0,"exp":1e3,"text":"1"})");
  ASSERT_TRUE(root.has_value());
  EXPECT_EQ(root->find("max").integer(), INT64_MAX);
  for (const char* name : {"over", "huge", "point", "exp", "text", "missing"}) {
    EXPECT_FALSE(root->find(name).integer().has_value()) << name;
  }
}

TEST(Json, CountsWhatItHolds) {
  JsonDocument document;
  std::string list = "[0";
  for (int i = 0; i < 600; ++i) list += ",0";
  EXPECT_FALSE(document.read(list + "]").has_value());
  std::string object = "{\"a\":0";
  for (int i = 0; i < 200; ++i) object += ",\"n" + std::to_string(i) + "\":0";
  EXPECT_FALSE(document.read(object + "}").has_value());
}

TEST(Json, IsReadWholeOrNotAtAll) {
  const std::string text = R"({"iss":"a","aud":["b","\u00e9"],"exp":1.5e3,"x":{"y":[true,null]}})";
  JsonDocument document;
  ASSERT_TRUE(document.read(text).has_value());
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_FALSE(document.read(text.substr(0, cut)).has_value()) << cut;
  }
}

}  // namespace
}  // namespace merlon::identity
