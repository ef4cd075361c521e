#include "base/diagnostics.h"

#include <gtest/gtest.h>

namespace merlon {
namespace {

Mark mark_in(std::string text, std::uint32_t line, std::uint32_t column, std::uint32_t length) {
  auto source = std::make_shared<Source>(Source{.path = "m.yaml", .text = std::move(text)});
  return Mark{.source = source, .line = line, .column = column, .length = length};
}

TEST(Diagnostics, ShowsTheLineWithACaretAndTheHelp) {
  Diagnostics diagnostics;
  diagnostics.error(mark_in("version: 1\nlistners: []\n", 2, 1, 8), "unknown key `listners`",
                    "did you mean `listeners`?");
  EXPECT_EQ(diagnostics.render(),
            "m.yaml:2:1: error: unknown key `listners`\n"
            "    2 | listners: []\n"
            "      | ^~~~~~~~\n"
            "      = help: did you mean `listeners`?\n");
  EXPECT_FALSE(diagnostics.ok());
}

TEST(Diagnostics, NeverLetsTheTerminalObeyTheFile) {
  Diagnostics diagnostics;
  diagnostics.error(mark_in("a: \x1b[31m\x07x", 1, 4, 1), "bad");
  const std::string text = diagnostics.render();
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("\\x1b[31m\\x07x"), std::string::npos);
}

TEST(Diagnostics, CutsALongLineAroundTheColumn) {
  Diagnostics diagnostics;
  diagnostics.error(mark_in(std::string(5000, 'a') + "B" + std::string(5000, 'c'), 1, 5001, 1),
                    "bad");
  EXPECT_LT(diagnostics.render().size(), 600U);
  EXPECT_NE(diagnostics.render().find('B'), std::string::npos);
}

TEST(Diagnostics, SortsByPlace) {
  const Mark first = mark_in("a\nb\n", 1, 1, 1);
  Mark second = first;
  second.line = 2;
  Diagnostics diagnostics;
  diagnostics.error({}, "nowhere");
  diagnostics.error(second, "second");
  diagnostics.warning(first, "first");
  diagnostics.sort();
  EXPECT_EQ(diagnostics.all()[0].message, "first");
  EXPECT_EQ(diagnostics.all()[1].message, "second");
  EXPECT_EQ(diagnostics.all()[2].message, "nowhere");
  EXPECT_EQ(diagnostics.error_count(), 2U);
}

TEST(Nearest, SuggestsOnlyWhatIsNear) {
  const std::vector<std::string_view> keys = {"listeners", "upstreams", "routes", "rate_limit"};
  EXPECT_EQ(nearest("listners", keys), "listeners");
  EXPECT_EQ(nearest("upstream", keys), "upstreams");
  EXPECT_EQ(nearest("ratelimit", keys), "rate_limit");
  EXPECT_EQ(nearest("banana", keys), "");
}

}  // namespace
}  // namespace merlon
