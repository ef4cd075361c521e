#include "http/h1_write.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "http/h1_request_parser.h"

namespace merlon::http {
namespace {

TEST(HeadWriter, WritesARequestThatParses) {
  std::array<char, 256> out;
  HeadWriter writer(out);
  writer.request_line("GET", "/a", "b", true);
  writer.field("Host", "a.example");
  writer.field("Content-Length", std::uint64_t{18446744073709551615U});
  EXPECT_TRUE(writer.end());
  EXPECT_EQ(writer.text(),
            "GET /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18446744073709551615\r\n\r\n");
  RequestParser parser;
  EXPECT_EQ(parser.parse(writer.text()).value_or(0), writer.size());
}

TEST(HeadWriter, TellsAnEmptyQueryFromNone) {
  std::array<char, 64> out;
  HeadWriter with(out);
  with.request_line("GET", "/", "", true);
  EXPECT_EQ(with.text(), "GET /? HTTP/1.1\r\n");
  HeadWriter without(out);
  without.request_line("GET", "/", "", false);
  EXPECT_EQ(without.text(), "GET / HTTP/1.1\r\n");
}

TEST(HeadWriter, WritesStatusLines) {
  std::array<char, 64> out;
  HeadWriter known(out);
  known.status_line(404);
  EXPECT_EQ(known.text(), "HTTP/1.1 404 Not Found\r\n");
  HeadWriter given(out);
  given.status_line(299, "Fine");
  EXPECT_EQ(given.text(), "HTTP/1.1 299 Fine\r\n");
  HeadWriter unknown(out);
  unknown.status_line(299);
  EXPECT_EQ(unknown.text(), "HTTP/1.1 299 \r\n");
}

TEST(HeadWriter, NeverWritesPastItsEnd) {
  for (std::size_t room = 0; room < 60; ++room) {
    std::string buffer(100, '~');
    HeadWriter writer(std::span<char>(buffer.data(), room));
    writer.status_line(200);
    writer.field("Content-Length", std::uint64_t{5});
    const bool whole = writer.end();
    EXPECT_EQ(whole, room >= 17 + 19 + 2) << room;
    EXPECT_EQ(writer.overflowed(), !whole);
    EXPECT_EQ(buffer.substr(room), std::string(100 - room, '~'));
    EXPECT_LE(writer.size(), room);
    if (!whole) {
      EXPECT_FALSE(writer.raw(""));
    }
  }
}

// A48: what comes from a claim or a configuration cannot split a message.
TEST(HeadWriter, ChecksFieldsFromElsewhere) {
  std::array<char, 128> out;
  HeadWriter writer(out);
  EXPECT_FALSE(writer.checked_field("X-Sub", "a\r\nX-Admin: 1"));
  EXPECT_FALSE(writer.checked_field("X-Sub", std::string_view("a\0b", 3)));
  EXPECT_FALSE(writer.checked_field("X-Sub", " a"));
  EXPECT_FALSE(writer.checked_field("X-Sub", "a\x7f"));
  EXPECT_FALSE(writer.checked_field("X Sub", "a"));
  EXPECT_FALSE(writer.checked_field("", "a"));
  EXPECT_EQ(writer.size(), 0U);
  EXPECT_TRUE(writer.checked_field("X-Sub", "d\xc3\xbcrer\tb"));
  EXPECT_EQ(writer.text(), "X-Sub: d\xc3\xbcrer\tb\r\n");
}

TEST(FieldValue, IsJudgedByteByByteAtEveryPosition) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool good = (byte >= 0x20 && byte != 0x7f) || byte == '\t';
    for (const std::size_t at : {1U, 7U, 8U, 13U, 19U}) {
      std::string value(21, 'a');
      value[at] = static_cast<char>(byte);
      value[at / 2] = '\t';
      value[0] = 'a';
      EXPECT_EQ(is_field_value(value), good) << byte << " at " << at;
    }
  }
}

}  // namespace
}  // namespace merlon::http
