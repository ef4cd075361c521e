#include "http/host.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace merlon::http {
namespace {

struct Case {
  const char* name;
  std::string raw;
  std::string_view want;  ///< empty: refused
  std::uint16_t port = 0;
  bool is_address = false;
};

class Host : public testing::TestWithParam<Case> {};

TEST_P(Host, HasOneFormOrIsRefused) {
  const Case& test = GetParam();
  std::array<char, kHostBytesMax> scratch;
  const auto got = canonical_host(test.raw, scratch);
  ASSERT_EQ(got.has_value(), !test.want.empty()) << (got ? got->name : got.error().what);
  if (!got) {
    EXPECT_EQ(got.error().code, code::kBadHost);
    EXPECT_EQ(got.error().blame, Blame::kClient);
    return;
  }
  EXPECT_EQ(got->name, test.want);
  EXPECT_EQ(got->port, test.port);
  EXPECT_EQ(got->address.has_value(), test.is_address);
}

auto name_of = [](const auto& test) { return test.param.name; };
const std::string kLabel63(63, 'a');

// RFC 3986 §3.2.2, RFC 9110 §7.2.
INSTANTIATE_TEST_SUITE_P(Accepted, Host,
                         testing::ValuesIn<Case>({
                             {"name", "a.example", "a.example"},
                             {"upper", "A.Example", "a.example"},
                             {"trailing_dot", "a.example.", "a.example"},
                             {"port", "a.example:65535", "a.example", 65535},
                             {"dot_and_port", "A.:1", "a", 1},
                             {"underscore", "a_b-c", "a_b-c"},
                             {"digits_inside", "1.2.3.a", "1.2.3.a"},
                             {"label_63", kLabel63, kLabel63},
                             {"v4", "192.0.2.1", "192.0.2.1", 0, true},
                             {"v4_port", "192.0.2.1:80", "192.0.2.1", 80, true},
                             {"v6", "[2001:db8::1]", "2001:db8::1", 0, true},
                             {"v6_other_form", "[2001:DB8:0::1]:8443", "2001:db8::1", 8443, true},
                             {"v6_mapped", "[::ffff:192.0.2.1]", "192.0.2.1", 0, true},
                         }),
                         name_of);

INSTANTIATE_TEST_SUITE_P(Refused, Host,
                         testing::ValuesIn<Case>({
                             {"empty", "", ""},
                             {"dot", ".", ""},
                             {"two_dots", "a..b", ""},
                             {"two_trailing_dots", "a..", ""},
                             {"only_port", ":80", ""},
                             {"empty_port", "a:", ""},
                             {"zero_port", "a:0", ""},
                             {"large_port", "a:65536", ""},
                             {"long_port", "a:000080", ""},
                             {"zero_led_port", "a:080", ""},
                             {"signed_port", "a:+80", ""},
                             {"userinfo", "u@a", ""},
                             {"list", "a,b", ""},
                             {"space", "a b", ""},
                             {"percent", "a%2eb", ""},
                             {"slash", "a/b", ""},
                             {"backslash", "a\\b", ""},
                             {"non_ascii", "b\xc3\xbc", ""},
                             {"nul", std::string("a\0b", 3), ""},
                             {"star", "*", ""},
                             {"label_64", kLabel63 + "a", ""},
                             {"name_254",
                              kLabel63 + "." + kLabel63 + "." + kLabel63 + "." + kLabel63, ""},
                             {"short_v4", "1.2.3", ""},
                             {"octal_v4", "01.2.3.4", ""},
                             {"hexadecimal_v4", "0x7f.0.0.1", ""},
                             {"hexadecimal_last", "a.0x1", ""},
                             {"decimal_v4", "2130706433", ""},
                             {"numeric_last", "a.1", ""},
                             {"bare_v6", "::1", ""},
                             {"unclosed_v6", "[::1", ""},
                             {"after_v6", "[::1]a", ""},
                             {"zone", "[fe80::1%25eth0]", ""},
                             {"v4_in_brackets", "[1.2.3.4]", ""},
                             {"future", "[v1.x]", ""},
                         }),
                         name_of);

TEST(Host, IsNotCopiedWhenCanonical) {
  const std::string_view raw = "a.example:80";
  const auto got = canonical_host(raw, {});
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(got->name.data(), raw.data());
  EXPECT_FALSE(canonical_host("A.example", {}).has_value()) << "wrote without room";
}

}  // namespace
}  // namespace merlon::http
