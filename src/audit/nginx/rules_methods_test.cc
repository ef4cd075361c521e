#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class MadeUpMethods : public testing::TestWithParam<RuleCase> {};

TEST_P(MadeUpMethods, AreRefusedByWhatMeetsThem) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; {} }}", test.http), test.only),
            test.want);
}

const RuleCase kMadeUpMethods[] = {
    {"a_preflight",
     {"MTH-01"},
     "location / { if ($request_method = OPTIONS) { return 204; } proxy_pass http://127.0.0.1:1; }",
     "MTH-01:medium"},
    {"a_flag_for_one_method",
     {"MTH-01"},
     "location / { if ($request_method = POST) { set $x 1; } proxy_pass http://127.0.0.1:1; }",
     "MTH-01:medium"},
    {"a_list_of_refused_ones",
     {"MTH-01"},
     "location / { if ($request_method ~ ^(TRACE|TRACK)$) { return 405; } proxy_pass "
     "http://127.0.0.1:1; }",
     "MTH-01:medium"},
    {"a_list",
     {"MTH-01"},
     "location / { if ($request_method !~ ^(GET|HEAD)$) { return 405; } proxy_pass "
     "http://127.0.0.1:1; }",
     ""},
    {"a_list_of_the_server",
     {"MTH-01"},
     "if ($request_method !~ ^(GET|HEAD)$) { return 405; } location / { proxy_pass "
     "http://127.0.0.1:1; }",
     ""},
    {"a_flag",
     {"MTH-01"},
     "location / { set $bad 1; if ($request_method ~ ^(GET|HEAD)$) { set $bad 0; } if ($bad) { "
     "return 405; } proxy_pass http://127.0.0.1:1; }",
     ""},
    {"elsewhere",
     {"MTH-01"},
     "location / { if ($request_method !~ ^(GET|HEAD)$) { rewrite ^ /no last; } proxy_pass "
     "http://127.0.0.1:1; } location /no { return 405; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, MadeUpMethods, testing::ValuesIn(kMadeUpMethods),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
