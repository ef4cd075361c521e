#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

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
