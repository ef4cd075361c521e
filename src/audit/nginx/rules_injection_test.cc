#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Internal : public testing::TestWithParam<RuleCase> {};

TEST_P(Internal, LocationsAreReachedByWhatTheUpstreamSays) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        test.only),
            test.want);
}

const RuleCase kInternal[] = {
    {"led_to_by_the_upstream",
     {"INJ-01", "SSR-01"},
     "resolver 127.0.0.1; location ~ ^/s3/(?<h>[^/]+)/(?<p>.*) { internal; proxy_set_header Host "
     "$h; proxy_pass https://$h/$p; } location / { proxy_pass http://127.0.0.1:1; }",
     "INJ-01:low SSR-01:low"},
    {"open_to_clients",
     {"INJ-01", "SSR-01"},
     "resolver 127.0.0.1; location ~ ^/s3/(?<h>[^/]+)/(?<p>.*) { proxy_set_header Host $h; "
     "proxy_pass https://$h/$p; }",
     "INJ-01:high SSR-01:critical"},
    {"a_rewrite_leads_there",
     {"INJ-01", "SSR-01"},
     "resolver 127.0.0.1; location ~ ^/s3/(?<h>[^/]+)/(?<p>.*) { internal; proxy_set_header Host "
     "$h; proxy_pass https://$h/$p; } location / { rewrite ^/f/(.*)$ /s3/$1 last; }",
     "INJ-01:high SSR-01:medium"},
    {"try_files_leads_there",
     {"INJ-01", "SSR-01"},
     "resolver 127.0.0.1; location ~ ^/s3/(?<h>[^/]+)/(?<p>.*) { internal; proxy_set_header Host "
     "$h; proxy_pass https://$h/$p; } location / { try_files $uri /s3$uri; }",
     "INJ-01:high SSR-01:medium"},
    {"a_rewrite_leads_elsewhere",
     {"INJ-01", "SSR-01"},
     "resolver 127.0.0.1; location ~ ^/s3/(?<h>[^/]+)/(?<p>.*) { internal; proxy_set_header Host "
     "$h; proxy_pass https://$h/$p; } location / { rewrite ^/f/(.*)$ /g/$1 last; }",
     "INJ-01:low SSR-01:low"},
    {"a_field_of_the_client",
     {"SSR-01"},
     "resolver 127.0.0.1; location /s3/ { internal; proxy_pass https://$http_x_store; }",
     "SSR-01:medium"},
    {"a_named_location",
     {"INJ-01"},
     "location / { try_files $uri @app; } location @app { proxy_set_header X-Path $uri; proxy_pass "
     "http://127.0.0.1:1; }",
     "INJ-01:high"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Internal, testing::ValuesIn(kInternal),
                         [](const auto& test) { return test.param.name; });

class HeldRedirect : public testing::TestWithParam<RuleCase> {};

TEST_P(HeldRedirect, LeadsWhereItsConditionAllows) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        test.only),
            test.want);
}

