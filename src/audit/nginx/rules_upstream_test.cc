#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Destinations : public testing::TestWithParam<RuleCase> {};

TEST_P(Destinations, OfThisHostAreNoWayInClear) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        test.only),
            test.want);
}

const RuleCase kDestinations[] = {
    {"the_unspecified_address", {"UPS-01"}, "location / { proxy_pass http://0.0.0.0:8536; }", ""},
    {"the_unspecified_address_of_ipv6",
     {"UPS-01"},
     "location / { proxy_pass http://[::]:8536; }",
     ""},
    {"another_host",
     {"UPS-01"},
     "location / { proxy_pass http://198.51.100.7:8536; }",
     "UPS-01:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Destinations, testing::ValuesIn(kDestinations),
                         [](const auto& test) { return test.param.name; });

class WrittenSecrets : public testing::TestWithParam<RuleCase> {};

TEST_P(WrittenSecrets, AreToldFromWhatIsSaidOfOne) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, {"UPS-07"}), test.want);
}

const RuleCase kWrittenSecrets[] = {
    {"a_token",
     {},
     "server { listen 80; location / { proxy_set_header X-Auth-Token k9f8Qz71LmPw2Xv0; proxy_pass "
     "http://127.0.0.1:1; } }",
     "UPS-07:high"},
    {"who_issues_it",
     {},
     "server { listen 80; location / { proxy_set_header X-Token-Issuer "
     "https://id.test/realms/main; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"its_type",
     {},
     "server { listen 80; location / { proxy_set_header X-Requested-Token-Type "
     "urn:ietf:params:oauth:token-type:jwt; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"its_name",
     {},
     "server { listen 80; location / { proxy_set_header X-CSRF-Token-Name csrfmiddlewaretoken; "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"an_address",
     {},
     "server { listen 80; location / { proxy_set_header X-Token https://id.test/realms/main; "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"a_set",
     {},
     "server { listen 80; set $tok \"Zm9vOmJhcnNlY3JldA\"; location / { proxy_set_header "
     "Authorization \"Bearer $tok\"; proxy_pass http://127.0.0.1:1; } }",
     "UPS-07:high"},
    {"a_map",
     {},
     "map $host $cred { default \"Basic Zm9vOmJhcnNlY3JldA==\"; } server { listen 80; location / { "
     "proxy_set_header Authorization $cred; proxy_pass http://127.0.0.1:1; } }",
     "UPS-07:high"},
    {"a_map_of_what_the_client_sent",
     {},
     "map $http_x_key $cred { default \"\"; ~. \"Bearer $http_x_key\"; } server { listen 80; "
     "location / { proxy_set_header Authorization $cred; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"a_key_that_is_compared",
     {},
     "server { listen 80; if ($http_x_api_key != \"k9f8Qz71LmPw2Xv0\") { return 403; } root /srv; "
     "}",
     "UPS-07:high"},
    {"a_type_that_is_compared",
     {},
     "server { listen 80; if ($http_x_token_type != \"k9f8Qz71LmPw2Xv0\") { return 403; } root "
     "/srv; }",
     ""},
    {"passwords_below_a_root",
     {},
     "server { listen 80; root /srv/app; auth_basic a; auth_basic_user_file "
     "/srv/app/passwords.txt; }",
     "UPS-07:high"},
    {"passwords_below_an_alias",
     {},
     "server { listen 80; location /files/ { alias /srv/app/; } location /a { auth_basic a; "
     "auth_basic_user_file /srv/app/passwords.txt; proxy_pass http://127.0.0.1:1; } }",
     "UPS-07:high"},
    {"passwords_beside_an_alias",
     {},
     "server { listen 80; location /files/ { alias /srv/app/public/; } location /a { auth_basic a; "
     "auth_basic_user_file /srv/app/passwords.txt; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"passwords_that_are_kept_away",
     {},
     "server { listen 80; root /srv/app; location ~ \\.txt$ { deny all; } location /a { auth_basic "
     "a; auth_basic_user_file /srv/app/passwords.txt; proxy_pass http://127.0.0.1:1; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, WrittenSecrets, testing::ValuesIn(kWrittenSecrets),
                         [](const auto& test) { return test.param.name; });

class MappedUpstreams : public testing::TestWithParam<RuleCase> {};

TEST_P(MappedUpstreams, AreLookedUp) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kMappedUpstreams[] = {
    {"hosts",
     {"UPS-01"},
     "map $uri $b { default a.example.com; } server { listen 80; location / { proxy_pass "
     "http://$b; } }",
     "UPS-01:medium"},
    {"blocks",
     {"UPS-01"},
     "upstream u { server a.example.com; } map $uri $b { default u; } server { listen 80; location "
     "/ { proxy_pass http://$b; } }",
     "UPS-01:medium"},
    {"of_this_host",
     {"UPS-01"},
     "map $uri $b { default 127.0.0.1:9; /b localhost; } server { listen 80; location / { "
     "proxy_pass http://$b; } }",
     ""},
    {"over_tls",
     {"UPS-01"},
     "map $uri $b { default a.example.com; } server { listen 80; location / { proxy_pass "
     "https://$b; } }",
     ""},
    {"of_the_client",
     {"UPS-01"},
     "map $uri $b { default $arg_b; } server { listen 80; location / { proxy_pass http://$b; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, MappedUpstreams, testing::ValuesIn(kMappedUpstreams),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
