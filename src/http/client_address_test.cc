#include "http/client_address.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace merlon::http {
namespace {

const std::vector<Cidr> kTrusted = {*Cidr::parse("10.0.0.0/8"), *Cidr::parse("2001:db8::/32")};

struct Case {
  const char* name;
  const char* peer;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string_view want;  ///< client; empty: refused
  Scheme scheme = Scheme::kUnknown;
  std::string_view host = {};
};

class Client : public testing::TestWithParam<Case> {};

TEST_P(Client, IsOneAddressOrARefusal) {
  const Case& test = GetParam();
  Fields fields;
  for (const auto& [name, value] : test.fields) fields.add(name, value);
  const auto got = resolve_client(*IpAddress::parse(test.peer), kTrusted, fields);
  ASSERT_EQ(got.has_value(), !test.want.empty()) << (got ? "" : got.error().what);
  if (!got) {
    EXPECT_EQ(got.error().code, code::kBadForwarded);
    return;
  }
  EXPECT_EQ(got->address.to_string(), test.want);
  EXPECT_EQ(got->scheme, test.scheme);
  EXPECT_EQ(got->host, test.host);
}

auto name_of = [](const auto& test) { return test.param.name; };
#define XFF "X-Forwarded-For"

// A44, A74: a peer that is not trusted cannot say anything.
INSTANTIATE_TEST_SUITE_P(
    Untrusted, Client,
    testing::ValuesIn<Case>({
        {"xff", "192.0.2.9", {{XFF, "6.6.6.6"}}, "192.0.2.9"},
        {"garbage", "192.0.2.9", {{XFF, "\x01;drop"}}, "192.0.2.9"},
        {"forwarded", "192.0.2.9", {{"Forwarded", "for=6.6.6.6;proto=https"}}, "192.0.2.9"},
        {"proto", "192.0.2.9", {{"X-Forwarded-Proto", "https"}}, "192.0.2.9"},
    }),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    ForwardedFor, Client,
    testing::ValuesIn<Case>({
        {"none", "10.0.0.1", {}, "10.0.0.1"},
        {"one", "10.0.0.1", {{XFF, "192.0.2.1"}}, "192.0.2.1"},
        {"rightmost", "10.0.0.1", {{XFF, "6.6.6.6, 192.0.2.1"}}, "192.0.2.1"},
        {"over_trusted",
         "10.0.0.1",
         {{XFF, "6.6.6.6, 192.0.2.1, 10.9.9.9,2001:db8::5"}},
         "192.0.2.1"},
        {"two_lines", "10.0.0.1", {{XFF, "6.6.6.6"}, {XFF, "192.0.2.1"}}, "192.0.2.1"},
        {"all_trusted", "10.0.0.1", {{XFF, "10.0.0.3, 10.0.0.2"}}, "10.0.0.3"},
        {"port", "10.0.0.1", {{XFF, "192.0.2.1:4711"}}, "192.0.2.1"},
        {"v6", "10.0.0.1", {{XFF, "2001:4860::8"}}, "2001:4860::8"},
        {"brackets", "10.0.0.1", {{XFF, "[2001:4860::8]"}}, "2001:4860::8"},
        {"brackets_port", "10.0.0.1", {{XFF, "[2001:4860::8]:4711"}}, "2001:4860::8"},
        {"garbage_left_of_client", "10.0.0.1", {{XFF, "unknown, <x>, 192.0.2.1"}}, "192.0.2.1"},
        {"unknown", "10.0.0.1", {{XFF, "192.0.2.1, unknown"}}, ""},
        {"empty", "10.0.0.1", {{XFF, ""}}, ""},
        {"empty_entry", "10.0.0.1", {{XFF, "192.0.2.1,"}}, ""},
        {"name", "10.0.0.1", {{XFF, "localhost"}}, ""},
        {"zero_led", "10.0.0.1", {{XFF, "192.000.2.1"}}, ""},
        {"bad_port", "10.0.0.1", {{XFF, "192.0.2.1:x"}}, ""},
        {"unclosed", "10.0.0.1", {{XFF, "[::1"}}, ""},
        {"v4_in_brackets", "10.0.0.1", {{XFF, "[192.0.2.1]"}}, ""},
        {"two_in_one", "10.0.0.1", {{XFF, "192.0.2.1 192.0.2.2"}}, ""},
        {"too_many",
         "10.0.0.1",
         {{XFF,
           [] {
             std::string chain = "1.1.1.1";
             for (int i = 0; i < 32; ++i) chain += ",1.1.1.1";
             return chain;
           }()}},
         ""},
        {"scheme", "10.0.0.1", {{"X-Forwarded-Proto", "HTTPS"}}, "10.0.0.1", Scheme::kHttps},
        {"schemes", "10.0.0.1", {{"X-Forwarded-Proto", "http, http"}}, "10.0.0.1", Scheme::kHttp},
        {"schemes_differ", "10.0.0.1", {{"X-Forwarded-Proto", "https, http"}}, ""},
        {"scheme_other", "10.0.0.1", {{"X-Forwarded-Proto", "ftp"}}, ""},
        {"host",
         "10.0.0.1",
         {{"X-Forwarded-Host", "evil, a.example"}},
         "10.0.0.1",
         Scheme::kUnknown,
         "a.example"},
    }),
    name_of);

// RFC 7239 §4.
INSTANTIATE_TEST_SUITE_P(
    Forwarded, Client,
    testing::ValuesIn<Case>({
        {"one", "10.0.0.1", {{"Forwarded", "for=192.0.2.1"}}, "192.0.2.1"},
        {"whole",
         "10.0.0.1",
         {{"Forwarded", "For=192.0.2.1;Proto=https;by=10.0.0.1;host=a.example"}},
         "192.0.2.1",
         Scheme::kHttps,
         "a.example"},
        {"v6", "10.0.0.1", {{"Forwarded", "for=\"[2001:4860::8]:4711\""}}, "2001:4860::8"},
        {"rightmost",
         "10.0.0.1",
         {{"Forwarded", "for=6.6.6.6, for=192.0.2.1 , for=10.0.0.2"}},
         "192.0.2.1"},
        {"two_lines",
         "10.0.0.1",
         {{"Forwarded", "for=6.6.6.6"}, {"Forwarded", "for=192.0.2.1"}},
         "192.0.2.1"},
        {"comma_in_quotes",
         "10.0.0.1",
         {{"Forwarded", "for=192.0.2.1;x=\"a, for=6.6.6.6\""}},
         "192.0.2.1"},
        {"proto_of_the_client",
         "10.0.0.1",
         {{"Forwarded", "for=192.0.2.1;proto=https, for=10.0.0.2;proto=http"}},
         "192.0.2.1",
         Scheme::kHttps},
        {"agrees", "10.0.0.1", {{"Forwarded", "for=192.0.2.1"}, {XFF, "192.0.2.1"}}, "192.0.2.1"},
        {"disagrees", "10.0.0.1", {{"Forwarded", "for=192.0.2.1"}, {XFF, "192.0.2.2"}}, ""},
        {"proto_disagrees",
         "10.0.0.1",
         {{"Forwarded", "for=192.0.2.1;proto=https"}, {"X-Forwarded-Proto", "http"}},
         ""},
        {"obfuscated", "10.0.0.1", {{"Forwarded", "for=_hidden"}}, ""},
        {"unknown", "10.0.0.1", {{"Forwarded", "for=unknown"}}, ""},
        {"no_for", "10.0.0.1", {{"Forwarded", "proto=https"}}, ""},
        {"twice", "10.0.0.1", {{"Forwarded", "for=192.0.2.1;for=192.0.2.2"}}, ""},
        {"unclosed", "10.0.0.1", {{"Forwarded", "for=\"192.0.2.1"}}, ""},
        {"escape", "10.0.0.1", {{"Forwarded", "for=\"192.0.2\\.1\""}}, ""},
        {"no_value", "10.0.0.1", {{"Forwarded", "for="}}, ""},
        {"no_equals", "10.0.0.1", {{"Forwarded", "for"}}, ""},
        {"raw_v6", "10.0.0.1", {{"Forwarded", "for=[2001:4860::8]"}}, ""},
        {"empty_value", "10.0.0.1", {{"Forwarded", ""}}, ""},
    }),
    name_of);

TEST(ForwardedFields, AreBuiltAnew) {
  std::array<char, 128> out;
  ClientInfo client{.address = *IpAddress::parse("192.0.2.1"), .host = {}};
  const IpAddress proxy = *IpAddress::parse("10.0.0.1");
  EXPECT_EQ(write_forwarded_for(client, client.address, out), "192.0.2.1");
  EXPECT_EQ(write_forwarded_for(client, proxy, out), "192.0.2.1, 10.0.0.1");
  EXPECT_EQ(write_forwarded(client, "a.example:8443", Scheme::kHttps, out),
            "for=192.0.2.1;host=\"a.example:8443\";proto=https");
  client.address = *IpAddress::parse("2001:db8::1");
  EXPECT_EQ(write_forwarded(client, "", Scheme::kHttp, out), "for=\"[2001:db8::1]\";proto=http");
  EXPECT_EQ(write_forwarded(client, "", Scheme::kUnknown, out), "for=\"[2001:db8::1]\"");
}

TEST(ForwardedFields, AreEmptyWithoutRoom) {
  const ClientInfo client{.address = *IpAddress::parse("2001:db8:1111:2222:3333:4444:5555:6666"),
                          .host = {}};
  std::array<char, 96> enough;
  const IpAddress peer = *IpAddress::parse("2001:db8:1111:2222:3333:4444:5555:7777");
  EXPECT_EQ(write_forwarded_for(client, peer, enough).size(), 78U);
  std::array<char, 77> small;
  EXPECT_EQ(write_forwarded_for(client, peer, small), "");
  EXPECT_EQ(write_forwarded(client, "a", Scheme::kHttps, std::span<char>(small).first(20)), "");
}

}  // namespace
}  // namespace merlon::http
