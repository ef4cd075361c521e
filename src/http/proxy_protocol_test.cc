#include "http/proxy_protocol.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::http {
namespace {

struct Case {
  const char* name;
  std::string raw;
  std::string_view source;  ///< "" when the header names none
  bool accepted = true;
  bool complete = true;
};

class Proxy : public testing::TestWithParam<Case> {};

TEST_P(Proxy, IsReadOrRefusedHoweverItIsCut) {
  const Case& test = GetParam();
  Result<ProxyHeader> got = parse_proxy_header("");
  for (std::size_t n = 1; n <= test.raw.size() && got && got->size_bytes == 0; ++n) {
    got = parse_proxy_header(std::string_view(test.raw).substr(0, n));
  }
  ASSERT_EQ(got.has_value(), test.accepted);
  const auto whole = parse_proxy_header(test.raw + "GET / HTTP/1.1\r\n");
  if (!got) {
    EXPECT_EQ(got.error().code, code::kBadProxyHeader);
    EXPECT_FALSE(whole.has_value());
    return;
  }
  EXPECT_EQ(got->size_bytes, test.complete ? test.raw.size() : 0U);
  EXPECT_EQ(got->source ? got->source->to_string() : "", test.source);
  if (test.complete) {
    ASSERT_TRUE(whole.has_value());
    EXPECT_EQ(whole->size_bytes, got->size_bytes);
  }
}

auto name_of = [](const auto& test) { return test.param.name; };

INSTANTIATE_TEST_SUITE_P(
    V1, Proxy,
    testing::ValuesIn<Case>({
        {"tcp4", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", "192.0.2.1:4711"},
        {"tcp6", "PROXY TCP6 2001:db8::1 2001:db8::2 65535 1\r\n", "[2001:db8::1]:65535"},
        {"tcp6_mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::1 80 1\r\n", "192.0.2.1:80"},
        {"unknown", "PROXY UNKNOWN\r\n", ""},
        {"unknown_with_text", "PROXY UNKNOWN ffff:: ffff:: 1 2\r\n", ""},
        {"longest", "PROXY UNKNOWN " + std::string(91, 'f') + "\r\n", ""},
        {"too_long", "PROXY UNKNOWN " + std::string(92, 'f') + "\r\n", "", false},
        {"no_header", "GET / HTTP/1.1\r\n", "", false},
        {"lower_case", "proxy TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", "", false},
        {"bare_lf", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n", "", false},
        {"bare_cr", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\rX", "", false},
        {"two_spaces", "PROXY TCP4  192.0.2.1 10.0.0.1 4711 443\r\n", "", false},
        {"last_space", "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 \r\n", "", false},
        {"wrong_family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", false},
        {"other_family", "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", "", false},
        {"large_port", "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\n", "", false},
        {"zero_led_port", "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n", "", false},
        {"zero_led_address", "PROXY TCP4 192.0.02.1 10.0.0.1 1 2\r\n", "", false},
        {"missing_port", "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", "", false},
        {"control", "PROXY UNKNOWN a\tb\r\n", "", false},
    }),
    name_of);

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
const std::string kV4("\xc0\x00\x02\x01\x0a\x00\x00\x01\x12\x67\x01\xbb", 12);
const std::string kV6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x01" +
                        std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x02" +
                        std::string("\x12\x67\x01\xbb", 4);

std::string v2(unsigned command, unsigned family, const std::string& payload) {
  std::string header = kSignature;
  header += static_cast<char>(command);
  header += static_cast<char>(family);
  header += static_cast<char>(payload.size() >> 8);
  header += static_cast<char>(payload.size() & 0xff);
  return header + payload;
}
std::string tlv(char type, const std::string& value) {
  return std::string{type, static_cast<char>(value.size() >> 8),
                     static_cast<char>(value.size() & 0xff)} +
         value;
}

INSTANTIATE_TEST_SUITE_P(
    V2, Proxy,
    testing::ValuesIn<Case>({
        {"tcp4", v2(0x21, 0x11, kV4), "192.0.2.1:4711"},
        {"tcp6", v2(0x21, 0x21, kV6), "[2001:db8::1]:4711"},
        {"local", v2(0x20, 0x00, ""), ""},
        {"local_with_addresses", v2(0x20, 0x11, kV4), ""},
        {"unspec", v2(0x21, 0x00, "abc"), ""},
        {"unix", v2(0x21, 0x31, std::string(216, 'a')), ""},
        {"tlvs", v2(0x21, 0x11, kV4 + tlv(0x01, "h2") + tlv(0x04, "")), "192.0.2.1:4711"},
        {"crc", v2(0x21, 0x11, kV4 + tlv(0x03, "\x9a\x17\xd8\xb5")), "192.0.2.1:4711"},
        {"incomplete", v2(0x21, 0x11, kV4).substr(0, 27), "", true, false},
        {"version_1", v2(0x11, 0x11, kV4), "", false},
        {"command_2", v2(0x22, 0x11, kV4), "", false},
        {"udp", v2(0x21, 0x12, kV4), "", false},
        {"family_4", v2(0x21, 0x41, kV4), "", false},
        {"short_addresses", v2(0x21, 0x11, kV4.substr(1)), "", false},
        {"short_v6", v2(0x21, 0x21, kV4), "", false},
        {"tlv_cut", v2(0x21, 0x11, kV4 + "\x01"), "", false},
        {"tlv_long", v2(0x21, 0x11, kV4 + std::string("\x01\x00\x05zz", 5)), "", false},
        {"crc_short", v2(0x21, 0x11, kV4 + tlv(0x03, "abc")), "", false},
        {"crc_wrong", v2(0x21, 0x11, kV4 + tlv(0x03, "abcd")), "", false},
        {"huge", v2(0x21, 0x11, kV4 + tlv(0x04, std::string(2040, 'a'))), "", false},
        {"wrong_signature", "\r\n\r\nX", "", false},
    }),
    name_of);

}  // namespace
}  // namespace merlon::http
