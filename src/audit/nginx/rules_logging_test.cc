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

}  // namespace
}  // namespace merlon::audit::nginx
