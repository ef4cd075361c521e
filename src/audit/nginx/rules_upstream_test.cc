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

}  // namespace
}  // namespace merlon::audit::nginx
