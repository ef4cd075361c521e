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

}  // namespace
}  // namespace merlon::audit::nginx
