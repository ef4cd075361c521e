#include "upstream/https_url.h"

#include <gtest/gtest.h>

#include "upstream/public_address.h"

namespace merlon::upstream {
namespace {

struct Case {
  const char* name;
  std::string_view text;
  std::string_view want;  // "authority path ?query"; empty: must be refused
};
constexpr Case kCases[] = {
    {"plain", "https://id.example.com/a/b", "id.example.com /a/b"},
    {"no_path", "https://id.example.com", "id.example.com /"},
    {"usual_port", "https://id.example.com:443/", "id.example.com /"},
    {"other_port", "https://ID.Example.com:8443/x", "id.example.com:8443 /x"},
    {"query", "https://id.example.com/x?a=1", "id.example.com /x ?a=1"},
    {"query_without_path", "https://id.example.com?a=1", "id.example.com / ?a=1"},
    {"v6", "https://[2001:db8::1]:9/", "[2001:db8::1]:9 /"},
    {"scheme_in_capitals", "HTTPS://a.example/", "a.example /"},
    {"cleartext", "http://a.example/", ""},
    {"no_host", "https:///a", ""},
    {"user", "https://me@a.example/", ""},
    {"user_that_looks_like_the_host", "https://a.example@evil.example/", ""},
    {"backslash", "https://a.example\\@evil.example/", ""},
    {"fragment", "https://a.example/#a", ""},
    {"space", "https://a.example/ b", ""},
    {"line_end", "https://a.example/\r\nHost: b", ""},
    {"dots", "https://a.example/../b", ""},
    {"bad_port", "https://a.example:0/", ""},
    {"decimal_address", "https://2130706433/", ""},
    {"other_scheme", "file:///etc/passwd", ""},
    {"nothing", "", ""},
};
class HttpsUrlText : public testing::TestWithParam<Case> {};
TEST_P(HttpsUrlText, IsTakenApartOrRefused) {
  const auto url = parse_https_url(GetParam().text);
  std::string got;
  if (url.has_value()) {
    got = url->authority() + " " + url->path + (url->has_query ? " ?" + url->query : "");
  }
  EXPECT_EQ(got, GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Rfc3986, HttpsUrlText, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(HttpsUrlText, LongOnesAreRefused) {
  EXPECT_FALSE(parse_https_url("https://a.example/" + std::string(1024, 'a')).has_value());
}

TEST(PublicAddress, NeighboursAreNotPublic) {
  for (const char* text : {"127.0.0.1",
                           "10.1.2.3",
                           "172.16.0.1",
                           "192.168.1.1",
                           "169.254.169.254",
                           "100.64.0.1",
                           "0.0.0.0",
                           "224.0.0.1",
                           "255.255.255.255",
                           "198.18.0.1",
                           "192.0.2.1",
                           "::1",
                           "::",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "2001:db8::1",
                           "2002:7f00:1::",
                           "64:ff9b::7f00:1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "2001::1"}) {
    EXPECT_FALSE(is_public(*IpAddress::parse(text))) << text;
  }
  for (const char* text : {"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1",
                           "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"}) {
    EXPECT_TRUE(is_public(*IpAddress::parse(text))) << text;
  }
}

}  // namespace
}  // namespace merlon::upstream
