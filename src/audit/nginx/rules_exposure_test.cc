#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Endpoints : public testing::TestWithParam<RuleCase> {};

TEST_P(Endpoints, AreToldOfPatternsThatAreAboutThem) {
  const RuleCase& test = GetParam();
  const std::string http = fmt::format(
      "server {{ listen 80; location {} {{ proxy_pass http://127.0.0.1:1; }} }}", test.http);
  EXPECT_EQ(findings_in(http, test.only), test.want);
}

const RuleCase kCases[] = {
    {"another_word_that_begins_so", {"EXP-03"}, "~ ^/admin", ""},
    {"one_of_two_such_words", {"EXP-03"}, "~ ^/(admin|login)", ""},
    {"an_interface", {"EXP-03"}, "~ (/authelia)?/api", ""},
    {"an_interface_in_either_case", {"EXP-03"}, "~* ^/api", ""},
    {"one_letter", {"EXP-03"}, "~ ^/s", ""},
    {"all_but_the_last_letter", {"EXP-03"}, "~ ^/admine", ""},
    {"scripts_of_any_name", {"EXP-03"}, "~ \\.php$", ""},
    {"scripts_that_begin_so", {"EXP-03"}, "~ ^/php", ""},
    {"a_whole_folder", {"EXP-03"}, "~ ^/debug/", ""},
    {"the_word_itself", {"EXP-03"}, "~ ^/adminer", "EXP-03:high"},
    {"the_word_and_its_end", {"EXP-03"}, "~ ^/(metrics|health)$", "EXP-03:high"},
    {"the_word_in_either_case", {"EXP-03"}, "~* ^/server-status", "EXP-03:high"},
    {"its_documents", {"EXP-03"}, "~ ^/api-docs", "EXP-03:medium"},
    {"one_script", {"EXP-03"}, "~ ^/phpinfo\\.php$", "EXP-03:high"},
    {"what_lies_below", {"EXP-03"}, "~ ^/actuator/(env|beans)", "EXP-03:high"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Endpoints, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

class ManagementPages : public testing::TestWithParam<RuleCase> {};

TEST_P(ManagementPages, AreToldUnderOtherNames) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; {} }}", test.http), {"EXP-03"}),
            test.want);
}

const RuleCase kManagementPages[] = {
    {"another_folder",
     {},
     "location /manage/ { proxy_pass http://127.0.0.1:1/actuator/; }",
     "EXP-03:high"},
    {"another_page",
     {},
     "location /stats { proxy_pass http://127.0.0.1:1/metrics; }",
     "EXP-03:high"},
    {"with_the_query",
     {},
     "location /stats { proxy_pass http://127.0.0.1:1/metrics$is_args$args; }",
     "EXP-03:high"},
    {"a_named_location",
     {},
     "location /metrics { try_files /nope @m; } location @m { proxy_pass http://127.0.0.1:1; }",
     "EXP-03:high"},
    {"a_named_location_that_is_guarded",
     {},
     "location /metrics { try_files /nope @m; } location @m { allow 10.0.0.0/8; deny all; "
     "proxy_pass http://127.0.0.1:1; }",
     ""},
    {"its_health", {}, "location /up { proxy_pass http://127.0.0.1:1/actuator/health; }", ""},
    {"its_health_by_capture",
     {},
     "location ~ ^/(health|info)$ { proxy_pass http://127.0.0.1:1/actuator/$1; }",
     ""},
    {"behind_a_list",
     {},
     "location /stats { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1/metrics; }",
     ""},
    {"a_business_word", {}, "location /kpi { proxy_pass http://127.0.0.1:1/api/v1/metrics; }", ""},
    {"a_flag_that_strangers_do_not_get",
     {},
     "location /metrics { if ($remote_addr ~ \"^10\\.\") { set $ok 1; } if ($ok != 1) { return "
     "403; } proxy_pass http://127.0.0.1:1; }",
     ""},
    {"a_flag_that_everyone_gets",
     {},
     "set $ok 1; location /metrics { if ($ok != 1) { return 403; } proxy_pass http://127.0.0.1:1; "
     "}",
     "EXP-03:high"},
    {"a_flag_that_another_location_gives",
     {},
     "location / { set $ok 1; rewrite ^ /metrics last; } location /metrics { if ($ok != 1) { "
     "return 403; } proxy_pass http://127.0.0.1:1; }",
     "EXP-03:high"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, ManagementPages, testing::ValuesIn(kManagementPages),
                         [](const auto& test) { return test.param.name; });

class AddressLists : public testing::TestWithParam<RuleCase> {};

TEST_P(AddressLists, OfEveryoneAreNone) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(
      findings_in(fmt::format("server {{ listen 80; listen [::]:80; {} }}", test.http), test.only),
      test.want);
}

const RuleCase kAddressLists[] = {
    {"halves",
     {"EXP-02"},
     "location /s { stub_status; allow 0.0.0.0/1; allow 128.0.0.0/1; deny all; }",
     "EXP-02:medium"},
    {"global_ipv6",
     {"EXP-02"},
     "location /s { stub_status; allow 10.0.0.0/8; allow 2000::/3; deny all; }",
     "EXP-02:medium"},
    {"a_network",
     {"EXP-02"},
     "location /s { stub_status; allow 10.0.0.0/8; allow fd00::/8; deny all; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, AddressLists, testing::ValuesIn(kAddressLists),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
