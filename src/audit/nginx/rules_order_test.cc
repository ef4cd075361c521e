#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

constexpr const char* kScripts =
    "server { listen 80; server_name a.test; root /var/www/wp;"
    " location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; } ";

class Order : public testing::TestWithParam<RuleCase> {};

TEST_P(Order, OfRegularExpressionsTheFirstWins) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(std::string(kScripts) + test.http + " }", test.only), test.want);
}

const RuleCase kOrder[] = {
    {"as_written", {"PTH-10"}, "location ~ ^/up/.*\\.php$ { deny all; }", "PTH-10:high"},
    {"in_either_case", {"PTH-10"}, "location ~* ^/up/.*\\.php$ { deny all; }", "PTH-10:high"},
    {"of_wordpress",
     {"PTH-10"},
     "location ~* /(?:uploads|files)/.*\\.php$ { deny all; }",
     "PTH-10:high"},
    {"with_other_endings", {"PTH-10"}, "location ~* ^/up/.*\\.(?:exe|sh)$ { deny all; }", ""},
    {"of_a_folder_that_is_asked_first", {"PTH-10"}, "location ^~ /up/ { deny all; }", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Order, testing::ValuesIn(kOrder),
                         [](const auto& test) { return test.param.name; });

TEST(Order, ThatProtectsFirstIsRight) {
  EXPECT_EQ(findings_in("server { listen 80; root /w;"
                        " location ~* ^/up/.*\\.php$ { deny all; }"
                        " location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; } }",
                        {"PTH-10"}),
            "");
}

/// A location with a password, and one that a regular expression gives its requests to.
class Endings : public testing::TestWithParam<RuleCase> {};

TEST_P(Endings, AreThoseThatThePatternsSpeakOf) {
  const std::string private_files =
      "location /private/ { auth_basic x; auth_basic_user_file /h; proxy_pass http://127.0.0.1:1; "
      "} ";
  EXPECT_EQ(
      findings_in("server { listen 80; " + private_files + GetParam().http + " }", {"PTH-10"}),
      GetParam().want);
}

const RuleCase kEndings[] = {
    {"of_documents",
     {},
     "location ~* \\.(pdf|zip)$ { proxy_pass http://127.0.0.1:1; }",
     "PTH-10:high"},
    {"of_fonts", {}, "location ~ \\.woff2?$ { proxy_pass http://127.0.0.1:1; }", "PTH-10:high"},
    {"of_scripts",
     {},
     "location ~ \\.(aspx|do)$ { proxy_pass http://127.0.0.1:1; }",
     "PTH-10:high"},
    {"below_another_folder",
     {},
     "location ~ ^/public/.*\\.pdf$ { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"of_one_name", {}, "location ~ /health\\.txt$ { proxy_pass http://127.0.0.1:1; }", ""},
    {"of_another_upstream", {}, "location ~ \\.pdf$ { proxy_pass http://127.0.0.1:2; }", ""},
    {"that_are_guarded_too",
     {},
     "location ~ \\.pdf$ { allow 10.0.0.0/8; deny all; proxy_pass http://127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Endings, testing::ValuesIn(kEndings),
                         [](const auto& test) { return test.param.name; });

TEST(Endings, OfScriptsThatRunAmongGuardedFiles) {
  EXPECT_EQ(findings_in("server { listen 80; root /srv; location /private/ { auth_basic x; "
                        "auth_basic_user_file /h; } location ~ \\.(phtml|php5)$ { fastcgi_pass "
                        "127.0.0.1:9000; } }",
                        {"PTH-10"}),
            "PTH-10:high");
}

class WithoutSlash : public testing::TestWithParam<RuleCase> {};

TEST_P(WithoutSlash, ALocationIsNeverReached) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        test.only),
            test.want);
}

const RuleCase kWithoutSlash[] = {
    {"a_forgotten_sign", {"PTH-10"}, "location ^/api/ { deny all; }", "PTH-10:high"},
    {"a_forgotten_sign_of_files",
     {"PTH-10"},
     "location (^/SOGo/.*\\.(jpg|png)$) { alias /usr/lib/x/; }",
     "PTH-10:low"},
    {"a_variable", {"PTH-10"}, "location $embargo_url { return 200 x; }", "PTH-10:low"},
    {"a_word",
     {"PTH-10"},
     "location = admin { auth_basic x; auth_basic_user_file /etc/h; }",
     "PTH-10:high"},
    {"a_word_that_a_rewrite_makes",
     {"PTH-10"},
     "location admin { deny all; } location / { rewrite ^ admin last; }",
     ""},
    {"everything", {"PTH-10"}, "location \"\" { deny all; }", ""},
    {"glued_signs",
     {"PTH-10"},
     "location ~^/api/ { deny all; } location ^~/b/ { deny all; } location =/c { deny all; }",
     ""},
    {"a_name", {"PTH-10"}, "location @app { deny all; } location / { try_files $uri @app; }", ""},
    {"internal", {"PTH-10"}, "location files { internal; }", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, WithoutSlash, testing::ValuesIn(kWithoutSlash),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
