#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Credentials : public testing::TestWithParam<RuleCase> {};

TEST_P(Credentials, OfAnyOriginAreFollowedThroughVariables) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kCredentials[] = {
    {"a_map",
     {"COR-01", "COR-02"},
     "map $http_origin $cc { default true; } server { listen 80; add_header "
     "Access-Control-Allow-Origin $http_origin; add_header Access-Control-Allow-Credentials $cc; }",
     "COR-01:high"},
    {"a_set",
     {"COR-01", "COR-02"},
     "server { listen 80; set $cc \"true\"; add_header Access-Control-Allow-Origin $http_origin; "
     "add_header Access-Control-Allow-Credentials $cc; }",
     "COR-01:high"},
    {"a_map_of_something_else",
     {"COR-01", "COR-02"},
     "map $host $cc { default \"\"; app.test true; } server { listen 80; add_header "
     "Access-Control-Allow-Origin $http_origin; add_header Access-Control-Allow-Credentials $cc; }",
     "COR-01:high"},
    {"a_map_that_lists_origins",
     {"COR-01", "COR-02"},
     "map $http_origin $cc { default \"\"; https://app.test true; } server { listen 80; add_header "
     "Access-Control-Allow-Origin $http_origin; add_header Access-Control-Allow-Credentials $cc; }",
     "COR-02:medium"},
    {"a_set_for_one_origin",
     {"COR-01", "COR-02"},
     "server { listen 80; location / { if ($http_origin = https://app.test) { set $cc true; } "
     "add_header Access-Control-Allow-Origin *; add_header Access-Control-Allow-Credentials $cc; } "
     "}",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Credentials, testing::ValuesIn(kCredentials),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
