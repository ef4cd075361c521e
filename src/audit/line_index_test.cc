#include "audit/line_index.h"

#include <gtest/gtest.h>

namespace merlon::audit {
namespace {

TEST(LineIndex, GivesTheLinesThatTheSourceGives) {
  for (const char* text : {"", "\n", "a", "a\n", "a\r\nb", "a\n\n\r\nlast\r", "\n\nx"}) {
    const Source source{"nginx.conf", text};
    LineIndex lines;
    for (std::uint32_t number = 0; number < 7; ++number) {
      EXPECT_EQ(lines.line(source, number), source.line(number)) << text << " line " << number;
    }
  }
}

}  // namespace
}  // namespace merlon::audit
