#include "policy/json_schema.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "policy/json_check.h"

namespace merlon::policy {
namespace {

/// 0 when `text` fits, else the code; `pointer` is where not.
std::uint16_t judge(const JsonSchema& schema, std::string_view text, std::string& pointer) {
  JsonChecker checker;
  if (!checker.take(text) || !checker.finish()) return code::kJsonMalformed;
  const Result<void> judged = schema.judge(text, checker.names(), &pointer);
  return judged ? std::uint16_t{0} : judged.error().code;
}

std::shared_ptr<const JsonSchema> compiled(std::string_view text) {
  auto schema = JsonSchema::read(text);
  EXPECT_TRUE(schema.has_value()) << text << ": " << schema.error();
  return schema.value_or(nullptr);
}

TEST(JsonSchema, JudgesByDraft7) {
  struct Case {
    std::string_view schema, good, bad, pointer;
  };
  constexpr Case kCases[] = {
      {R"({"type":"object","required":["id"],"properties":{"id":{"type":"integer","minimum":1}},
          "additionalProperties":false})",
       R"({"id":5})", R"({"id":0})", "/id"},
      {R"({"properties":{"a":{"additionalProperties":false}}})", R"({"a":{}})", R"({"a":{"b":1}})",
       "/a/b"},
      {R"({"items":{"type":"string","maxLength":3}})", R"(["abc","é€x"])", R"(["a","abcd"])", "/1"},
      {R"({"items":[{"type":"string"},{"type":"null"}],"additionalItems":false})", R"(["a",null])",
       R"(["a",null,1])", ""},
      {R"({"enum":["a",{"b":1}]})", R"({"b":1})", R"({"b":2})", ""},
      {R"({"const":null})", "null", "0", ""},
      {R"({"exclusiveMaximum":10,"multipleOf":2})", "8", "10", ""},
      {R"({"multipleOf":1})", "3.0", "1.5", ""},
      {R"({"multipleOf":5})", "-10", "5.75", ""},
      {R"({"multipleOf":0.01})", "19.99", "19.995", ""},
      {R"({"multipleOf":0.1})", "33.3", "33.33", ""},
      {R"({"multipleOf":1})", "1e300", "1000000000.5", ""},
      {R"({"maximum":9007199254740992})", "9007199254740992", "9007199254740993", ""},
      {R"({"exclusiveMinimum":-1.5})", "-1", "-1.5", ""},
      {R"({"minimum":9007199254740993})", "9007199254740994.0", "9007199254740992", ""},
      {R"({"enum":[9007199254740993,null,[1,{"a":"b"}]]})", R"([1,{"a":"b"}])", "9007199254740992",
       ""},
      {R"({"enum":["a","b"],"const":"b"})", R"("b")", R"("a")", ""},
      {R"({"const":1})", "1.0", "1.5", ""},
      {R"({"pattern":"^[a-z]+$"})", R"("abc")", R"("abc\n")", ""},
      {R"({"pattern":"^\\d{2}$"})", R"("12")", R"("١٢")", ""},
      {R"({"pattern":"x"})", "5", R"("y")", ""},
      {R"({"format":"date-time"})", R"("2027-02-28T23:59:60.5+01:00")", R"("2027-02-30T00:00:00Z")",
       ""},
      {R"({"format":"uuid"})", R"("123e4567-e89b-12d3-a456-426614174000")", R"("123e4567")", ""},
      {R"({"format":"ipv4"})", R"("192.0.2.1")", R"("192.0.2.256")", ""},
      {R"({"format":"ipv4"})", R"("192.0.2.1")", R"("::ffff:192.0.2.1")", ""},
      {R"({"format":"ipv6"})", R"("::ffff:192.0.2.1")", R"("192.0.2.1")", ""},
      {R"({"format":"email"})", R"("a.b@example.com")", R"("a b@example.com")", ""},
      {R"({"contains":{"const":1},"minItems":2})", "[0,1]", "[0,2]", ""},
      {R"({"propertyNames":{"maxLength":2}})", R"({"ab":1})", R"({"abc":1})", ""},
      {R"({"dependencies":{"a":["b"],"c":{"required":["d"]}}})", R"({"a":1,"b":2})", R"({"c":1})",
       ""},
      {R"({"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}})",
       R"({"c":1})", R"({"a":1})", ""},
      {R"({"oneOf":[{"type":"string"},{"type":"integer"}],"not":{"const":"x"}})", R"("a")",
       R"("x")", ""},
      {R"({"properties":{"a/b~c":{"type":"null"}}})", R"({"a/b~c":null})", R"({"a/b~c":1})",
       "/a~1b~0c"},
      {R"({"definitions":{"node":{"type":"object","properties":{"next":{"$ref":"#/definitions/node"}},
          "additionalProperties":false}},"$ref":"#/definitions/node"})",
       "", "", ""},
      {"true", "[1]", "", ""},
      {R"({"properties":{"no":false}})", "{}", R"({"no":1})", "/no"},
  };
  for (const Case& test : kCases) {
    if (test.good.empty()) {
      EXPECT_FALSE(JsonSchema::read(test.schema).has_value()) << test.schema;
      continue;
    }
    const auto schema = compiled(test.schema);
    ASSERT_NE(schema, nullptr);
    std::string pointer;
    EXPECT_EQ(judge(*schema, test.good, pointer), 0) << test.schema << " " << test.good;
    if (test.bad.empty()) continue;
    EXPECT_EQ(judge(*schema, test.bad, pointer), code::kSchemaMismatch)
        << test.schema << " " << test.bad;
    if (!test.pointer.empty()) EXPECT_EQ(pointer, test.pointer) << test.schema;
  }
}

