#include "base/units.h"

#include <gtest/gtest.h>

namespace merlon {
namespace {

TEST(Units, BytesNeedAPowerOf1024Unit) {
  EXPECT_EQ(parse_bytes("16KiB"), 16384U);
  EXPECT_EQ(parse_bytes("2GiB"), 2147483648U);
  EXPECT_EQ(parse_bytes("512B"), 512U);
  for (const auto* bad : {"", "16", "16K", "16KB", "-1B", "+1B", "1.5MiB", "1 MiB", "016B",
                          "99999999999GiB", "99999999999999999999B", "KiB"}) {
    EXPECT_FALSE(parse_bytes(bad).has_value()) << bad;
  }
}

TEST(Units, DurationsNeedAUnit) {
  EXPECT_EQ(parse_duration("5s"), seconds{5});
  EXPECT_EQ(parse_duration("250ms"), milliseconds{250});
  EXPECT_EQ(parse_duration("30d"), std::chrono::hours{720});
  for (const auto* bad : {"5", "5m", "5 s", "s", "-5s", "1e3s", "0x5s", "999999999d"}) {
    EXPECT_FALSE(parse_duration(bad).has_value()) << bad;
  }
}

TEST(Units, RatesAreWholeAndPositive) {
  EXPECT_EQ(parse_rate("10/s"), (Rate{10, seconds{1}}));
  EXPECT_EQ(parse_rate("1000/min"), (Rate{1000, seconds{60}}));
  EXPECT_EQ(parse_rate("100000/day"), (Rate{100000, seconds{86400}}));
  for (const auto* bad : {"10", "0/s", "1.5/s", "/s", "10/", "10/second", "-1/s", "10 /s"}) {
    EXPECT_FALSE(parse_rate(bad).has_value()) << bad;
  }
}

TEST(Units, FormatsRoundTrip) {
  for (const auto* text : {"1MiB", "1500B", "3KiB", "2GiB"})
    EXPECT_EQ(format_bytes(*parse_bytes(text)), text);
  for (const auto* text : {"90s", "5min", "1h", "180d", "250ms"})
    EXPECT_EQ(format_duration(*parse_duration(text)), text);
  for (const auto* text : {"10/s", "7/min", "2/h", "5/day"})
    EXPECT_EQ(format_rate(*parse_rate(text)), text);
  EXPECT_EQ(parse_percent("20%"), 20U);
  EXPECT_FALSE(parse_percent("20").has_value());
  EXPECT_FALSE(parse_percent("101%").has_value());
}

}  // namespace
}  // namespace merlon
