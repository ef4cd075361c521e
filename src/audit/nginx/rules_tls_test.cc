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

}  // namespace
}  // namespace merlon::audit::nginx
