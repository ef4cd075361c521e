#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class MadeUpCertificate : public testing::TestWithParam<RuleCase> {};

TEST_P(MadeUpCertificate, IsToldWhereClientsGetSomething) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(
      findings_in(
          fmt::format("server {{ listen 443 ssl default_server; server_name _; ssl_certificate "
                      "/etc/ssl/certs/ssl-cert-snakeoil.pem; ssl_certificate_key /k; {} }}",
                      test.http),
          test.only),
      test.want);
}

const RuleCase kMadeUpCertificate[] = {
    {"refused", {"CRT-05"}, "return 444;", ""},
    {"refused_at_each_location", {"CRT-05"}, "location / { return 404; }", ""},
    {"answered", {"CRT-05"}, "return 200 x;", "CRT-05:medium"},
    {"a_site", {"CRT-05"}, "location / { proxy_pass http://127.0.0.1:1; }", "CRT-05:medium"},
    {"a_part_is_answered",
     {"CRT-05"},
     "location / { return 404; } location /a { proxy_pass http://127.0.0.1:1; }",
     "CRT-05:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, MadeUpCertificate, testing::ValuesIn(kMadeUpCertificate),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
