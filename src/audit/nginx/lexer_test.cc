#include "audit/nginx/lexer.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace merlon::audit::nginx {
namespace {

struct Case {
  const char* name;
  std::string_view text;
  std::vector<std::string> words;
  Lexer::End end;
};

const Case kCases[] = {
    {"plain", "a b;", {"a", "b"}, Lexer::End::kSemicolon},
    {"block", "a b {", {"a", "b"}, Lexer::End::kBlockOpens},
    {"glued_block", "a{", {"a"}, Lexer::End::kBlockOpens},
    {"comment", "# x\na # y\n b;", {"a", "b"}, Lexer::End::kSemicolon},
    {"hash_inside_a_word", "a b#c;", {"a", "b#c"}, Lexer::End::kSemicolon},
    {"double_quotes", "a \"b c;\";", {"a", "b c;"}, Lexer::End::kSemicolon},
    {"single_quotes", "a 'b {c}';", {"a", "b {c}"}, Lexer::End::kSemicolon},
    {"escaped_quote", R"(a "b\"c";)", {"a", "b\"c"}, Lexer::End::kSemicolon},
    {"escapes", R"(a "x\ty\nz\\";)", {"a", "x\ty\nz\\"}, Lexer::End::kSemicolon},
    {"other_escapes_stay", R"(a \.php$;)", {"a", R"(\.php$)"}, Lexer::End::kSemicolon},
    {"escaped_semicolon", R"(a b\;c;)", {"a", R"(b\;c)"}, Lexer::End::kSemicolon},
    {"quote_inside_a_word", "a b\"c;", {"a", "b\"c"}, Lexer::End::kSemicolon},
    {"braced_variable", "a ${b}c;", {"a", "${b}c"}, Lexer::End::kSemicolon},
    {"braced_variable_inside", "a b${c};", {"a", "b${c}"}, Lexer::End::kSemicolon},
    {"empty_quotes", "a \"\";", {"a", ""}, Lexer::End::kSemicolon},
    {"quote_before_parenthesis",
     "if ($a = \"b\") {",
     {"if", "($a", "=", "b", ")"},
     Lexer::End::kBlockOpens},
    {"lines", "a\n  b\r\n\tc;", {"a", "b", "c"}, Lexer::End::kSemicolon},
    {"end_of_text", "a b", {"a", "b"}, Lexer::End::kText},
    {"nothing", " \n # only this", {}, Lexer::End::kText},
    {"lone_semicolon", ";", {}, Lexer::End::kError},
    {"lone_brace", "{", {}, Lexer::End::kError},
    {"closing", "}", {}, Lexer::End::kBlockCloses},
    {"closing_in_a_statement", "a }", {"a"}, Lexer::End::kError},
    {"open_quote", "a \"b;", {"a"}, Lexer::End::kError},
    {"text_after_quote", "a \"b\"c;", {"a"}, Lexer::End::kError},
};

class Statement : public testing::TestWithParam<Case> {};

TEST_P(Statement, IsCutIntoWordsAsNginxDoes) {
  std::deque<std::string> pool;
  Lexer lexer(GetParam().text, pool);
  std::vector<Word> words;
  const Lexer::End end = lexer.next(words);
  std::vector<std::string> texts;
  for (const Word& word : words) texts.emplace_back(word.text);
  EXPECT_EQ(end, GetParam().end);
  EXPECT_EQ(texts, GetParam().words);
}

INSTANTIATE_TEST_SUITE_P(Nginx, Statement, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(Lexer, KnowsLinesAndColumns) {
  std::deque<std::string> pool;
  Lexer lexer("# one\n  add_header\tX \"a\nb\"\n  always;\nnext;", pool);
  std::vector<Word> words;
  ASSERT_EQ(lexer.next(words), Lexer::End::kSemicolon);
  ASSERT_EQ(words.size(), 4U);
  EXPECT_EQ(words[0].line, 2U);
  EXPECT_EQ(words[0].column, 3U);
  EXPECT_EQ(words[1].column, 14U);
  EXPECT_TRUE(words[2].quoted);
  EXPECT_EQ(words[3].line, 4U);
  EXPECT_EQ(words[3].column, 3U);
  ASSERT_EQ(lexer.next(words), Lexer::End::kSemicolon);
  EXPECT_EQ(words[0].line, 5U);
}

TEST(Lexer, RefusesAWordThatDoesNotFitNginxsBuffer) {
  const std::string text = "a " + std::string(5000, 'x') + ";";
  std::deque<std::string> pool;
  Lexer lexer(text, pool);
  std::vector<Word> words;
  EXPECT_EQ(lexer.next(words), Lexer::End::kError);
}

struct LuaCase {
  const char* name;
  std::string_view text;
  std::string_view raw;
  bool closed;
};

const LuaCase kLua[] = {
    {"nested", "a { b } c } rest", "a { b } c ", true},
    {"string", "x = \"}\" } rest", "x = \"}\" ", true},
    {"escaped_string", "x = '\\'}' } rest", "x = '\\'}' ", true},
    {"comment", "-- }\n } rest", "-- }\n ", true},
    {"long_comment", "--[[ } ]] } rest", "--[[ } ]] ", true},
    {"long_string", "x = [==[ } ]] ]==] } rest", "x = [==[ } ]] ]==] ", true},
    {"index", "t[1] = {} } rest", "t[1] = {} ", true},
    {"minus", "a - b } rest", "a - b ", true},
    {"open", "x = { ", "x = { ", false},
    {"open_string", "x = [[ ", "x = [[ ", false},
};

class LuaBlock : public testing::TestWithParam<LuaCase> {};

TEST_P(LuaBlock, EndsAtItsOwnBrace) {
  std::deque<std::string> pool;
  Lexer lexer(GetParam().text, pool);
  std::string_view raw;
  EXPECT_EQ(lexer.lua_block(raw), GetParam().closed);
  EXPECT_EQ(raw, GetParam().raw);
}

INSTANTIATE_TEST_SUITE_P(Nginx, LuaBlock, testing::ValuesIn(kLua),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
