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

}  // namespace
}  // namespace merlon::audit::nginx