const RuleCase kHeldRedirect[] = {
    {"a_local_path",
     {"SSR-03"},
     "location /d { if ($arg_u ~ ^/[a-z]+$) { return 302 $arg_u; } return 204; }",
     ""},
    {"a_local_path_with_more_behind",
     {"SSR-03"},
     "location /d { if ($arg_u ~ \"^/[a-z]+/\") { return 302 $arg_u; } return 204; }",
     ""},
    {"one_text",
     {"SSR-03"},
     "location /d { if ($arg_u = /home) { return 302 $arg_u; } return 204; }",
     ""},
    {"one_host",
     {"SSR-03"},
     "location /d { if ($arg_u ~ ^https://b\\.test/) { return 302 $arg_u; } return 204; }",
     ""},
    {"one_host_with_an_open_end",
     {"SSR-03"},
     "location /d { if ($arg_u ~ ^https://b\\.test) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
    {"anything_behind_a_slash",
     {"SSR-03"},
     "location /d { if ($arg_u ~ ^/) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
    {"a_backslash",
     {"SSR-03"},
     "location /d { if ($arg_u ~ ^/[^/]) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
    {"no_start",
     {"SSR-03"},
     "location /d { if ($arg_u ~ /[a-z]+$) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
    {"what_does_not_match",
     {"SSR-03"},
     "location /d { if ($arg_u !~ ^/[a-z]+$) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
    {"another_variable",
     {"SSR-03"},
     "location /d { if ($arg_v ~ ^/[a-z]+$) { return 302 $arg_u; } return 204; }",
     "SSR-03:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, HeldRedirect, testing::ValuesIn(kHeldRedirect),
                         [](const auto& test) { return test.param.name; });

class Upgrades : public testing::TestWithParam<RuleCase> {};

TEST_P(Upgrades, ToHttp2AreFollowedThroughMapsAndSets) {
  const auto [name, only, http, want] = GetParam();
  EXPECT_EQ(
      findings_in(fmt::format("map $http_upgrade $any {{ default $http_upgrade; }}"
                              "map $http_upgrade $ws {{ default \"\"; ~*^websocket$ websocket; }}"
                              "map $http_upgrade $con {{ default upgrade; \"\" close; }}"
                              "server {{ listen 80; set $u $http_upgrade; location / {{ "
                              "proxy_http_version 1.1; {} proxy_pass http://127.0.0.1:1; }} }}",
                              http),
                  {"INJ-05"}),
      want);
}

const RuleCase kUpgrades[] = {
    {"by_a_map",
     {},
     "proxy_set_header Upgrade $any; proxy_set_header Connection $http_connection;",
     "INJ-05:high"},
    {"by_a_set",
     {},
     "proxy_set_header Upgrade $u; proxy_set_header Connection $http_connection;",
     "INJ-05:high"},
    {"by_a_constant",
     {},
     "proxy_set_header Upgrade h2c; proxy_set_header Connection \"Upgrade, HTTP2-Settings\";",
     "INJ-05:medium"},
    {"of_websockets_only",
     {},
     "proxy_set_header Upgrade $ws; proxy_set_header Connection $http_connection;",
     ""},
    {"as_guides_write_it",
     {},
     "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $con;",
     ""},
    {"of_a_constant_websocket",
     {},
     "proxy_set_header Upgrade websocket; proxy_set_header Connection upgrade;",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Upgrades, testing::ValuesIn(kUpgrades),
                         [](const auto& test) { return test.param.name; });

class RelativeRedirect : public testing::TestWithParam<RuleCase> {};

TEST_P(RelativeRedirect, LeavesTheSiteWhereNginxSendsItAsItIs) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; {} }}", test.http), test.only),
            test.want);
}

const RuleCase kRelativeRedirect[] = {
    {"one_slash",
     {"SSR-03"},
     "absolute_redirect off; location /a { return 302 /$arg_next; }",
     "SSR-03:medium"},
    {"two_slashes",
     {"SSR-03"},
     "absolute_redirect off; location /a { return 302 //$arg_next; }",
     "SSR-03:medium"},
    {"what_was_asked_for",
     {"SSR-03"},
     "absolute_redirect off; location /a { return 302 /$request_uri; }",
     "SSR-03:medium"},
    {"a_rewrite",
     {"SSR-03"},
     "absolute_redirect off; location /a { rewrite ^ /$arg_next redirect; }",
     "SSR-03:medium"},
    {"behind_the_own_host", {"SSR-03"}, "location /a { return 302 /$arg_next; }", ""},
    {"a_query",
     {"SSR-03"},
     "absolute_redirect off; location /a { return 302 /login?next=$arg_next; }",
     ""},
    {"a_capture",
     {"SSR-03"},
     "absolute_redirect off; location ~ ^/old/(.*)$ { return 301 /$1; }",
     ""},
    {"refresh",
     {"SSR-03"},
     "location /a { add_header Refresh \"0; url=$arg_u\"; return 200; }",
     "SSR-03:medium"},
    {"refresh_of_this_site",
     {"SSR-03"},
     "location /a { add_header Refresh \"5; url=/wait?$args\"; return 200; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, RelativeRedirect, testing::ValuesIn(kRelativeRedirect),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
