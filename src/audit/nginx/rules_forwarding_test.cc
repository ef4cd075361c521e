#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Forwarded : public testing::TestWithParam<RuleCase> {};

TEST_P(Forwarded, HostAndSchemeAreFollowedThroughMaps) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kForwarded[] = {
    {"a_map_that_falls_back",
     {"HST-03"},
     "map $http_x_forwarded_proto $p { default $http_x_forwarded_proto; '' $scheme; } server { "
     "listen 80; location / { proxy_set_header X-Forwarded-Host a.test; proxy_set_header "
     "X-Forwarded-Proto $p; proxy_pass http://127.0.0.1:1; } }",
     "HST-03:medium"},
    {"a_set",
     {"HST-03"},
     "server { listen 80; location / { set $h $http_x_forwarded_host; proxy_set_header "
     "X-Forwarded-Host $h; proxy_pass http://127.0.0.1:1; } }",
     "HST-03:medium"},
    {"as_it_came",
     {"HST-03"},
     "server { listen 80; location / { proxy_set_header X-Forwarded-Host $http_x_forwarded_host; "
     "proxy_pass http://127.0.0.1:1; } }",
     "HST-03:medium"},
    {"a_map_of_two_constants",
     {"HST-03"},
     "map $http_x_forwarded_proto $p { default http; https https; } server { listen 80; location / "
     "{ proxy_set_header X-Forwarded-Host a.test; proxy_set_header X-Forwarded-Proto $p; "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"known_schemes_only",
     {"HST-03"},
     "map $http_x_forwarded_proto $p { default $scheme; ~^https?$ $http_x_forwarded_proto; } "
     "server { listen 80; location / { proxy_set_header X-Forwarded-Host a.test; proxy_set_header "
     "X-Forwarded-Proto $p; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"the_name_that_was_asked_for",
     {"HST-03"},
     "server { listen 80; location / { proxy_set_header X-Forwarded-Host $http_host; "
     "proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://127.0.0.1:1; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Forwarded, testing::ValuesIn(kForwarded),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
