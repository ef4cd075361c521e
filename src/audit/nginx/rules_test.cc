#include "audit/nginx/rules.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "audit/nginx/files.h"
#include "audit/nginx/lexer.h"

namespace merlon::audit::nginx {
namespace {

/// A fix that repeats a statement must not change it, or nginx refuses the file.
class Repeated : public testing::TestWithParam<const char*> {};

TEST_P(Repeated, StatementIsReadAsTheSameWords) {
  Tree tree;
  NoIncludes none;
  parse(tree, std::make_shared<const Source>(Source{"a.conf", GetParam()}), none);
  ASSERT_EQ(tree.root.body.size(), 1U);
  const Directive& written = *tree.root.body.front();

  const std::string again = statement(written) + ";";

  std::deque<std::string> pool;
  Lexer lexer(again, pool);
  std::vector<Word> words;
  ASSERT_EQ(lexer.next(words), Lexer::End::kSemicolon) << again;
  ASSERT_EQ(words.size(), written.args.size() + 1) << again;
  for (std::size_t i = 0; i < written.args.size(); ++i) {
    EXPECT_EQ(words[i + 1].text, written.args[i].text) << again;
  }
  EXPECT_EQ(again.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Nginx, Repeated,
                         testing::Values("gzip on;", "a \"\" '';",
                                         "a 'fullscreen=(self \"https://m.example.com\")';",
                                         "a \"say \\\"hi\\\"; now\";", "a \"both ' and \\\"\";",
                                         "a 'x\\'\"y';", "a \\\"1\\\";", "a b\\\\n;", "a \\'x;",
                                         "a x\\ty;", "a '\\\\';", "a \"\\\\\\\"\";",
                                         "a \"\\.php$\" \\.php$ ~\\d+\\s;", "a \"x\\ny\\rz\";",
                                         "a 'two\nlines';", "a\n  b # not this\n  c;",
                                         "a ${x}y \"${x} y\";", "a x\"y;", "a x\\ y;"));

}  // namespace
}  // namespace merlon::audit::nginx
