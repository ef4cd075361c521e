#include "telemetry/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/escape.h"

namespace merlon::telemetry {
namespace {

std::string escaped(std::string_view text, std::size_t bytes_max) {
  std::string out(bytes_max + 8, '#');
  char* const end = write_escaped(out.data(), text, bytes_max);
  const auto size = static_cast<std::size_t>(end - out.data());
  EXPECT_LE(size, bytes_max);
  EXPECT_EQ(out.substr(bytes_max), "########") << "wrote past its bound";
  return out.substr(0, size);
}

TEST(WriteEscaped, AgreesWithTheAllocatingOneOnEveryByteAtEveryPlace) {
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t at = 0; at < 18; ++at) {
      std::string text = "abcdefghijklmnopqr";
      text[at] = static_cast<char>(byte);
      std::string want;
      append_json_escaped(want, text);
      EXPECT_EQ(escaped(text, 200), want) << byte << " at " << at;
    }
  }
}

TEST(WriteEscaped, KeepsValidUtf8AndReplacesTheRest) {
  EXPECT_EQ(escaped("gr\xc3\xbc\xc3\x9f \xf0\x9f\xa6\x85", 100),
            "gr\xc3\xbc\xc3\x9f \xf0\x9f\xa6\x85");
  EXPECT_EQ(escaped("\xc0\xaf", 100), "\\ufffd\\ufffd");               // overlong '/'
  EXPECT_EQ(escaped("\xed\xa0\x80", 100), "\\ufffd\\ufffd\\ufffd");    // surrogate
  EXPECT_EQ(escaped("x\xf0\x9f\xa6", 100), "x\\ufffd\\ufffd\\ufffd");  // cut off
  EXPECT_EQ(escaped(std::string_view("a\0b\x1b[2J", 7), 100), "a\\u0000b\\u001b[2J");
}

TEST(WriteEscaped, CutsAtACharacterAtEveryBound) {
  const std::string texts[] = {
      std::string(64, 'a'), "plain then \xc3\xbc and \"quotes\" and \x01\x02\xff bytes",
      "\xf0\x9f\xa6\x85\xf0\x9f\xa6\x85\xf0\x9f\xa6\x85\xf0\x9f\xa6\x85", std::string(40, '\x01')};
  for (const std::string& text : texts) {
    std::string whole;
    append_json_escaped(whole, text);
    for (std::size_t max = 3; max < whole.size() + 2; ++max) {
      const std::string cut = escaped(text, max);
      const auto json = nlohmann::json::parse('"' + cut + '"', nullptr, false);
      ASSERT_FALSE(json.is_discarded()) << cut;
      if (whole.size() <= max) {
        EXPECT_EQ(cut, whole);
      } else {
        ASSERT_TRUE(cut.ends_with("...")) << cut;
        EXPECT_TRUE(whole.starts_with(cut.substr(0, cut.size() - 3))) << cut;
      }
    }
  }
}

TEST(JsonLine, IsValidAtEverySizeOfItsBuffer) {
  for (std::size_t size = JsonLine::kTailBytes + 8; size < 260; ++size) {
    std::string buffer(size + 8, '#');
    JsonLine line(buffer.data(), size);
    JsonLine::Timestamp timestamp;
    line.time("time", WallTime{}, timestamp);
    line.text("text", "hello \xff", 40);
    line.open("outer");
    line.number("n", UINT64_MAX);
    line.open("inner");
    line.signed_number("s", INT64_MIN);
    line.close();
    line.boolean("b", true);
    line.close();
    line.number("last", 1);
    const std::string text(line.finish());
    ASSERT_LE(text.size(), size);
    EXPECT_EQ(buffer.substr(size), "########");
    const auto json = nlohmann::json::parse(text, nullptr, false);
    ASSERT_FALSE(json.is_discarded()) << size << ": " << text;
    EXPECT_EQ(json.contains("truncated"), !json.contains("last") || !json.contains("outer") ||
                                              json["outer"].size() != 3 || json.size() != 4 ||
                                              json["outer"]["inner"].empty())
        << text;
  }
}

struct TimeCase {
  std::int64_t ns;
  const char* text;
};
constexpr TimeCase kTimes[] = {
    {0, "1970-01-01T00:00:00.000000Z"},
    {999'999'999, "1970-01-01T00:00:00.999999Z"},
    {1'709'251'199'123'456'789, "2024-02-29T23:59:59.123456Z"},
    {1'709'251'200'000'000'000, "2024-03-01T00:00:00.000000Z"},
    {-1, "1969-12-31T23:59:59.999999Z"},
    {INT64_MAX, "2262-04-11T23:47:16.854775Z"},
};
TEST(Timestamp, IsRfc3339WithMicroseconds) {
  JsonLine::Timestamp one_for_all;
  for (const TimeCase& c : kTimes) {
    char text[JsonLine::Timestamp::kBytes];
    one_for_all.write(text, WallTime{nanoseconds{c.ns}});
    EXPECT_EQ(std::string_view(text, sizeof text), c.text);
  }
}

}  // namespace
}  // namespace merlon::telemetry
