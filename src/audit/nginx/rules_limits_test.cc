#include <gtest/gtest.h>

#include "audit/nginx/findings_for_tests.h"

namespace merlon::audit::nginx {
namespace {

class CountedKeys : public testing::TestWithParam<RuleCase> {};

TEST_P(CountedKeys, ThatClientsVaryLimitNobody) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kCountedKeys[] = {
    {"one_for_each_request",
     {"LIM-03"},
     "limit_req_zone $request_id zone=z:1m rate=1r/s; server { listen 80; limit_req zone=z; root "
     "/srv; }",
     "LIM-03:high"},
    {"one_for_each_connection",
     {"LIM-03"},
     "limit_req_zone $remote_addr$remote_port zone=z:1m rate=1r/s; server { listen 80; limit_req "
     "zone=z; root /srv; }",
     "LIM-03:high"},
    {"one_for_each_page",
     {"LIM-03"},
     "limit_req_zone $binary_remote_addr$uri zone=z:1m rate=1r/s; server { listen 80; limit_req "
     "zone=z; root /srv; }",
     ""},
    {"any_host",
     {"LIM-03"},
     "limit_req_zone $host zone=z:1m rate=1r/s; server { listen 80; limit_req zone=z; root /srv; }",
     "LIM-03:high"},
    {"any_host_on_top",
     {"LIM-03"},
     "limit_req_zone $binary_remote_addr zone=a:1m rate=9r/s; limit_req_zone $host zone=z:1m "
     "rate=1r/s; server { listen 80; limit_req zone=a; limit_req zone=z; root /srv; }",
     "LIM-03:info"},
    {"own_names_only",
     {"LIM-03"},
     "limit_req_zone $host zone=z:1m rate=1r/s; server { listen 80 default_server; return 444; } "
     "server { listen 80; server_name a.test b.test; limit_req zone=z; root /srv; }",
     ""},
    {"an_address",
     {"LIM-03"},
     "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; server { listen 80; limit_req "
     "zone=z; root /srv; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, CountedKeys, testing::ValuesIn(kCountedKeys),
                         [](const auto& test) { return test.param.name; });

class PathsOfWords : public testing::TestWithParam<RuleCase> {};

TEST_P(PathsOfWords, AreNotTakenForOthers) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(fmt::format("server {{ listen 80; {} }}", test.http), test.only),
            test.want);
}

const RuleCase kPathsOfWords[] = {
    {"news",
     {"LIM-10"},
     "location /news/ { proxy_read_timeout 1h; proxy_pass http://127.0.0.1:1; }",
     "LIM-10:medium"},
    {"a_websocket",
     {"LIM-10"},
     "location /ws/ { proxy_read_timeout 1h; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"websockets",
     {"LIM-10"},
     "location ~ ^/(ws|websockets)$ { proxy_read_timeout 1h; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"a_hub",
     {"LIM-10"},
     "location /chatHub { proxy_read_timeout 1h; proxy_pass http://127.0.0.1:1; }",
     ""},
    {"a_profile",
     {"LIM-06"},
     "location /profile/ { client_max_body_size 0; proxy_pass http://127.0.0.1:1; }",
     "LIM-06:medium"},
    {"files",
     {"LIM-06"},
     "location /files/ { client_max_body_size 0; proxy_pass http://127.0.0.1:1; }",
     "LIM-06:info"},
    {"a_registry",
     {"LIM-06"},
     "location /v2/ { client_max_body_size 0; proxy_pass http://127.0.0.1:1; }",
     "LIM-06:info"},
    {"deliveries",
     {"LOC-05"},
     "auth_basic a; auth_basic_user_file /e; location /deliveries { auth_basic off; proxy_pass "
     "http://127.0.0.1:1; }",
     "LOC-05:medium"},
    {"authors",
     {"LOC-05"},
     "auth_basic a; auth_basic_user_file /e; location /authors { auth_basic off; proxy_pass "
     "http://127.0.0.1:1; }",
     "LOC-05:medium"},
    {"a_health_check",
     {"LOC-05"},
     "auth_basic a; auth_basic_user_file /e; location /healthz { auth_basic off; proxy_pass "
     "http://127.0.0.1:1; }",
     "LOC-05:info"},
    {"an_olive",
     {"LOC-05"},
     "location /o { auth_basic a; auth_basic_user_file /e; proxy_pass http://127.0.0.1:1; } "
     "location /olive { auth_basic off; proxy_pass http://127.0.0.1:1; }",
     "LOC-05:medium"},
};

INSTANTIATE_TEST_SUITE_P(Nginx, PathsOfWords, testing::ValuesIn(kPathsOfWords),
                         [](const auto& test) { return test.param.name; });

class UnusedZones : public testing::TestWithParam<RuleCase> {};

TEST_P(UnusedZones, AreToldInStreamsToo) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, test.only), test.want);
}

const RuleCase kUnusedZones[] = {
    {"used",
     {"LIM-02"},
     "limit_conn_zone $binary_remote_addr zone=z:1m; server { listen 80; limit_conn z 9; root "
     "/srv; }",
     ""},
    {"not_used",
     {"LIM-02"},
     "limit_conn_zone $binary_remote_addr zone=z:1m; server { listen 80; root /srv; }",
     "LIM-02:medium"},
    {"not_used_in_a_stream",
     {"LIM-02"},
     "server { listen 80; root /srv; } } stream { limit_conn_zone $binary_remote_addr zone=z:1m; "
     "server { listen 90; proxy_pass 127.0.0.1:1; }",
     "LIM-02:medium"},
    {"used_in_a_stream",
     {"LIM-02"},
     "server { listen 80; root /srv; } } stream { limit_conn_zone $binary_remote_addr zone=z:1m; "
     "server { listen 90; limit_conn z 9; proxy_pass 127.0.0.1:1; }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, UnusedZones, testing::ValuesIn(kUnusedZones),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
