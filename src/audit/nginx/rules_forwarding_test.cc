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

constexpr const char* kUser = "auth_request /auth; auth_request_set $u $upstream_http_x_user; ";

class Identities : public testing::TestWithParam<RuleCase> {};

TEST_P(Identities, AreClearedWhereverTheyAreNotSet) {
  const std::string server = fmt::format(
      "server {{ listen 80; server_name a.test; location = /auth {{ internal; proxy_pass "
      "http://127.0.0.1:2; }} location /a {{ {} {}",
      kUser, GetParam().http);
  EXPECT_EQ(findings_in(server, {"XFF-04"}), GetParam().want);
}

const RuleCase kIdentities[] = {
    {"in_another_server",
     {},
     "proxy_set_header X-User $u; proxy_pass http://u; } } upstream u { server 127.0.0.1:1; } "
     "server { listen 80; server_name b.test; location / { proxy_pass http://u; } }",
     "XFF-04:high"},
    {"in_a_server_of_another_application",
     {},
     "proxy_set_header X-User $u; proxy_set_header Host $host; proxy_pass http://127.0.0.1:1; } } "
     "server { listen 80; server_name b.test; location / { proxy_set_header Host $host; "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"in_another_server_of_the_same_name",
     {},
     "proxy_set_header X-User $u; proxy_set_header Host $host; proxy_pass http://127.0.0.1:1; } } "
     "server { listen 81; server_name a.test; location / { proxy_set_header Host $host; "
     "proxy_pass http://127.0.0.1:1; } }",
     "XFF-04:high"},
    {"in_a_server_for_this_host",
     {},
     "proxy_set_header X-User $u; proxy_pass http://127.0.0.1:1; } } "
     "server { listen 127.0.0.1:81; location / { proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"in_grpc",
     {},
     "grpc_set_header X-User $u; grpc_pass grpc://127.0.0.1:1; } "
     "location /b { grpc_pass grpc://127.0.0.1:1; } }",
     "XFF-04:high"},
    {"in_fastcgi",
     {},
     "fastcgi_param HTTP_X_USER $u; fastcgi_pass 127.0.0.1:1; } "
     "location /b { fastcgi_pass 127.0.0.1:1; } }",
     "XFF-04:high"},
    {"in_fastcgi_cleared",
     {},
     "fastcgi_param HTTP_X_USER $u; fastcgi_pass 127.0.0.1:1; } "
     "location /b { fastcgi_param HTTP_X_USER \"\"; fastcgi_pass 127.0.0.1:1; } }",
     ""},
    {"in_fastcgi_without_those_of_the_client",
     {},
     "fastcgi_param HTTP_X_USER $u; fastcgi_pass 127.0.0.1:1; } "
     "location /b { fastcgi_pass_request_headers off; fastcgi_pass 127.0.0.1:1; } }",
     ""},
    {"in_a_parameter_that_no_client_sends",
     {},
     "fastcgi_param X_USER $u; fastcgi_pass 127.0.0.1:1; } "
     "location /b { fastcgi_pass 127.0.0.1:1; } }",
     ""},
    {"in_fastcgi_of_another_site",
     {},
     "fastcgi_param HTTP_X_USER $u; fastcgi_pass 127.0.0.1:1; } } "
     "server { listen 80; server_name b.test; location / { fastcgi_pass 127.0.0.1:1; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, Identities, testing::ValuesIn(kIdentities),
                         [](const auto& test) { return test.param.name; });

class UnknownHosts : public testing::TestWithParam<RuleCase> {};

TEST_P(UnknownHosts, AreRefusedByAServerThatHandsOutNothing) {
  EXPECT_EQ(findings_in(fmt::format("server {{ server_name a.test; {} }} server {{ listen 80; "
                                    "listen 443 ssl; server_name b.test; root /srv; }}",
                                    GetParam().http),
                        {"HST-02"}),
            GetParam().want);
}

const RuleCase kUnknownHosts[] = {
    {"but_for_an_api",
     {},
     "listen 80; listen 443 ssl; location / { return 404; } location /api { proxy_pass "
     "http://127.0.0.1:1; }",
     "HST-02:medium"},
    {"but_for_one_file",
     {},
     "listen 80; listen 443 ssl; root /srv; location / { return 404; } location = /robots.txt { } "
     "location /favicon.ico { }",
     ""},
    {"but_for_checks",
     {},
     "listen 80; listen 443 ssl; location / { return 404; } location = /healthz { return 200 ok; } "
     "location = /status { stub_status; }",
     ""},
    {"in_the_handshake_only",
     {},
     "listen 80; listen 443 ssl; ssl_reject_handshake on; location / { proxy_pass "
     "http://127.0.0.1:1; }",
     "HST-02:medium"},
    {"in_the_handshake_and_with_nothing_in_clear",
     {},
     "listen 80; listen 443 ssl; ssl_reject_handshake on;",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, UnknownHosts, testing::ValuesIn(kUnknownHosts),
                         [](const auto& test) { return test.param.name; });

class ClaimedAddresses : public testing::TestWithParam<RuleCase> {};

TEST_P(ClaimedAddresses, OfPeersThatAreNotListedAreTold) {
  const RuleCase& test = GetParam();
  EXPECT_EQ(findings_in(test.http, {"XFF-03"}), test.want);
}

const RuleCase kClaimedAddresses[] = {
    {"told_to_the_upstream",
     {},
     "server { listen 80 proxy_protocol; set_real_ip_from 10.0.0.0/8; real_ip_header "
     "proxy_protocol; location / { proxy_set_header X-Real-IP $proxy_protocol_addr; proxy_pass "
     "http://127.0.0.1:1; } }",
     "XFF-03:medium"},
    {"a_list",
     {},
     "geo $proxy_protocol_addr $in { default 0; 10.0.0.0/8 1; } server { listen 80 proxy_protocol; "
     "set_real_ip_from 10.0.0.0/8; location / { if ($in = 0) { return 403; } proxy_pass "
     "http://127.0.0.1:1; } }",
     "XFF-03:high"},
    {"the_address_that_nginx_believes",
     {},
     "server { listen 80 proxy_protocol; set_real_ip_from 10.0.0.0/8; real_ip_header "
     "proxy_protocol; location / { proxy_set_header X-Real-IP $remote_addr; proxy_pass "
     "http://127.0.0.1:1; } }",
     ""},
    {"a_log",
     {},
     "log_format f $proxy_protocol_addr; server { listen 80 proxy_protocol; set_real_ip_from "
     "10.0.0.0/8; access_log /l f; root /srv; }",
     ""},
    {"a_socket_of_the_inside",
     {},
     "server { listen 10.0.0.1:80 proxy_protocol; set_real_ip_from 10.0.0.0/8; location / { "
     "proxy_set_header X-Real-IP $proxy_protocol_addr; proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"the_peer_is_asked_for_too",
     {},
     "server { listen 80 proxy_protocol; set_real_ip_from 10.0.0.0/8; if ($realip_remote_addr !~ "
     "\"^10\\.\") { return 403; } location / { proxy_set_header X-Real-IP $proxy_protocol_addr; "
     "proxy_pass http://127.0.0.1:1; } }",
     ""},
    {"another_server",
     {},
     "server { listen 80 proxy_protocol; set_real_ip_from 10.0.0.0/8; root /srv; } server { listen "
     "81; location / { proxy_set_header X-Real-IP $proxy_protocol_addr; proxy_pass "
     "http://127.0.0.1:1; } }",
     ""},
};

INSTANTIATE_TEST_SUITE_P(Nginx, ClaimedAddresses, testing::ValuesIn(kClaimedAddresses),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace merlon::audit::nginx
