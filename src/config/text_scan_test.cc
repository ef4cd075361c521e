#include "config/text_scan.h"

#include <gtest/gtest.h>

namespace merlon::config {
namespace {

struct Case {
  const char* name;
  std::string_view text;
  std::optional<std::size_t> bad_at;  // nullopt: all of it is allowed
};

constexpr Case kCases[] = {
    {"ascii", "a: 1\n\tb\r\n", {}},
    {"two_three_four_bytes", "\xC3\xA4 \xE2\x82\xAC \xF0\x9F\x90\xA6", {}},
    {"nul", std::string_view("a\0b", 3), 1},
    {"escape", "ab\x1B[0m", 2},  // would steer the terminal that shows it
    {"delete", "\x7F", 0},
    {"lone_continuation", "a\x80", 1},
    {"overlong_slash", "a\xC0\xAF", 1},  // an old way to hide "/"
    {"overlong_three_bytes", "\xE0\x80\xAF", 0},
    {"surrogate", "\xED\xA0\x80", 0},
    {"beyond_unicode", "\xF4\x90\x80\x80", 0},
    {"five_bytes", "\xF8\x88\x80\x80\x80", 0},
    {"cut_short", "ab\xE2\x82", 2},
    {"c1_control", "a\xC2\x9B", 1},  // CSI in one character
    {"next_line", "# a\xC2\x85", 3},
    {"line_separator", "# a\xE2\x80\xA8", 3},
    {"paragraph_separator", "# a\xE2\x80\xA9", 3},
    {"lone_return", "# a\rb\n", 3},
    {"lone_return_at_the_end", "a: 1\r", 4},
    {"byte_order_mark_inside", "a\xEF\xBB\xBF", 1},
    {"noncharacter", "\xEF\xBF\xBF", 0},
};

class BadByteTest : public testing::TestWithParam<Case> {};
TEST_P(BadByteTest, IsFoundWhereItIs) {
  const auto bad = find_bad_byte(GetParam().text);
  ASSERT_EQ(bad.has_value(), GetParam().bad_at.has_value());
  if (bad.has_value()) {
    EXPECT_EQ(bad->offset_bytes, *GetParam().bad_at);
    EXPECT_FALSE(bad->problem.empty());
  }
}
INSTANTIATE_TEST_SUITE_P(TextScan, BadByteTest, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(Positions, CountBytesAndOrdinaryLines) {
  const std::string_view text = "\xC3\xA4\xC3\xB6: 1\nb\r2\xE2\x80\xA8x: y\n";
  const Positions positions(text);
  // Character 2 is the colon, after two characters of two bytes.
  EXPECT_EQ(positions.locate(2, 0, 2).column, 5U);
  // libyaml counts "\r" and U+2028 as line ends; editors do not count the first.
  const Position x = positions.of_byte(text.find('x'));
  EXPECT_EQ(x.line, 2U);
  EXPECT_EQ(x.column, 7U);
}

TEST(Positions, AgreeWithAScanAtEveryCharacter) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += i % 7 == 0 ? "\n" : i % 3 == 0 ? "\xE2\x82\xAC" : "a";
  const Positions positions(text);
  std::size_t index = 0;
  std::uint32_t line = 1;
  std::uint32_t column = 1;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
      const Position got = positions.locate(index, 0, 0);
      ASSERT_EQ(got.line, line) << index;
      ASSERT_EQ(got.column, column) << index;
      ++index;
    }
    ++column;
    if (c == '\n') {
      ++line;
      column = 1;
    }
  }
}

}  // namespace
}  // namespace merlon::config
