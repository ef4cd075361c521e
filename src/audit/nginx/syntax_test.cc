#include "audit/nginx/syntax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "audit/nginx/directives.h"
#include "audit/nginx/files.h"

namespace merlon::audit::nginx {
namespace {

/// Includes from a map, so that tests need no files.
class MapIncludes final : public IncludeFinder {
 public:
  explicit MapIncludes(std::map<std::string, std::string> files) {
    for (auto& [path, text] : files) {
      files_.emplace(path, std::make_shared<const Source>(Source{path, text}));
    }
  }
  Included find(std::string_view pattern, const Source& /*from*/) override {
    Included out;
    const auto found = files_.find(std::string(pattern));
    if (found != files_.end()) out.files.push_back(found->second);
    return out;
  }

 private:
  std::map<std::string, std::shared_ptr<const Source>> files_;
};

std::shared_ptr<const Source> source(std::string text) {
  return std::make_shared<const Source>(Source{"main.conf", std::move(text)});
}

std::vector<std::string> problems(const Tree& tree) {
  std::vector<std::string> out;
  for (const Problem& problem : tree.problems) {
    out.push_back(std::to_string(problem.at.line) + " " + problem.what);
  }
  return out;
}

TEST(Syntax, PutsWhatAnIncludeBringsBehindIt) {
  MapIncludes includes({{"a.inc", "listen 80;\nserver_name a;\n"}});
  Tree tree;
  parse(tree, source("http {\n server {\n  include a.inc;\n  return 404;\n }\n}\n"), includes);
  ASSERT_TRUE(tree.problems.empty());
  const Directive& server = *tree.root.body[0]->body[0];
  ASSERT_EQ(server.body.size(), 4U);
  EXPECT_EQ(server.body[1]->name.text, "listen");
  EXPECT_EQ(server.body[1]->via, server.body[0]);
  EXPECT_EQ(server.body[1]->mark().to_string(), "a.inc:1:1");
  EXPECT_EQ(server.body[3]->name.text, "return");
  EXPECT_EQ(tree.files.size(), 2U);
  EXPECT_EQ(tree.includes, 1U);
}

TEST(Syntax, SeesALoopOfIncludes) {
  MapIncludes includes({{"a.inc", "include b.inc;"}, {"b.inc", "include a.inc;"}});
  Tree tree;
  parse(tree, source("include a.inc;"), includes);
  ASSERT_EQ(tree.problems.size(), 1U);
  EXPECT_EQ(tree.problems[0].kind, Problem::Kind::kInclude);
  EXPECT_TRUE(tree.root.incomplete);
}

TEST(Syntax, StopsAtItsBoundOfIncludes) {
  MapIncludes includes({{"a.inc", "gzip on;"}});
  std::string text;
  for (int i = 0; i < 50; ++i) text += "include a.inc;\n";
  Tree tree;
  SyntaxLimits limits;
  limits.includes_max = 10;
  parse(tree, source(text), includes, limits);
  EXPECT_FALSE(tree.problems.empty());
  EXPECT_EQ(tree.problems[0].kind, Problem::Kind::kRefused);
}

TEST(Syntax, StopsAtItsBoundOfDepth) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "a {";
  NoIncludes includes;
  Tree tree;
  parse(tree, source(text), includes);
  ASSERT_FALSE(tree.problems.empty());
  EXPECT_EQ(tree.problems[0].kind, Problem::Kind::kRefused);
}

TEST(Syntax, GoesOnAfterALostSemicolon) {
  NoIncludes includes;
  Tree tree;
  tree.root.inside = kServer;
  parse(tree, source("listen 80\nserver_name a;\nroot /srv\nindex x.html;\n"), includes);
  // "listen" takes any number of words: nginx sees no error there, and neither does this.
  EXPECT_EQ(problems(tree),
            std::vector<std::string>{
                "3 \"root\" has no \";\": \"index\" on line 4 is read as its argument"});
  ASSERT_EQ(tree.root.body.size(), 3U);
  EXPECT_EQ(tree.root.body[2]->name.text, "index");
}

TEST(Syntax, SaysWhichBlockIsNotClosed) {
  NoIncludes includes;
  Tree tree;
  parse(tree, source("http {\n  server {\n    listen 80;\n  }\n"), includes);
  EXPECT_EQ(problems(tree),
            std::vector<std::string>{"1 the block of \"http\" is not closed: \"}\" is missing"});
}

TEST(Syntax, SaysWhereABraceClosesNothing) {
  NoIncludes includes;
  Tree tree;
  parse(tree, source("events {}\n}\nhttp {}\n"), includes);
  EXPECT_EQ(problems(tree),
            std::vector<std::string>{"2 unexpected \"}\": there is no block to close"});
  EXPECT_EQ(tree.root.body.size(), 2U);
}

TEST(Syntax, DoesNotReadLuaAsNginx) {
  NoIncludes includes;
  Tree tree;
  parse(tree,
        source("http { init_by_lua_block {\n local a = { '}' } -- }\n } server { listen 80; } }"),
        includes);
  EXPECT_TRUE(tree.problems.empty());
  ASSERT_EQ(tree.root.body[0]->body.size(), 2U);
  EXPECT_EQ(tree.root.body[0]->body[0]->raw, "\n local a = { '}' } -- }\n ");
}

// Every prefix of a text that has everything in it: no crash, and never a clean verdict over a
// text that is cut inside of a block.
TEST(Syntax, SurvivesACutAtEveryByte) {
  const std::string text =
      "user www;\nhttp {\n map $a $b { default \"x y\"; ~^/(.*)$ '$1'; }\n"
      " server { listen 80; location ~ \\.php$ { return 200 \"a\\\"b\"; } # c\n"
      "  content_by_lua_block { local s = [[ } ]] -- }\n } set $x ${y}z; }\n}\n";
  NoIncludes includes;
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Tree tree;
    parse(tree, source(text.substr(0, cut)), includes);
    std::vector<std::string_view> unknown;
    check_directives(tree, unknown);
    const bool outside = cut <= 9 || cut == text.size() || cut == text.size() - 1;
    if (!outside && cut > 16) EXPECT_FALSE(tree.problems.empty()) << "cut at " << cut;
  }
}

