#include "audit/nginx/rewrite_phase.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "audit/nginx/condition.h"
#include "audit/nginx/directives.h"
#include "audit/nginx/files.h"

namespace merlon::audit::nginx {
namespace {

/// What the directives of a server make of GET /a/b, of which the host is not known.
struct Ran {
  unsigned status = 0;
  bool by_if = false;
  std::string uri;  ///< "-": not known
};

Ran run(const std::string& directives, const std::string& around = {}) {
  Model model;
  NoIncludes includes;
  const std::string text = "http { " + around + " server { " + directives + " } }";
  parse(model.tree, std::make_shared<const Source>(Source{"t.conf", text}), includes);
  check_directives(model.tree, model.unknown);
  EXPECT_TRUE(model.tree.problems.empty()) << text;
  build_model(model);
  const Variables variables(model);
  Request request;
  request.variables = {{"uri", "/a/b"}, {"scheme", "http"}, {"remote_addr", "203.0.113.5"}};
  request.secrets = std::string(kGuess);
  RewritePhase phase(request, &variables);
  phase.run(*model.servers.front().scope);
  return {phase.status(), phase.answered_by_if(), phase.uri().value_or("-")};
}

struct Case {
  const char* name;
  const char* directives;
  unsigned status;
  bool by_if = false;
  const char* uri = "/a/b";
};

constexpr Case kCases[] = {
    {"nothing", "listen 80;", 0},
    {"answer", "return 404;", 404},
    {"address_without_status", "return https://x.example.com/;", 302},
    {"if_that_holds", "if ($scheme = http) { return 301 https://x; }", 301, true},
    {"if_that_does_not", "if ($scheme = https) { return 403; }", 0},
    {"first_answer_counts", "if ($scheme != https) { return 403; } return 404;", 403, true},
    {"not_known", "if ($host = a) { return 403; }", 0},
    {"not_known_then_sure", "if ($host = a) { return 403; } return 404;", 404},
    {"file_test", "if (!-f /srv/on) { return 503; }", 0},
    {"zero_is_false", "set $a 0; if ($a) { return 403; }", 0},
    {"empty_is_false", "set $a \"\"; if ($a) { return 403; }", 0},
    {"flag", "set $a 0; if ($scheme = http) { set $a 1; } if ($a) { return 403; }", 403, true},
    {"flag_that_is_not_known", "set $a 1; if ($host = a) { set $a 0; } if ($a) { return 403; }", 0},
    {"flag_that_was_never_set", "if ($scheme = https) { set $a 1; } if ($a != 1) { return 403; }",
     403, true},
    {"flag_that_nothing_sets", "if ($a != 1) { return 403; }", 0},
    {"flag_that_another_location_sets",
     "if ($a != 1) { return 403; } location /x { set $a 1; rewrite ^ /a/b last; }", 0},
    {"flag_that_a_pattern_captures",
     "if ($scheme = https) { set $a 1; } if ($host ~ (?<a>.)) { break; } if ($a != 1) { return "
     "403; }",
     0},
    {"two_flags", "set $a \"${scheme}X\"; set $b \"$a-Y\"; if ($b = httpX-Y) { return 403; }", 403,
     true},
    {"break", "break; return 404;", 0},
    {"break_that_is_not_known", "if ($host = a) { break; } return 404;", 0},
    {"pattern", "if ($uri ~ \"^/a/\") { return 403; }", 403, true},
    {"negative_pattern", "if ($uri !~* ^/A/) { return 403; }", 0},
    {"permanent", "rewrite ^/a/ https://x.example.com/ permanent;", 301},
    {"other_scheme", "rewrite ^ $scheme://x.example.com/;", 302},
    {"rewritten", "rewrite ^/a/b$ /c?d=e last;", 0, false, "/c"},
    {"rewritten_elsewhere", "rewrite ^/b /c last;", 0},
    {"rewritten_with_capture", "rewrite ^/a/(.*)$ /c/$1 last;", 0, false, "-"},
    {"last_ends", "rewrite ^/a/b$ /c last; return 404;", 0, false, "/c"},
    {"rewritten_or_not", "if ($host = a) { rewrite ^ /c; }", 0, false, "-"},
    {"map", "if ($mapped = two) { return 403; }", 403, true},
    {"map_by_pattern", "if ($by_pattern = inside) { return 403; }", 403, true},
    {"map_default", "if ($by_default = other) { return 403; }", 403, true},
    {"map_without_default", "if ($no_default = \"\") { return 403; }", 403, true},
    {"map_of_map", "if ($again = yes) { return 403; }", 403, true},
    {"map_of_itself", "if ($itself = yes) { return 403; }", 0},
    {"geo_default", "if ($inside = 0) { return 403; }", 403, true},
    {"geo_longest_prefix", "if ($nets = long) { return 403; }", 403, true},
    {"guess_is_no_secret", "if ($http_x_api_key != abc) { return 403; }", 403, true},
    {"guess_is_not_empty", "if ($http_x_api_key = \"\") { return 403; }", 0},
    {"guess_may_match", "if ($http_x_api_key !~ ^abc) { return 403; }", 0},
    {"guess_against_the_unknown", "if ($http_x_api_key != $host) { return 403; }", 403, true},
    {"what_is_no_secret", "if ($http_user_agent != abc) { return 403; }", 0},
};

constexpr const char* kAround = R"(
  map $scheme $mapped { default one; http two; }
  map $uri $by_pattern { default ""; ~^/x x; ~^/a/ inside; ~b late; }
  map $uri $by_default { default other; /c c; }
  map $uri $no_default { /c c; }
  map $mapped $again { two yes; }
  map $itself $itself { default yes; }
  geo $inside { default 0; 10.0.0.0/8 1; }
  geo $nets { default none; 203.0.113.0/24 long; 203.0.0.0/8 short; }
)";

class RewritePhaseOf : public testing::TestWithParam<Case> {};

TEST_P(RewritePhaseOf, DoesWhatNginxDoes) {
  const Case& test = GetParam();
  const Ran ran = run(test.directives, kAround);
  EXPECT_EQ(ran.status, test.status);
  EXPECT_EQ(ran.by_if, test.by_if);
  EXPECT_EQ(ran.uri, test.uri);
}

INSTANTIATE_TEST_SUITE_P(Server, RewritePhaseOf, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(RewritePhase, EndsOnMapsThatMultiply) {
  std::string maps = "map $scheme $m0 { default a; }";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "$m" + std::to_string(i - 1);
    maps += "map $scheme $m" + std::to_string(i) + " { default \"" + before + before + "\"; }";
  }
  EXPECT_EQ(run("if ($m39 != x) { return 403; }", maps).status, 0U);
}

TEST(RewritePhase, EndsOnTextsThatDouble) {
  std::string sets = "set $a aaaaaaaa;";
  for (int i = 0; i < 60; ++i) sets += " set $a $a$a;";
  EXPECT_EQ(run(sets + " if ($a != x) { return 403; }").status, 0U);
}

}  // namespace
}  // namespace merlon::audit::nginx
