#include "base/escape.h"

#include <gtest/gtest.h>

namespace merlon {
namespace {

TEST(Escape, MakesValidJsonOfAnyBytes) {
  EXPECT_EQ(json_quoted("plain /path?x=1"), "\"plain /path?x=1\"");
  EXPECT_EQ(json_quoted("a\"b\\c\n\r\t"), "\"a\\\"b\\\\c\\n\\r\\t\"");
  EXPECT_EQ(json_quoted(std::string_view("\0\x1b\x7f", 3)), "\"\\u0000\\u001b\\u007f\"");
  EXPECT_EQ(json_quoted("\xc3\xa9"), "\"\xc3\xa9\"");
  EXPECT_EQ(json_quoted("\xff\xc0\xaf"), "\"\\ufffd\\ufffd\\ufffd\"");  // overlong slash
  EXPECT_EQ(json_quoted("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");  // surrogate
  EXPECT_EQ(json_quoted("\xf0\x9f\x98"), "\"\\ufffd\\ufffd\\ufffd\"");  // cut short
}

TEST(Escape, CutsLongText) {
  std::string out;
  append_json_escaped(out, std::string(100, 'a'), 5);
  EXPECT_EQ(out, "aaaaa...");
}

}  // namespace
}  // namespace merlon
