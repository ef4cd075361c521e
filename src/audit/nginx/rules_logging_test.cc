#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class LoggedSecrets : public testing::TestWithParam<RuleCase> {};

TEST_P(LoggedSecrets, AreFollowedIntoCapturesOfMaps) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(
      findings_in(fmt::format("{} log_format f '$remote_addr $v'; server {{ listen 80; access_log "
                              "/l f; location / {{ proxy_pass http://127.0.0.1:1; }} }}",
                              test.http),
                  test.only),
      test.want);
}

const RuleCase kLoggedSecrets[] = {
    {"a_session",
     {"LOG-01"},
     "map $http_cookie $v { default \"\"; \"~sid=(?<s>[^;]+)\" $s; }",
     "LOG-01:high"},
    {"a_session_by_number",
     {"LOG-01"},
     "map $http_cookie $v { default \"\"; \"~sessionid=([^;]+)\" $1; }",
     "LOG-01:high"},
    {"a_session_of_a_name_of_its_own",
     {"LOG-01"},
     "map $http_cookie $v { default \"\"; \"~shop_session=([^;]+)\" $1; }",
     "LOG-01:high"},
    {"a_password",
     {"LOG-01"},
     "map $http_authorization $v { default \"-\"; \"~^Basic (?<x>.+)\" $x; }",
     "LOG-01:high"},
    {"a_cookie_that_is_none",
     {"LOG-01"},
     "map $http_cookie $v { default \"\"; \"~lang=(?<l>[^;]+)\" $l; }",
     ""},
    {"the_scheme",
     {"LOG-01"},
     "map $http_authorization $v { default \"-\"; \"~^(?<x>[A-Za-z]+) \" $x; }",
     ""},
    {"its_beginning",
     {"LOG-01"},
     "map $http_authorization $v { default \"-\"; \"~^Bearer (?<x>.{6})\" $x; }",
     ""},
    {"that_there_is_one", {"LOG-01"}, "map $http_cookie $v { default none; \"~sid=\" some; }", ""},
    {"a_query_without_its_key",
     {"LOG-01"},
     "map $request $v { \"~^(?<a>.*[?&]api_key=)([^&]*)(?<z>.*)$\" \"$a***$z\"; default $request; "
     "}",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, LoggedSecrets, testing::ValuesIn(kLoggedSecrets),
                         [](const auto& test) { return test.param.name; });

class LoggedNames : public testing::TestWithParam<RuleCase> {};

TEST_P(LoggedNames, AreReadAsWords) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("log_format f '$remote_addr {}'; server {{ listen 80; "
                                    "access_log /l f; root /srv; }}",
                                    test.http),
                        {"LOG-01"}),
            test.want);
}

const RuleCase kLoggedNames[] = {
    {"a_session", {}, "$cookie_phpsessid", "LOG-01:high"},
    {"an_identity", {}, "$cookie_user_sid", "LOG-01:high"},
    {"a_sign_in", {}, "$cookie_aspxauth", "LOG-01:high"},
    {"a_token", {}, "$http_x_auth_token", "LOG-01:high"},
    {"a_part_of_the_page", {}, "$cookie_sidebar", ""},
    {"an_author", {}, "$cookie_author_theme", ""},
    {"a_type", {}, "$http_x_token_type", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, LoggedNames, testing::ValuesIn(kLoggedNames),
                         [](const auto& test) { return test.param.name; });

class LoggedQueries : public testing::TestWithParam<RuleCase> {};

TEST_P(LoggedQueries, AreToldWhereMapsTakeTokens) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, {"LOG-01"}), test.want);
}

const RuleCase kLoggedQueries[] = {
    {"a_map_of_keys",
     {},
     "map $arg_api_key $ok { default 0; abcdef123 1; } server { listen 80; access_log /l; location "
     "/ { if ($ok = 0) { return 403; } proxy_pass http://127.0.0.1:1; } }",
     "LOG-01:high"},
    {"a_map_of_a_map",
     {},
     "map $arg_api_key $ok { default 0; abcdef123 1; } map $ok $go { 1 yes; } server { listen 80; "
     "access_log /l; location / { if ($go = \"\") { return 403; } proxy_pass http://127.0.0.1:1; } "
     "}",
     "LOG-01:high"},
    {"a_log_elsewhere",
     {},
     "map $arg_api_key $ok { default 0; abcdef123 1; } server { listen 80; access_log /l; root "
     "/srv; } server { listen 81; access_log off; location / { if ($ok = 0) { return 403; } "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"a_log_without_the_query",
     {},
     "log_format f '$remote_addr $uri'; map $arg_api_key $ok { default 0; abcdef123 1; } server { "
     "listen 80; access_log /l f; location / { if ($ok = 0) { return 403; } proxy_pass "
     "http://127.0.0.1:1; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, LoggedQueries, testing::ValuesIn(kLoggedQueries),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
