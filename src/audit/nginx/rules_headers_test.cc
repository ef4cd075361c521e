#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Hsts : public testing::TestWithParam<RuleCase> {};

TEST_P(Hsts, IsAskedOfWhatAnswersForThePages) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 443 ssl; server_name a.test; ssl_certificate "
                                    "a.pem; ssl_certificate_key a.key; {} }}",
                                    test.http),
                        test.only),
            test.want);
}

const RuleCase kHsts[] = {
    {"one_folder_only",
     {"HDR-07"},
     "location / { add_header X-Cached 1; proxy_pass http://127.0.0.1:1; } location /api { "
     "add_header Strict-Transport-Security \"max-age=63072000\"; proxy_pass http://127.0.0.1:1; }",
     "HDR-07:medium"},
    {"a_part_of_the_pages",
     {"HDR-07"},
     "location / { proxy_pass http://127.0.0.1:1; location ~ ^/assets/ { add_header "
     "Strict-Transport-Security \"max-age=63072000\";  proxy_pass http://127.0.0.1:1; } }",
     "HDR-07:medium"},
    {"the_pages",
     {"HDR-07"},
     "location / { add_header Strict-Transport-Security \"max-age=63072000\"; proxy_pass "
     "http://127.0.0.1:1; } location /api { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"the_application_behind_files",
     {"HDR-07"},
     "root /srv/a; location / { try_files $uri @app; } location @app { add_header "
     "Strict-Transport-Security \"max-age=63072000\"; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"scripts",
     {"HDR-07"},
     "root /srv/a; location / { try_files $uri /index.php?$args; } location ~ \\.php$ { add_header "
     "Strict-Transport-Security \"max-age=63072000\"; fastcgi_pass 127.0.0.1:1; }",
     ""},
    {"every_part_of_an_interface",
     {"HDR-07"},
     "location / { return 404; } location /v1/ { add_header Strict-Transport-Security "
     "\"max-age=63072000\"; proxy_pass http://127.0.0.1:1; } location /v2/ { add_header "
     "Strict-Transport-Security \"max-age=63072000\"; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"one_of_two_parts",
     {"HDR-07"},
     "location /v1/ { add_header Strict-Transport-Security \"max-age=63072000\"; proxy_pass "
     "http://127.0.0.1:1; } location /v2/ { proxy_pass http://127.0.0.1:1; }",
     "HDR-07:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Hsts, testing::ValuesIn(kHsts),
                         [](const auto& test) { return test.param.name; });

class PageHeaders : public testing::TestWithParam<RuleCase> {};

TEST_P(PageHeaders, CountAsBrowsersReadThem) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; {} }}", test.http), test.only),
            test.want);
}

const RuleCase kPageHeaders[] = {
    {"nosniff", {"HDR-03"}, "root /srv; add_header X-Content-Type-Options nosniff;", ""},
    {"nothing", {"HDR-03"}, "root /srv; add_header X-Content-Type-Options \"\";", "HDR-03:low"},
    {"another_value",
     {"HDR-03"},
     "root /srv; add_header X-Content-Type-Options none;",
     "HDR-03:low"},
    {"one_location_only",
     {"HDR-03"},
     "root /srv; location = /x { add_header X-Content-Type-Options nosniff; }",
     "HDR-03:low"},
    {"the_pages",
     {"HDR-03"},
     "root /srv; location / { add_header X-Content-Type-Options nosniff; } location /a { return "
     "204; }",
     ""},
    {"no_handshake", {"HDR-03"}, "root /srv; ssl_reject_handshake on;", "HDR-03:low"},
    {"no_framing", {"HDR-04"}, "root /srv; add_header X-Frame-Options DENY;", ""},
    {"no_framing_by_nothing",
     {"HDR-04"},
     "root /srv; add_header X-Frame-Options \"\";",
     "HDR-04:low"},
    {"anyone_frames",
     {"HDR-04"},
     "root /srv; add_header X-Frame-Options DENY; add_header Content-Security-Policy "
     "\"frame-ancestors *\";",
     "HDR-04:low"},
    {"any_https_frames",
     {"HDR-04"},
     "root /srv; add_header Content-Security-Policy \"default-src 'self'; frame-ancestors "
     "https:\";",
     "HDR-04:low"},
    {"some_frame",
     {"HDR-04"},
     "root /srv; add_header Content-Security-Policy \"frame-ancestors 'self' https://a.test\";",
     ""},
    {"a_cookie_of_an_unfortunate_name",
     {"HDR-10"},
     "root /srv; add_header Set-Cookie \"insecure_session=1; HttpOnly; SameSite=Lax\";",
     "HDR-10:medium"},
    {"a_cookie",
     {"HDR-10"},
     "root /srv; add_header Set-Cookie \"s=1;secure; HttpOnly; samesite=lax\";",
     ""},
    {"a_flag_that_is_taken_away",
     {"HDR-10"},
     "location / { proxy_cookie_flags ~ nosamesite; proxy_pass http://127.0.0.1:1; }",
     "HDR-10:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, PageHeaders, testing::ValuesIn(kPageHeaders),
                         [](const auto& test) { return test.param.name; });

class CachedUsers : public testing::TestWithParam<RuleCase> {};

TEST_P(CachedUsers, NeedAKeyOfTheirOwn) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kCachedUsers[] = {
    {"a_language",
     {"HDR-09"},
     "proxy_cache_path /c keys_zone=c:1m; server { listen 80; auth_basic a; auth_basic_user_file "
     "/e; location / { proxy_cache c; proxy_cache_key $uri$cookie_lang; proxy_pass "
     "http://127.0.0.1:1; } }",
     "HDR-09:medium"},
    {"a_session",
     {"HDR-09"},
     "proxy_cache_path /c keys_zone=c:1m; server { listen 80; auth_basic a; auth_basic_user_file "
     "/e; location / { proxy_cache c; proxy_cache_key $uri$cookie_sid; proxy_pass "
     "http://127.0.0.1:1; } }",
     ""},
    {"scripts",
     {"HDR-09"},
     "fastcgi_cache_path /c keys_zone=c:1m; server { listen 80; auth_basic a; auth_basic_user_file "
     "/e; location / { fastcgi_cache c; fastcgi_cache_key $uri; fastcgi_pass unix:/p; } }",
     "HDR-09:medium"},
    {"scripts_for_each_user",
     {"HDR-09"},
     "fastcgi_cache_path /c keys_zone=c:1m; server { listen 80; auth_basic a; auth_basic_user_file "
     "/e; location / { fastcgi_cache c; fastcgi_cache_key $uri$remote_user; fastcgi_pass unix:/p; "
     "} }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, CachedUsers, testing::ValuesIn(kCachedUsers),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