TEST(JsonSchema, FollowsReferencesDown) {
  const auto schema = compiled(
      R"({"definitions":{"node":{"type":"object","properties":{"next":{"$ref":"#/definitions/node"}},
          "additionalProperties":false}},"allOf":[{"$ref":"#/definitions/node"}]})");
  ASSERT_NE(schema, nullptr);
  std::string pointer;
  EXPECT_EQ(judge(*schema, R"({"next":{"next":{}}})", pointer), 0);
  EXPECT_EQ(judge(*schema, R"({"next":{"other":{}}})", pointer), code::kSchemaMismatch);
}

TEST(JsonSchema, RefusesWhatItDoesNotKnow) {
  constexpr std::string_view kCases[] = {
      "{",
      "[]",
      "5",
      R"({"minimun":1})",
      R"({"properties":{"a":{"types":"string"}}})",
      R"({"uniqueItems":true})",
      R"({"patternProperties":{"^a":{}}})",
      R"({"contentEncoding":"base64"})",
      R"({"unevaluatedProperties":false})",
      R"({"$schema":"https://json-schema.org/draft/2020-12/schema"})",
      R"({"$schema":"http://json-schema.org/draft-04/schema#"})",
      R"({"items":{"$id":"other"}})",
      R"({"type":"strin"})",
      R"({"type":[]})",
      R"({"required":"a"})",
      R"({"minLength":-1})",
      R"({"multipleOf":0})",
      R"({"exclusiveMinimum":true})",
      R"({"enum":[]})",
      R"({"allOf":{}})",
      R"({"properties":[]})",
      R"({"pattern":"["})",
      R"({"pattern":"\\C"})",
      R"({"format":"hostname"})",
      R"({"then":{}})",
      R"({"$ref":"other.json"})",
      R"({"$ref":"#/definitions/a"})",
      R"({"properties":{"a":{"$ref":"#","type":"string"}}})",
      R"({"allOf":[{"$ref":"#"}]})",
      R"({"definitions":{"a":{"$ref":"#/definitions/b"},"b":{"not":{"$ref":"#/definitions/a"}}}})",
      R"({"properties":{"a":{"$ref":"#/properties"}}})",
  };
  for (const std::string_view text : kCases) EXPECT_FALSE(JsonSchema::read(text)) << text;
}

TEST(JsonSchema, ASchemaThatIsOnlyPartlyReadIsRefused) {
  using namespace std::literals;
  EXPECT_FALSE(JsonSchema::read("{}\0{\"a\": 1}"sv));
  EXPECT_FALSE(JsonSchema::read("0\0{\"a\0\0n"sv));
  EXPECT_FALSE(JsonSchema::read("\xEF\xBB\xBF{}"));
  EXPECT_FALSE(JsonSchema::read(R"({"maximum":1,"maximum":2})"));
  EXPECT_FALSE(JsonSchema::read(R"({"maximum":1e999})"));
}

TEST(JsonSchema, NamesGivenTwiceAreRefused) {
  const auto schema = compiled(R"({"properties":{"role":{"const":"user"}}})");
  std::string pointer;
  EXPECT_EQ(judge(*schema, R"({"role":"admin","role":"user"})", pointer), code::kJsonDuplicateName);
  EXPECT_EQ(judge(*schema, R"({"role":"user","x":{"a":1,"\u0061":1}})", pointer),
            code::kJsonDuplicateName);
}

TEST(JsonSchema, NumbersBeyond64BitsDoNotWrapAround) {
  const auto schema = compiled(R"({"maximum":100})");
  std::string pointer;
  EXPECT_EQ(judge(*schema, "18446744073709551615", pointer), code::kJsonMalformed);
  EXPECT_EQ(judge(*schema, "1e400", pointer), code::kJsonMalformed);
  EXPECT_EQ(judge(*schema, "9223372036854775807", pointer), code::kSchemaMismatch);
  const auto any = compiled("true");
  for (const char* beyond : {"9223372036854775808", "-9223372036854775809", "18446744073709551616",
                             R"({"a":[1,"9\"",123456789012345678901234567890]})"})
    EXPECT_EQ(judge(*any, beyond, pointer), code::kJsonMalformed) << beyond;
  for (const char* fits :
       {"-9223372036854775808", "9223372036854775808.0", "1e300", R"(["\\",-0])"})
    EXPECT_EQ(judge(*any, fits, pointer), 0) << fits;
  EXPECT_EQ(judge(*compiled(R"({"multipleOf":1})"), "-9223372036854775808", pointer), 0);
}

