#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Cleartext : public testing::TestWithParam<RuleCase> {};

TEST_P(Cleartext, IsToldUnlessAProxyInFrontDecides) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

#define MERLON_SITE                                          \
  "location / { auth_basic x; auth_basic_user_file /etc/h; " \
  "proxy_pass http://127.0.0.1:1; } }"

const RuleCase kCleartext[] = {
    {"plain",
     {"TLS-13", "LOC-06"},
     "server { listen 80; server_name a.example.com; " MERLON_SITE,
     "LOC-06:high TLS-13:high"},
    {"the_field_is_logged",
     {"TLS-13", "LOC-06"},
     "log_format m '$http_x_forwarded_proto';"
     "server { listen 80; server_name a.example.com; access_log /l m; " MERLON_SITE,
     "LOC-06:high TLS-13:high"},
    {"a_map_of_it_is_handed_on",
     {"TLS-13", "LOC-06"},
     "map $http_x_forwarded_proto $p { default $http_x_forwarded_proto; '' $scheme; }"
     "server { listen 80; server_name a.example.com; proxy_set_header X-Forwarded-Proto "
     "$p; " MERLON_SITE,
     "LOC-06:high TLS-13:high"},
    {"another_server_redirects_by_it",
     {"TLS-13", "LOC-06"},
     "server { listen 80; server_name b.example.com;"
     " if ($http_x_forwarded_proto = http) { return 301 https://b.example.com; } return 200 b; }"
     "server { listen 80; server_name a.example.com; " MERLON_SITE,
     "LOC-06:high TLS-13:high"},
    {"it_has_tls_of_its_own",
     {"TLS-13", "LOC-06"},
     "server { listen 80; listen 443 ssl; server_name a.example.com;"
     " ssl_certificate a.pem; ssl_certificate_key a.key;"
     " if ($http_x_forwarded_proto = http) { return 301 https://a.example.com; } " MERLON_SITE,
     "LOC-06:high TLS-13:high"},
    {"it_has_tls_and_redirects_what_is_not_told_as_such",
     {"TLS-13", "LOC-06"},
     "server { listen 80; listen 443 ssl; server_name a.example.com;"
     " ssl_certificate a.pem; ssl_certificate_key a.key;"
     " if ($http_x_forwarded_proto != https) { return 301 https://a.example.com; } " MERLON_SITE,
     ""},
    {"it_redirects_by_the_field",
     {"TLS-13", "LOC-06"},
     "server { listen 80; server_name a.example.com;"
     " if ($http_x_forwarded_proto = http) { return 301 https://a.example.com; } " MERLON_SITE,
     ""},
    {"it_redirects_by_a_map_of_the_field",
     {"TLS-13", "LOC-06"},
     "map $http_x_forwarded_proto $clear { default 0; http 1; }"
     "server { listen 80; server_name a.example.com;"
     " if ($clear) { return 301 https://a.example.com; } " MERLON_SITE,
     ""},
    {"it_redirects_by_a_flag",
     {"TLS-13", "LOC-06"},
     "server { listen 80; server_name a.example.com;"
     " if ($http_x_forwarded_proto = http) { set $to 1; }"
     " if ($to) { rewrite ^ https://a.example.com$request_uri permanent; } " MERLON_SITE,
     ""},
    {"it_hands_the_field_on",
     {"TLS-13", "LOC-06"},
     "server { listen 80; server_name a.example.com;"
     " proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto; " MERLON_SITE,
     "LOC-06:medium TLS-13:medium"},
};

#undef MERLON_SITE

INSTANTIATE_TEST_SUITE_P(Nginx, Cleartext, testing::ValuesIn(kCleartext),
                         [](const auto& test) { return test.param.name; });

class RedirectToTls : public testing::TestWithParam<RuleCase> {};

TEST_P(RedirectToTls, LeadsThereForGood) {
  const RuleCase& test = GetParam();
  const std::string http = fmt::format(
      "server {{ listen 80; server_name a.test; {} location / {{ root /srv; }} }}", test.http);
  EXPECT_EQ(findings_in(http, {"TLS-14"}), test.want);
}

const RuleCase kRedirects[] = {
    {"permanent", {}, "return 301 https://$host$request_uri;", ""},
    {"temporary", {}, "return 302 https://$host$request_uri;", "TLS-14:low"},
    {"temporary_by_default", {}, "return https://a.test$request_uri;", "TLS-14:low"},
    {"temporary_to_one_page", {}, "return 302 https://$host/welcome;", ""},
    {"to_the_port_that_the_client_names", {}, "return 301 https://$http_host/;", "TLS-14:low"},
    {"back_to_clear", {}, "location = /old { return 301 http://www.example.com/; }", "TLS-14:low"},
    {"by_a_permanent_rewrite", {}, "rewrite ^ https://$host$request_uri? permanent;", ""},
    {"by_a_rewrite", {}, "rewrite ^ https://$host$request_uri? redirect;", "TLS-14:low"},
    {"by_a_rewrite_without_a_flag", {}, "rewrite ^/(.*)$ https://a.test/$1;", "TLS-14:low"},
    {"back_to_clear_by_a_rewrite",
     {},
     "rewrite ^/old http://www.example.com/ permanent;",
     "TLS-14:low"},
    {"within_the_site", {}, "rewrite ^/old/(.*)$ /new/$1 redirect;", ""},
    {"of_a_server_of_both",
     {},
     "listen 443 ssl; if ($scheme = http) { return 302 https://$host$request_uri; }",
     "TLS-14:low"},
    {"of_a_server_of_both_for_good",
     {},
     "listen 443 ssl; if ($scheme = http) { return 301 https://$host$request_uri; }",
     ""},
    {"of_a_server_of_both_to_another",
     {},
     "listen 443 ssl; location /b { return 302 https://b.test$request_uri; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, RedirectToTls, testing::ValuesIn(kRedirects),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
