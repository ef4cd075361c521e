#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

/// What `inside` a server, with `around` it, is told.
std::string found_in(const char* inside, const std::vector<std::string>& only,
                     std::string_view around = {}) {
  return findings_in(
      fmt::format("{} server {{ listen 80; server_name a.test; {} }}", around, inside), only);
}

class Rewritten : public testing::TestWithParam<RuleCase> {};

TEST_P(Rewritten, BeforeAnyoneIsAsked) {
  EXPECT_EQ(found_in(GetParam().http, {"LOC-02"}), GetParam().want);
}

constexpr const char* kAsked = "auth_basic x; auth_basic_user_file /etc/h;";

const std::string kGuarded = std::string("location /admin { ") + kAsked;
const std::string kEnd =
    " proxy_pass http://127.0.0.1:1; } location /open { proxy_pass http://127.0.0.1:1; }";

TEST(Rewritten, InAnIfThatAnyoneMeets) {
  const auto of = [](const std::string& block) {
    return found_in((kGuarded + block + kEnd).c_str(), {"LOC-02"});
  };
  EXPECT_EQ(of("if ($arg_v) { rewrite ^ /open last; }"), "LOC-02:high");
  EXPECT_EQ(of("if (!-e $request_filename) { rewrite ^ /open; }"), "LOC-02:high");
  EXPECT_EQ(of("if ($arg_v) { rewrite ^ /admin/open last; }"), "");
  // Those who know the key, or come from inside, are meant to.
  EXPECT_EQ(of("if ($http_x_api_key = s3cr3t) { rewrite ^ /open last; }"), "");
  EXPECT_EQ(of("if ($remote_addr = 10.0.0.1) { rewrite ^ /open last; }"), "");
}

const RuleCase kRewritten[] = {
    {"to_a_page_for_some",
     {},
     "location /admin { deny all; if ($http_user_agent ~ MSIE) { rewrite ^ /old.html last; } "
     "proxy_pass http://127.0.0.1:1; } location = /old.html { root /srv/pages; }",
     ""},
    {"answered_with_a_list_around",
     {},
     "deny all; location / { return 200 secret; }",
     "LOC-02:medium"},
    {"answered_with_a_password_around",
     {},
     "auth_basic x; auth_basic_user_file /etc/h; location / { return 200 secret; }",
     "LOC-02:medium"},
    {"answered_where_it_is_off",
     {},
     "auth_basic x; auth_basic_user_file /etc/h; location / { auth_basic off; return 200 x; }",
     ""},
    {"checks_of_health", {}, "deny all; location = /healthz { return 200 ok; }", ""},
    {"redirects", {}, "deny all; location / { return 301 https://b.test/; }", ""},
    {"nothing", {}, "deny all; location / { return 204; }", ""},
    {"a_few_that_are_kept_out", {}, "deny 192.0.2.1; location / { return 200 x; }", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Rewritten, testing::ValuesIn(kRewritten),
                         [](const auto& test) { return test.param.name; });

/// A realm by variables, in a location for metrics, which needs a guard.
struct Realm {
  const char* name;
  const char* around;
  const char* inside;
  const char* want;
};

class RealmOf : public testing::TestWithParam<Realm> {};

TEST_P(RealmOf, IsAskedForUnlessItIsOff) {
  const Realm& test = GetParam();
  const std::string inside = fmt::format(
      "{} location /metrics {{ auth_basic $realm; auth_basic_user_file /etc/h; "
      "proxy_pass http://127.0.0.1:1; }}",
      test.inside);
  EXPECT_EQ(found_in(inside.c_str(), {"LOC-05", "EXP-03"}, test.around), test.want);
}

TEST(RealmOf, ThatSomeSwitchOffAsksOthersInClear) {
  EXPECT_EQ(found_in("location / { auth_basic $realm; auth_basic_user_file /etc/h; proxy_pass "
                     "http://127.0.0.1:1; }",
                     {"LOC-06"}, "map $http_x_skip $realm { default R; 1 off; }"),
            "LOC-06:high");
}

constexpr Realm kRealms[] = {
    {"by_a_header", "map $http_x_skip $realm { default R; 1 off; }", "",
     "EXP-03:high LOC-05:medium"},
    {"by_the_agent", "map $http_user_agent $realm { default R; ~*bot off; }", "",
     "EXP-03:high LOC-05:medium"},
    {"that_is_off", "", "set $realm off;", "EXP-03:high"},
    {"of_other_paths", "map $uri $realm { default off; /admin R; }", "", "EXP-03:high"},
    {"of_this_path", "map $uri $realm { default off; ~^/metrics R; }", "", ""},
    {"that_is_on", "", "set $realm R;", ""},
    {"of_other_addresses", "geo $realm { default R; 10.0.0.0/8 off; }", "", ""},
    {"by_a_secret", "map $cookie_share $realm { default R; a7d8e9f0b1c2d3e4 off; }", "", ""},
    {"by_a_token", "map $http_authorization $realm { default R; ~^Bearer off; }", "", ""},
    {"by_the_name", "map $http_host $realm { default off; a.test R; }", "", ""},
    {"that_is_not_known", "map $server_name $realm { default R; b.test off; }", "", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, RealmOf, testing::ValuesIn(kRealms),
                         [](const auto& test) { return test.param.name; });

class Refusals : public testing::TestWithParam<RuleCase> {};

TEST_P(Refusals, AreNotAnsweredWithTheContent) {
  EXPECT_EQ(found_in(GetParam().http, {"JWT-08", "EXP-03"}), GetParam().want);
}

const RuleCase kRefusals[] = {
    {"of_a_list",
     {},
     "location /admin { deny all; error_page 403 = @app; proxy_pass http://127.0.0.1:1; } "
     "location @app { proxy_pass http://127.0.0.1:1; }",
     "JWT-08:high"},
    {"of_a_password",
     {},
     "location /admin { auth_basic x; auth_basic_user_file /etc/h; error_page 401 = @app; "
     "proxy_pass http://127.0.0.1:1; } location @app { proxy_pass http://127.0.0.1:1; }",
     "JWT-08:high"},
    {"of_metrics",
     {},
     "location /metrics { allow 10.0.0.0/8; deny all; error_page 403 = @m; proxy_pass "
     "http://127.0.0.1:1; } location @m { proxy_pass http://127.0.0.1:1; }",
     "EXP-03:high JWT-08:high"},
    {"of_another_status",
     {},
     "location /admin { deny all; error_page 401 = @app; proxy_pass http://127.0.0.1:1; } "
     "location @app { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"of_a_list_that_is_asked_again",
     {},
     "allow 10.0.0.0/8; deny all; location /metrics { error_page 403 = @m; proxy_pass "
     "http://127.0.0.1:1; } location @m { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"with_a_page",
     {},
     "location /metrics { deny all; error_page 403 /403.html; proxy_pass http://127.0.0.1:1; } "
     "location = /403.html { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"with_a_login",
     {},
     "location /metrics { auth_basic x; auth_basic_user_file /etc/h; error_page 401 = @login; "
     "proxy_pass http://127.0.0.1:1; } location @login { return 302 /login; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Refusals, testing::ValuesIn(kRefusals),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
