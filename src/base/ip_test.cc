#include "base/ip.h"

#include <gtest/gtest.h>

namespace merlon {
namespace {

TEST(IpAddress, ParsesStrictFormsOnly) {
  struct Case {
    std::string_view input;
    std::string_view want;  // empty: must be refused
  };
  constexpr Case kCases[] = {
      {"192.0.2.1", "192.0.2.1"},
      {"0.0.0.0", "0.0.0.0"},
      {"010.0.0.1", ""},  // octal to some readers, decimal to others
      {"1.2.3", ""},
      {"1.2.3.4 ", ""},
      {"1.2.3.256", ""},
      {"2001:DB8::1", "2001:db8::1"},
      {"::ffff:192.0.2.1", "192.0.2.1"},
      {"::1", "::1"},
      {"[::1]", ""},
      {"fe80::1%eth0", ""},
      {"", ""},
      {std::string_view("1.2.3.4\0x", 9), ""},
  };
  for (const Case& c : kCases) {
    const auto got = IpAddress::parse(c.input);
    EXPECT_EQ(got ? got->to_string() : "", c.want) << c.input;
  }
}

TEST(IpAddress, CountsAnIpv6ClientAsItsSlash64) {
  EXPECT_EQ(IpAddress::parse("2001:db8:1:2:3:4:5:6")->client_key().to_string(), "2001:db8:1:2::");
  EXPECT_EQ(IpAddress::parse("192.0.2.7")->client_key().to_string(), "192.0.2.7");
}

TEST(Endpoint, ParsesAndPrints) {
  EXPECT_EQ(Endpoint::parse("[::]:8443")->to_string(), "[::]:8443");
  EXPECT_EQ(Endpoint::parse("10.0.0.1:80")->to_string(), "10.0.0.1:80");
  for (const std::string_view bad : {"10.0.0.1", "10.0.0.1:0", "::1:80", "[10.0.0.1]:80",
                                     "10.0.0.1:65536", "10.0.0.1:+8", "a:80", "10.0.0.1:080"}) {
    EXPECT_FALSE(Endpoint::parse(bad).has_value()) << bad;
  }
}

TEST(Cidr, ContainsItsNetworkOnly) {
  const auto ten = Cidr::parse("10.0.0.0/8");
  ASSERT_TRUE(ten);
  EXPECT_TRUE(ten->contains(*IpAddress::parse("10.255.0.1")));
  EXPECT_TRUE(ten->contains(*IpAddress::parse("::ffff:10.1.1.1")));
  EXPECT_FALSE(ten->contains(*IpAddress::parse("11.0.0.1")));
  EXPECT_FALSE(ten->contains(*IpAddress::parse("a00::")));
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("1.2.3.4")));
  EXPECT_TRUE(Cidr::parse("2001:db8::/33")->contains(*IpAddress::parse("2001:db8:7fff::1")));
  EXPECT_FALSE(Cidr::parse("2001:db8::/33")->contains(*IpAddress::parse("2001:db8:8000::1")));
  EXPECT_EQ(Cidr::parse("10.0.0.1")->prefix_bits, 32);
  for (const std::string_view bad :
       {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "/8", "10.0.0.0/-1"}) {
    EXPECT_FALSE(Cidr::parse(bad).has_value()) << bad;
  }
}

std::vector<Cidr> blocks(std::initializer_list<std::string_view> texts) {
  std::vector<Cidr> out;
  for (const std::string_view text : texts) out.push_back(*Cidr::parse(text));
  return out;
}

TEST(Cidr, IsCoveredByOthersBetweenThem) {
  const Cidr ten = *Cidr::parse("10.0.0.0/8");
  EXPECT_TRUE(covered_by(ten, blocks({"10.0.0.0/8"})));
  EXPECT_TRUE(covered_by(ten, blocks({"8.0.0.0/6"})));
  EXPECT_TRUE(covered_by(ten, blocks({"10.128.0.0/9", "10.0.0.0/9"})));
  EXPECT_TRUE(covered_by(ten, blocks({"10.0.0.0/9", "10.192.0.0/10", "10.128.0.0/10"})));
  EXPECT_FALSE(covered_by(ten, blocks({"10.0.0.0/9", "10.192.0.0/10"})));
  EXPECT_FALSE(covered_by(ten, blocks({"10.0.0.0/9", "11.0.0.0/8", "a00::/8"})));
  EXPECT_FALSE(covered_by(ten, {}));
  EXPECT_TRUE(covered_by(*Cidr::parse("2001:db8::/127"), blocks({"2001:db8::", "2001:db8::1"})));
  EXPECT_FALSE(covered_by(*Cidr::parse("2001:db8::1"), blocks({"2001:db8::"})));
}

TEST(Cidr, EveryoneOfOneFamilyIsEveryone) {
  EXPECT_TRUE(has_everyone(blocks({"0.0.0.0/0"})));
  EXPECT_TRUE(has_everyone(blocks({"::/0"})));
  EXPECT_TRUE(has_everyone(blocks({"0.0.0.0/1", "2001:db8::/32", "128.0.0.0/1"})));
  EXPECT_FALSE(has_everyone(blocks({"0.0.0.0/1", "8000::/1"})));
  EXPECT_FALSE(has_everyone({}));
}

}  // namespace
}  // namespace merlon
