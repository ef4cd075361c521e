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
