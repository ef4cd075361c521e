#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class WeakCiphers : public testing::TestWithParam<RuleCase> {};

TEST_P(WeakCiphers, AreThoseThatNoWordShutsOut) {
  const RuleCase& test = GetParam();
  const std::string http = fmt::format(
      "server {{ listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;"
      " ssl_ciphers \"ECDHE-RSA-AES128-GCM-SHA256:{}\"; return 404; }}",
      test.http);
  EXPECT_EQ(findings_in(http, test.only), test.want);
}

const RuleCase kCiphers[] = {
    {"single_des_is_another", {"TLS-04"}, "DES-CBC3-SHA:!aNULL:!EXPORT:!DES:!RC4", "TLS-04:high"},
    {"of_elliptic_curves", {"TLS-04"}, "ECDHE-RSA-DES-CBC3-SHA:!DES", "TLS-04:high"},
    {"of_a_key_exchange", {"TLS-04"}, "RSA+3DES:!aNULL:!MD5:!DSS", "TLS-04:high"},
    {"another_suite_is_shut_out", {"TLS-04"}, "DES-CBC3-SHA:!EDH-RSA-DES-CBC3-SHA", "TLS-04:high"},
    {"a_longer_word_is_shut_out", {"TLS-04"}, "RC4-SHA:!RC4-MD5", "TLS-04:high"},
    {"shut_out", {"TLS-04"}, "DES-CBC3-SHA:!3DES", ""},
    {"shut_out_by_its_name", {"TLS-04"}, "DES-CBC3-SHA:!DES-CBC3-SHA", ""},
    {"shut_out_by_its_digest", {"TLS-04"}, "DES-CBC3-SHA:!SHA1", ""},
    {"single_des_shut_out", {"TLS-04"}, "DES-CBC-SHA:!DES", ""},
    {"rc4_shut_out", {"TLS-04"}, "RC4-SHA:!RC4", ""},
    {"none", {"TLS-04"}, "!3DES:!RC4", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, WeakCiphers, testing::ValuesIn(kCiphers),
                         [](const auto& test) { return test.param.name; });

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

class AnyAuthority : public testing::TestWithParam<RuleCase> {};

TEST_P(AnyAuthority, IsToldUnlessItsVerdictIsAskedFor) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(
                fmt::format("ssl_certificate s.pem; ssl_certificate_key s.key; server {{ listen "
                            "443 ssl; server_name a.test; ssl_verify_client optional_no_ca; {} }}",
                            test.http),
                test.only),
            test.want);
}

const RuleCase kAnyAuthority[] = {
    {"nothing_asks", {"TLS-16"}, "location / { proxy_pass http://127.0.0.1:1; }", "TLS-16:high"},
    {"only_none_is_refused",
     {"TLS-16"},
     "location / { if ($ssl_client_verify = NONE) { return 403; } proxy_pass http://127.0.0.1:1; }",
     "TLS-16:high"},
    {"only_no_certificate_is_refused",
     {"TLS-16"},
     "location / { if ($ssl_client_cert = \"\") { return 403; } proxy_pass http://127.0.0.1:1; }",
     "TLS-16:high"},
    {"success_is_asked_for",
     {"TLS-16"},
     "location / { if ($ssl_client_verify != SUCCESS) { return 403; } proxy_pass "
     "http://127.0.0.1:1; }",
     ""},
    {"failures_are_refused",
     {"TLS-16"},
     "location / { if ($ssl_client_verify ~ \"^(NONE|FAILED)\") { return 403; } proxy_pass "
     "http://127.0.0.1:1; }",
     ""},
    {"a_flag_is_asked_for",
     {"TLS-16"},
     "if ($ssl_client_verify != SUCCESS) { set $bad 1; } location / { if ($bad) { return 403; } "
     "proxy_pass http://127.0.0.1:1; }",
     ""},
    {"the_upstream_is_told",
     {"TLS-16"},
     "location / { if ($ssl_client_verify = NONE) { return 403; } proxy_set_header X-Verify "
     "$ssl_client_verify; proxy_pass http://127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, AnyAuthority, testing::ValuesIn(kAnyAuthority),
                         [](const auto& test) { return test.param.name; });

TEST(AnyAuthority, IsAskedForThroughAMap) {
  const auto told = [](const char* map) {
    return findings_in(fmt::format("map $ssl_client_verify $bad {{ {} }} ssl_certificate s.pem;"
                                   " ssl_certificate_key s.key; server {{ listen 443 ssl;"
                                   " ssl_verify_client optional_no_ca; if ($bad) {{ return 403; }}"
                                   " location / {{ proxy_pass http://127.0.0.1:1; }} }}",
                                   map),
                       {"TLS-16"});
  };
  EXPECT_EQ(told("default 1; SUCCESS 0;"), "");
  EXPECT_EQ(told("default 0; NONE 1;"), "TLS-16:high");
}

class EarlyData : public testing::TestWithParam<RuleCase> {};

TEST_P(EarlyData, MattersToUpstreams) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 443 ssl; ssl_certificate a.pem; "
                                    "ssl_certificate_key a.key; ssl_early_data on; {} }}",
                                    test.http),
                        test.only),
            test.want);
}

const RuleCase kEarlyData[] = {
    {"files", {"TLS-12"}, "root /srv;", ""},
    {"an_upstream", {"TLS-12"}, "location / { proxy_pass http://127.0.0.1:1; }", "TLS-12:medium"},
    {"one_that_is_told",
     {"TLS-12"},
     "location / { proxy_set_header Early-Data $ssl_early_data; proxy_pass http://127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, EarlyData, testing::ValuesIn(kEarlyData),
                         [](const auto& test) { return test.param.name; });

class OptionalCertificates : public testing::TestWithParam<RuleCase> {};

TEST_P(OptionalCertificates, AreTestedBySomethingThatIsRead) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(
      findings_in(
          fmt::format("server {{ listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; "
                      "ssl_verify_client optional; ssl_client_certificate c.pem; {} }}",
                      test.http),
          test.only),
      test.want);
}

const RuleCase kOptionalCertificates[] = {
    {"a_flag_that_nothing_reads",
     {"TLS-16"},
     "if ($ssl_client_verify != SUCCESS) { set $bad 1; } location / { proxy_pass "
     "http://127.0.0.1:1; }",
     "TLS-16:high"},
    {"a_flag_that_refuses",
     {"TLS-16"},
     "if ($ssl_client_verify != SUCCESS) { set $bad 1; } location / { if ($bad) { return 403; } "
     "proxy_pass http://127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, OptionalCertificates, testing::ValuesIn(kOptionalCertificates),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
