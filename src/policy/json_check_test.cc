#include "policy/json_check.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace merlon::policy {
namespace {

/// 0 when the text is let through, else the code of what is wrong, whole or cut at `cut`.
std::uint16_t judge(std::string_view text, std::size_t cut, unsigned depth = 32) {
  JsonChecker checker(depth);
  for (const std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
    const Result<void> taken = checker.take(part);
    if (!taken) return taken.error().code;
  }
  const Result<void> ended = checker.finish();
  return ended ? std::uint16_t{0} : ended.error().code;
}

struct Case {
  std::string_view text;
  bool good;
};
using namespace std::string_view_literals;
constexpr Case kCases[] = {
    {"{}", true},
    {" [ ] ", true},
    {"\t\r\n{\"a\":[1,-0,0.5,1e9,1E+9,1.25e-3,true,false,null,\"\"]}\n", true},
    {"\"text\"", true},
    {"0", true},
    {"-0.0", true},
    {"12345678901234567890123456789", true},
    {R"("\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\ufFfF")", true},
    {"\"0123456789abcdef0123456789abcdef\xC3\xA9\"", true},
    {"\"\xED\x9F\xBF \xEE\x80\x80 \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF \xE0\xA0\x80\"", true},
    {"\"\x7f\"", true},
    {"", false},
    {" ", false},
    {"{", false},
    {"[1", false},
    {"]", false},
    {"[}", false},
    {"{]", false},
    {"[1,]", false},
    {"[,1]", false},
    {"[1 2]", false},
    {"{\"a\"}", false},
    {"{\"a\":}", false},
    {"{\"a\":1,}", false},
    {"{a:1}", false},
    {"{1:1}", false},
    {"{'a':1}", false},
    {"{\"a\":1 \"b\":2}", false},
    {"{} {}", false},
    {"{},", false},
    {"nul", false},
    {"nulL", false},
    {"truee", false},
    {"True", false},
    {"NaN", false},
    {"Infinity", false},
    {"01", false},
    {"-", false},
    {"+1", false},
    {".5", false},
    {"5.", false},
    {"1e", false},
    {"1e+", false},
    {"1.e3", false},
    {"0x10", false},
    {"1.2.3", false},
    {"1e5.5", false},
    {"--1", false},
    {"\"", false},
    {"\"\\\"", false},
    {"\"\\x\"", false},
    {"\"\\u12g4\"", false},
    {"\"\\u123\"", false},
    {R"("\ud800")", false},
    {R"("\ud800x")", false},
    {R"("\ud800\n")", false},
    {R"("\ud800\ud800")", false},
    {R"("\udc00")", false},
    {"\"a\nb\"", false},
    {"\"a\0b\""sv, false},
    {"\xEF\xBB\xBF{}", false},
    {"\"\x80\"", false},
    {"\"\xC0\xAF\"", false},
    {"\"\xC1\x81\"", false},
    {"\"\xE0\x9F\xBF\"", false},
    {"\"\xED\xA0\x80\"", false},
    {"\"\xF0\x8F\xBF\xBF\"", false},
    {"\"\xF4\x90\x80\x80\"", false},
    {"\"\xF5\x80\x80\x80\"", false},
    {"\"\xC3\"", false},
    {"\"\xE2\x82\"", false},
    {"// comment\n1", false},
    {"[1]\0"sv, false},
};

TEST(JsonChecker, TakesJsonAndNothingElseWhereverItIsCut) {
  for (const Case& test : kCases) {
    for (std::size_t cut = 0; cut <= test.text.size(); ++cut) {
      EXPECT_EQ(judge(test.text, cut) == 0, test.good) << test.text << " cut at " << cut;
    }
  }
}

TEST(JsonChecker, CountsDepthOfBothKinds) {
  EXPECT_EQ(judge("1", 0, 0), 0);
  EXPECT_EQ(judge("[]", 0, 0), code::kJsonTooDeep);
  EXPECT_EQ(judge("[{\"a\":[]}]", 0, 3), 0);
  EXPECT_EQ(judge("[{\"a\":[[]]}]", 0, 3), code::kJsonTooDeep);
  EXPECT_EQ(judge("[[],[],[[]]]", 0, 3), 0);
  // A stack of brackets is refused at the first that is too deep, not at its end.
  const std::string deep(1 << 20U, '[');
  JsonChecker checker(512);
  EXPECT_TRUE(checker.take(std::string_view(deep).substr(0, 512)));
  EXPECT_EQ(checker.take(std::string_view(deep).substr(0, 1)).error().code, code::kJsonTooDeep);
}

TEST(JsonChecker, CountsNames) {
  JsonChecker checker;
  ASSERT_TRUE(checker.take("{\"a\":{\"b\":1,\"b\":2},\"c\":[\"d\",{\"e\":\"f\"}]}"));
  EXPECT_TRUE(checker.finish());
  EXPECT_EQ(checker.names(), 5U);
}

/// What another reader of JSON says; nothing where a number is beyond a double, which it stops at.
std::optional<bool> other_accepts(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json::parse(text));
    return true;
  } catch (const nlohmann::json::out_of_range&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

/// What another reader of JSON lets through is let through, and nothing else, on mutated texts.
TEST(JsonChecker, AgreesWithAnotherReader) {
  std::mt19937 random(20270101);
  constexpr std::string_view kBytes = "{}[]\":,\\u0dDc8 \n-+.eE19truefalsnx/\x80\xC3\xA9\xED\xA0";
  const std::string seed =
      R"({"name":"caf\u00e9 é","list":[1,-2.5e+10,0,true,false,null,{"x":"\ud83d\ude00"}],"n":{}})";
  for (int round = 0; round < 5'000; ++round) {
    std::string text = seed;
    for (unsigned change = random() % 4; change-- > 0;) {
      const std::size_t at = random() % text.size();
      const char byte = kBytes[random() % kBytes.size()];
      switch (random() % 3) {
        case 0:
          text[at] = byte;
          break;
        case 1:
          text.insert(at, 1, byte);
          break;
        default:
          text.erase(at, 1 + random() % 5);
      }
      if (text.empty()) text = "0";
    }
    const bool accepted = judge(text, random() % (text.size() + 1)) == 0;
    EXPECT_EQ(accepted, other_accepts(text).value_or(accepted)) << text;
  }
}

}  // namespace
}  // namespace merlon::policy
