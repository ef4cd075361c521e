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

}  // namespace
}  // namespace merlon::audit::nginx
