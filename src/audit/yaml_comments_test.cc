#include "audit/yaml_comments.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::audit {
namespace {

/// Each "#" that begins a comment is written "#!", each other one "#".
struct Case {
  const char* name;
  const char* text;
};
constexpr Case kCases[] = {
    {"lines", "#! a\na: 1 #! b\n  #! c\nb: x#y\n"},
    {"quotes", "a: '# ''# ' #! x\nb: \"# \\\" # \" #! y\n"},
    {"quotes_over_lines", "a: \"x\n # y\n # z\" #! c\nb: 'x\n # y' #! d\n"},
    {"quotes_in_plain_text", "a: don't 'do #! x\nb: 5\" #! y\nc: x, 'y #! z\nd: a - 'b #! e\n"},
    {"flow", "a: [x, '# ', {b: \"# \"}] #! y\nc: {\"d\":\"# \"} #! z\n"},
    {"block_scalar", "a: |\n  # x\n\n  y\nb: >-  #! c\n  # d\n #! ends it\nc: 1 #! e\n"},
    {"block_scalar_in_a_list",
     "- |\n  # x\n- a: |2-\n    # y\n  b: 1 #! z\n- - !!str |\n    # w\n#! v\n"},
    {"block_scalar_of_a_document", "--- |\n # x\n"},
    {"plain_bar", "a: b |\n #! c\n"},
    {"map_of_other_files", "kind: ConfigMap\ndata:\n  a: |\n    # x\n#! y\n"},
    {"map_of_envoys_files",
     "kind: ConfigMap\ndata:\n  a: |\n    #! x\n    static_resources: {}\n#! y\n"},
    {"windows", "a: |\r\n  # x\r\nb: 1 #! y\r\n"},
};
class YamlComments : public testing::TestWithParam<Case> {};
TEST_P(YamlComments, AreThoseOutsideOfTexts) {
  std::string text;
  std::vector<std::size_t> want;
  for (const char* at = GetParam().text; *at != '\0'; ++at) {
    if (*at == '!' && !text.empty() && text.back() == '#') {
      want.push_back(text.size() - 1);
    } else {
      text += *at;
    }
  }
  EXPECT_EQ(yaml_comments(text), want);
  // Cut anywhere, it still ends.
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_LE(yaml_comments(std::string_view(text).substr(0, size)).size(), want.size() + 1);
  }
}
INSTANTIATE_TEST_SUITE_P(All, YamlComments, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit
