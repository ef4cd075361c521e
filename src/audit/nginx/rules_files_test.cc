#include <gtest/gtest.h>

#include <algorithm>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class Folders : public testing::TestWithParam<RuleCase> {};

TEST_P(Folders, AreThoseThatSetNames) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; server_name a.test; {} }}", test.http),
                        test.only),
            test.want);
}

const RuleCase kFolders[] = {
    {"of_the_system",
     {"INF-08"},
     "set $r /etc; root $r; location / { autoindex on; }",
     "INF-08:critical"},
    {"below_a_constant",
     {"INF-08"},
     "set $r /etc; root $r/ssl; location / { autoindex on; }",
     "INF-08:critical"},
    {"of_a_site", {"INF-08"}, "set $r /srv/www; root $r; location / { autoindex on; }", ""},
    {"that_an_if_decides",
     {"INF-08"},
     "set $r /srv/www; if ($host = b.test) { set $r /etc; } root $r; location / { autoindex on; }",
     ""},
    {"that_the_request_decides",
     {"INF-07", "INF-08"},
     "root /srv/$host; location / { autoindex on; }",
     ""},
    {"with_hidden_files",
     {"INF-07"},
     "set $public /srv/app/public; root $public; location / { try_files $uri @app; } location @app "
     "{ proxy_pass http://127.0.0.1:1; }",
     "INF-07:medium"},
    {"with_hidden_files_refused",
     {"INF-07"},
     "set $public /srv/app/public; root $public; location ~ /\\. { deny all; } location / { "
     "try_files $uri @app; } location @app { proxy_pass http://127.0.0.1:1; }",
     ""},
    {"whose_names_begin_so",
     {"PTH-01"},
     "set $m /srv/m; location /pub { alias $m/pub; }",
     "PTH-01:low"},
    {"that_end_in_a_slash",
     {"PTH-01"},
     "set $m /srv/m/; location /pub { alias $m; }",
     "PTH-01:critical"},
    {"of_the_system_by_a_capture",
     {"INF-08"},
     "location ~ ^/f/(.*)$ { alias /$1; }",
     "INF-08:critical"},
    {"of_the_system_by_a_capture_of_names",
     {"INF-08"},
     "location ~ ^/f/([a-z]+)$ { alias /etc/$1; }",
     "INF-08:critical"},
    {"of_the_users_by_a_capture",
     {"INF-08"},
     "location ~ ^/f/(?<f>.+)$ { alias /home/$f; }",
     "INF-08:critical"},
    {"of_the_pages_of_users",
     {"INF-08"},
     "location ~ ^/~([^/]+)/(.*)$ { alias /home/$1/public_html/$2; }",
     ""},
    {"of_two_files", {"INF-08"}, "location ~ ^/(robots\\.txt|favicon\\.ico)$ { alias /$1; }", ""},
    {"of_documentation", {"INF-08"}, "location ~ ^/(usr/share/doc/.*)$ { alias /$1; }", ""},
    {"of_a_site_by_a_capture", {"INF-08"}, "location ~ ^/f/(.*)$ { alias /srv/files/$1; }", ""},
    {"with_a_file_of_maintenance",
     {"INF-07"},
     "root /srv/www; location / { try_files /maintenance.html $uri $uri/ =404; }",
     "INF-07:medium"},
    {"with_braces",
     {"INF-07"},
     "root /srv/www; location / { try_files \"${uri}\" =404; }",
     "INF-07:medium"},
    {"by_the_other_name_of_the_path",
     {"INF-07"},
     "root /srv/www; location / { try_files $document_uri =404; }",
     "INF-07:medium"},
    {"with_a_rewrite_of_another_path",
     {"INF-07"},
     "root /srv/www; location / { rewrite ^/old$ /new permanent; try_files $uri =404; }",
     "INF-07:medium"},
    {"with_a_rewrite_of_every_path",
     {"INF-07"},
     "root /srv/www; location / { rewrite ^ /index.html break; }",
     ""},
    {"with_a_rewrite_that_is_not_known",
     {"INF-07"},
     "root /srv/www; location / { rewrite ^/(.*)$ /pages/$1 break; }",
     ""},
    {"with_an_ending_put_behind",
     {"INF-07"},
     "root /srv/www; location / { try_files $uri.html /index.html =404; }",
     ""},
    {"with_the_path_as_the_last_word",
     {"INF-07"},
     "root /srv/www; location / { try_files /index.html $uri; }",
     ""},
    {"that_end_right", {"PTH-01"}, "set $m /srv/m; location /pub/ { alias $m/pub/; }", ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Folders, testing::ValuesIn(kFolders),
                         [](const auto& test) { return test.param.name; });

TEST(Folders, OfEachRequestAreToldAsNotJudged) {
  const AuditResult result = audit_text(
      "nginx.conf", "events {}\nhttp { server { listen 80; root /srv/$host; location / {} } }\n");
  const bool told =
      std::ranges::any_of(result.not_checked, [](const auto& one) { return one.rule == "INF-07"; });
  EXPECT_TRUE(told);
}

TEST(Folders, OfTheSystemThatARequestDecidesAreToldAsNotJudged) {
  const AuditResult result = audit_text("nginx.conf",
                                        "events {}\nhttp { server { listen 80; location ~ "
                                        "^/~([^/]+)/(.*)$ { alias /home/$1/www/$2; } } }\n");
  const bool told =
      std::ranges::any_of(result.not_checked, [](const auto& one) { return one.rule == "INF-08"; });
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace merlon::audit::nginx