struct Refusal {
  const char* name;
  const char* text;
  const char* why;
};

const Refusal kRefusals[] = {
    {"misplaced", "server { listen 80; }", "\"server\" is not allowed outside of any block"},
    {"arguments", "http { sendfile; }", "\"sendfile\" does not take 0 arguments"},
    {"flag", "http { sendfile yes; }", "\"sendfile\" takes \"on\" or \"off\", not \"yes\""},
    {"block_missing", "http;", "\"http\" has no opening \"{\""},
    {"block_too_much", "http { sendfile on {} }", "\"sendfile\" takes no block"},
    {"size", "http { client_max_body_size 1t; }",
     "\"client_max_body_size\" takes a size such as 8k or 1m, not \"1t\""},
    {"time", "http { send_timeout soon; }",
     "\"send_timeout\" takes a time such as 60s, not \"soon\""},
    {"slip", "http { proxy_red_timeout 1s; }",
     "unknown directive \"proxy_red_timeout\": is \"proxy_read_timeout\" meant?"},
};

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, AsNginxDoes) {
  NoIncludes includes;
  Tree tree;
  parse(tree, source(GetParam().text), includes);
  std::vector<std::string_view> unknown;
  check_directives(tree, unknown);
  ASSERT_EQ(tree.problems.size(), 1U);
  EXPECT_EQ(tree.problems[0].what, GetParam().why);
}

INSTANTIATE_TEST_SUITE_P(Nginx, Refused, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

TEST(Directives, ToleratesWhatOthersAdd) {
  NoIncludes includes;
  Tree tree;
  parse(tree, source("http { our_module on; our_block { anything at all; } gzip on; }"), includes);
  std::vector<std::string_view> unknown;
  check_directives(tree, unknown);
  EXPECT_TRUE(tree.problems.empty());
  EXPECT_EQ(unknown, (std::vector<std::string_view>{"our_module", "our_block"}));
}

struct Frame {
  const char* name;
  const char* text;
  std::uint32_t want;
};

const Frame kFrames[] = {
    {"whole", "events {} http {}", kMain},
    {"servers", "upstream a { server b; } server { listen 80; location / { return 404; } }", kHttp},
    {"locations", "location / { return 404; } location /a { root /b; }", kServer},
    {"snippet", "proxy_pass http://a; proxy_set_header Host $host;", kLocation},
    {"settings", "add_header X y; gzip on;", kHttp},
    {"stream", "server { listen 53; proxy_pass 127.0.0.1:53; }", kStream},
    {"prose", "this is not; a configuration; at all;", kNowhere},
};

class FrameGuess : public testing::TestWithParam<Frame> {};

TEST_P(FrameGuess, IsWhereTheStatementsMakeSense) {
  NoIncludes includes;
  Tree tree;
  parse(tree, source(GetParam().text), includes);
  EXPECT_EQ(guess_frame(tree), GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(Nginx, FrameGuess, testing::ValuesIn(kFrames),
                         [](const auto& test) { return test.param.name; });

TEST(Directives, TableIsSortedByName) {
  std::string before;
  for (const char* name : {"accept_mutex", "add_header", "proxy_pass", "worker_processes"}) {
    ASSERT_FALSE(lookup(name).empty()) << name;
    EXPECT_LT(before, name);
    before = name;
  }
  EXPECT_EQ(lookup("server").size(), 5U);
  EXPECT_TRUE(lookup("no_such_directive").empty());
}

TEST(Units, AreNginxs) {
  std::uint64_t value = 0;
  EXPECT_TRUE(parse_size("8k", value) && value == 8192);
  EXPECT_TRUE(parse_size("1M", value) && value == 1048576);
  EXPECT_TRUE(parse_size("2g", value) && value == std::uint64_t{2} << 30);
  EXPECT_FALSE(parse_size("", value));
  EXPECT_FALSE(parse_size("k", value));
  EXPECT_FALSE(parse_size("99999999999999999999", value));
  EXPECT_TRUE(parse_time("90", value) && value == 90'000);
  EXPECT_TRUE(parse_time("1h 30m", value) && value == 5'400'000);
  EXPECT_TRUE(parse_time("500ms", value) && value == 500);
  EXPECT_TRUE(parse_time("1d", value) && value == 86'400'000);
  EXPECT_FALSE(parse_time("ten", value));
  EXPECT_FALSE(parse_time("5x", value));
}

}  // namespace
}  // namespace merlon::audit::nginx