/// A84: what takes exponential time elsewhere ends after so many steps.
TEST(JsonSchema, WorkIsBounded) {
  const auto greedy = compiled(R"({"pattern":"^(a+)+$"})");
  std::string pointer;
  EXPECT_EQ(judge(*greedy, '"' + std::string(5000, 'a') + "!\"", pointer), code::kSchemaMismatch);
  const auto branching = compiled(
      R"({"anyOf":[{"type":"array","items":{"$ref":"#"}},{"type":"array","items":{"$ref":"#"}}]})");
  const std::string deep = std::string(32, '[') + "1" + std::string(32, ']');
  EXPECT_EQ(judge(*branching, deep, pointer), code::kSchemaMismatch);
}

/// What many values are compared with, or looked for in each of them, is work, too.
TEST(JsonSchema, LongListsAreCounted) {
  std::string numbers = "0";
  std::string words = R"("w")";
  std::string names;
  for (int i = 1; i < 250; ++i) {
    numbers += ',' + std::to_string(i);
    words += ",\"w" + std::to_string(i) + '"';
    names += (i == 1 ? "\"p" : ",\"p") + std::to_string(i) + "\":{}";
  }
  const auto repeated = [](std::string_view item, std::size_t count) {
    std::string text = "[";
    for (std::size_t i = 0; i < count; ++i) text.append(item).append(",");
    text.back() = ']';
    return text;
  };
  std::string pointer;
  const auto of_numbers = compiled(R"({"items":{"enum":[)" + numbers + "]}}");
  EXPECT_EQ(judge(*of_numbers, repeated("249", 200'000), pointer), code::kSchemaMismatch);
  EXPECT_EQ(judge(*of_numbers, repeated("1", 10'000), pointer), 0);
  const auto of_words = compiled(R"({"items":{"enum":[)" + words + "]}}");
  EXPECT_EQ(judge(*of_words, repeated("\"w249\"", 100'000), pointer), 0);
  const auto of_names = compiled(R"({"items":{"properties":{)" + names + "}}}");
  EXPECT_EQ(judge(*of_names, repeated("{}", 100'000), pointer), code::kSchemaMismatch);
  EXPECT_EQ(judge(*of_names, repeated(R"({"p1":"some text","p2":"some more text"})", 500), pointer),
            0);
}

/// The stack of a worker holds the deepest text that a schema may be asked about.
TEST(JsonSchema, ChainsAreBounded) {
  const auto chain_of = [](int length) {
    std::string schema =
        R"({"items":{"$ref":"#"},"allOf":[{"$ref":"#/definitions/d0"}],"definitions":{)";
    for (int i = 0; i < length; ++i)
      schema += "\"d" + std::to_string(i) + R"(":{"allOf":[{"$ref":"#/definitions/d)" +
                std::to_string(i + 1) + "\"}]},";
    return schema + "\"d" + std::to_string(length) + "\":{}}}";
  };
  EXPECT_FALSE(JsonSchema::read(chain_of(20)).has_value());
  const auto longest = compiled(chain_of(14));
  ASSERT_NE(longest, nullptr);
  std::string pointer;
  EXPECT_EQ(judge(*longest, std::string(128, '[') + std::string(128, ']'), pointer), 0);
}

/// A84: under `not`, `if` and `oneOf`, a text that is too much work is no text that does not match.
TEST(JsonSchema, TooMuchWorkIsNoMismatch) {
  const std::string letters(12'000, 'a');
  // Each place of the text takes as many steps as letters are left.
  const std::string hostile = '"' + letters + "1\"";
  constexpr std::string_view kForbid = R"({"not":{"pattern":".*<script"}})";
  constexpr std::string_view kIf =
      R"({"if":{"pattern":"[a-z]*z1"},"then":{"maxLength":3},"else":true})";
  constexpr std::string_view kOneOf = R"({"oneOf":[{"pattern":"[a-z]*z1"},{"type":"string"}]})";
  constexpr std::string_view kContains = R"({"not":{"contains":{"pattern":"(a|aa)*1"}}})";
  struct Case {
    std::string_view schema;
    std::string text;
    bool good;
  };
  const Case cases[] = {
      {kForbid, R"("hello")", true},
      {kForbid, R"("<script>")", false},
      {kForbid, '"' + letters + "t\"", true},
      {kForbid, '"' + letters + "<script>\"", false},
      {R"({"not":{"pattern":"[a-z]*z1"}})", hostile, false},
      {R"({"not":{"pattern":"[a-z]*z1"}})", R"("abc1")", true},
      {kIf, hostile, false},
      {kIf, R"("abc1")", true},
      {kOneOf, hostile, false},
      {kOneOf, R"("abc1")", true},
      {kContains, '[' + hostile + ']', false},
      {kContains, R"(["b"])", true},
  };
  for (const Case& test : cases) {
    std::string pointer;
    EXPECT_EQ(judge(*compiled(test.schema), test.text, pointer),
              test.good ? 0 : code::kSchemaMismatch)
        << test.schema << " " << test.text.substr(0, 16);
  }
}

/// What honest schemas ask of honest texts is far from the bound.
TEST(JsonSchema, ManyTextsThatMatchAreNotTooMuch) {
  const auto schema = compiled(
      R"({"items":{"allOf":[{"pattern":"^[a-z0-9-]+$"},{"pattern":"^[^@]+$"},{"type":"string"}]}})");
  std::string text = "[";
  for (int i = 0; i < 20'000; ++i) text += "\"a-1\",";
  text.back() = ']';
  std::string pointer;
  EXPECT_EQ(judge(*schema, text, pointer), 0);
}

}  // namespace
}  // namespace merlon::policy
