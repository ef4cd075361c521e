#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Captures : public testing::TestWithParam<RuleCase> {};

TEST_P(Captures, LeadOutOfAFolderWithoutASlash) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        {"PTH-01"}),
            test.want);
}

const RuleCase kCaptures[] = {
    {"in_alias", {}, "location ~ ^/dl(.*)$ { alias /srv/files/$1; }", "PTH-01:critical"},
    {"in_alias_behind_another_variable",
     {},
     "location ~ ^/dl(.*)$ { alias /srv/$host/$1; }",
     "PTH-01:critical"},
    {"in_alias_behind_another_capture",
     {},
     "location ~ ^/u/([^/]+)/(.*)$ { alias /srv/$1/$2; }",
     ""},
    {"in_try_files",
     {},
     "location ~ ^/dl(.*)$ { root /srv/app; try_files /files/$1 =404; }",
     "PTH-01:critical"},
    {"in_try_files_of_the_root",
     {},
     "root /srv/app; location ~ ^/dl(.*)$ { try_files /$1 =404; }",
     "PTH-01:critical"},
    {"in_try_files_as_one_segment",
     {},
     "location ~ ^/dl(.*)$ { root /srv/app; try_files /files$1 =404; }",
     ""},
    {"in_try_files_behind_a_slash",
     {},
     "location ~ ^/dl/(.*)$ { root /srv/app; try_files /files/$1 =404; }",
     ""},
    {"as_the_last_of_try_files",
     {},
     "location ~ ^/dl(.*)$ { root /srv/app; try_files /none /files/$1; }",
     ""},
    {"to_files_that_are_served_anyway",
     {},
     "root /srv/app; location / { } location ~ ^/dl(.*)$ { try_files /files/$1 =404; }",
     ""},
    {"to_files_that_are_guarded",
     {},
     "root /srv/app; location / { deny all; } location ~ ^/dl(.*)$ { try_files /files/$1 =404; }",
     "PTH-01:critical"},
    {"in_a_rewrite",
     {},
     "location /rw { root /srv/app; rewrite ^/rw(.*)$ /files/$1 break; }",
     "PTH-01:critical"},
    {"in_a_rewrite_behind_a_slash",
     {},
     "location /rw { root /srv/app; rewrite ^/rw/(.*)$ /files/$1 break; }",
     ""},
    {"in_a_rewrite_that_is_proxied",
     {},
     "location /rw { rewrite ^/rw(.*)$ /files/$1 break; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"in_a_rewrite_that_another_location_takes",
     {},
     "location /rw/ { root /srv/app; rewrite ^/rw(.*)$ /files/$1 break; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Captures, testing::ValuesIn(kCaptures),
                         [](const auto& test) { return test.param.name; });

class PassedCaptures : public testing::TestWithParam<RuleCase> {};

TEST_P(PassedCaptures, LeadOutOfAPathWithoutASlash) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        {"PTH-04"}),
            test.want);
}

const RuleCase kPassedCaptures[] = {
    {"in_proxy_pass",
     {},
     "location ~ ^/dl(.*)$ { proxy_pass http://127.0.0.1:1/files/$1; }",
     "PTH-04:medium"},
    {"in_proxy_pass_behind_a_slash",
     {},
     "location ~ ^/dl/(.*)$ { proxy_pass http://127.0.0.1:1/files/$1; }",
     ""},
    {"in_proxy_pass_behind_the_root",
     {},
     "location ~ ^/dl(.*)$ { proxy_pass http://127.0.0.1:1/$1; }",
     ""},
    {"in_a_rewrite",
     {},
     "location /rw { rewrite ^/rw(.*)$ /files/$1 break; proxy_pass http://127.0.0.1:1; }",
     "PTH-04:medium"},
    {"in_a_rewrite_behind_a_slash",
     {},
     "location /rw { rewrite ^/rw/(.*)$ /files/$1 break; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"in_a_rewrite_that_another_location_takes",
     {},
     "location /rw/ { rewrite ^/rw(.*)$ /files/$1 break; proxy_pass http://127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, PassedCaptures, testing::ValuesIn(kPassedCaptures),
                         [](const auto& test) { return test.param.name; });

class DeniedCase : public testing::TestWithParam<RuleCase> {};

TEST_P(DeniedCase, IsPassedInOtherLetters) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; location / {{ proxy_pass "
                                    "http://127.0.0.1:1; }} {} }}",
                                    test.http),
                        {"PTH-05"}),
            test.want);
}

const RuleCase kDeniedCase[] = {
    {"of_a_prefix", {}, "location /admin { deny all; }", "PTH-05:info"},
    {"of_a_pattern", {}, "location ~ ^/(admin|root)/ { deny all; }", "PTH-05:info"},
    {"of_a_pattern_in_any_case", {}, "location ~* ^/admin/ { deny all; }", ""},
    {"of_no_letters", {}, "location /42/ { deny all; }", ""},
    {"of_an_extension", {}, "location ~ \\.bak$ { deny all; }", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, DeniedCase, testing::ValuesIn(kDeniedCase),
                         [](const auto& test) { return test.param.name; });

class MergeSlashes : public testing::TestWithParam<RuleCase> {};

TEST_P(MergeSlashes, IsWhatReadsThePath) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, {"PTH-02"}), test.want);
}

const RuleCase kMergeSlashes[] = {
    {"of_the_default_server",
     {},
     "server { listen 80; server_name a.test; merge_slashes off; }"
     "server { listen 80; server_name b.test; location /admin { deny all; } }",
     "PTH-02:high"},
    {"of_another_server",
     {},
     "server { listen 80; server_name a.test; }"
     "server { listen 80; server_name b.test; merge_slashes off; location /admin { deny all; } }",
     "PTH-02:info"},
    {"of_the_default_server_by_its_listen",
     {},
     "server { listen 80; server_name a.test; location /admin { deny all; } }"
     "server { listen 80 default_server; server_name b.test; merge_slashes off; }",
     "PTH-02:high"},
    {"of_any_server_that_a_greeting_names",
     {},
     "server { listen 443 ssl; server_name a.test; location /admin { deny all; } }"
     "server { listen 443 ssl; server_name b.test; merge_slashes off; }",
     "PTH-02:high"},
    {"of_another_socket",
     {},
     "server { listen 80; server_name a.test; location /admin { deny all; } }"
     "server { listen 81; server_name b.test; merge_slashes off; }",
     "PTH-02:info"},
    {"of_all",
     {},
     "merge_slashes off; server { listen 80; location /admin { deny all; } }",
     "PTH-02:high"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, MergeSlashes, testing::ValuesIn(kMergeSlashes),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
