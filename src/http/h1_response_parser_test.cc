#include "http/h1_response_parser.h"

#include <gtest/gtest.h>

#include <string>

#include "http/status.h"

namespace merlon::http {
namespace {

auto name_of = [](const auto& test) { return test.param.name; };

struct Case {
  const char* name;
  std::string_view raw;
  ResponseContext context;
  bool accepted;
  Framing framing = Framing::kNone;
  bool keep_alive = true;
};

class Response : public testing::TestWithParam<Case> {};

TEST_P(Response, IsFramedOrRefusedWholeAndInBytes) {
  const Case& test = GetParam();
  ResponseParser parser(test.context);
  const auto whole = parser.parse(test.raw);
  ResponseParser bytewise(test.context);
  Result<std::size_t> cut = std::size_t{0};
  for (std::size_t n = 0; n <= test.raw.size() && cut && *cut == 0; ++n) {
    cut = bytewise.parse(test.raw.substr(0, n));
  }
  EXPECT_EQ(cut.has_value(), whole.has_value());
  ASSERT_EQ(whole.has_value(), test.accepted) << (whole ? "" : whole.error().what);
  if (!whole) {
    EXPECT_EQ(whole.error().blame, Blame::kUpstream);
    EXPECT_EQ(status_for(whole.error()), 502U);
    return;
  }
  EXPECT_EQ(*whole, test.raw.size());
  EXPECT_EQ(*cut, *whole);
  EXPECT_EQ(parser.head().framing, test.framing);
  EXPECT_EQ(parser.head().keep_alive, test.keep_alive);
}

constexpr ResponseContext kGet{};
constexpr ResponseContext kHead{.method = Method::kHead};
constexpr ResponseContext kUpgrade{.upgrade_asked = true};

// RFC 9112 §6.3.
INSTANTIATE_TEST_SUITE_P(
    Framing, Response,
    testing::ValuesIn<Case>({
        {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", kGet, true, Framing::kLength},
        {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kGet, true,
         Framing::kChunked},
        {"until_close", "HTTP/1.1 200 OK\r\n\r\n", kGet, true, Framing::kUntilClose, false},
        {"head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", kHead, true},
        {"head_chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kHead, true},
        {"not_modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", kGet, true},
        {"no_content", "HTTP/1.1 204 No Content\r\n\r\n", kGet, true},
        {"no_content_zero", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", kGet, true},
        {"no_content_length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", kGet, false},
        {"no_content_chunked", "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", kGet, false},
        {"interim", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", kGet, true},
        {"interim_length", "HTTP/1.1 103 X\r\nContent-Length: 0\r\n\r\n", kGet, false},
        {"both", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", kGet,
         false},
        {"two_lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", kGet,
         false},
        {"head_two_lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
         kHead, false},
        {"bad_length", "HTTP/1.1 200 OK\r\nContent-Length: 5a\r\n\r\n", kGet, false},
        {"gzip_chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", kGet,
         false},
        {"http10_chunked", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", kGet, false},
        {"http10", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", kGet, true, Framing::kLength,
         false},
        {"http10_keep", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
         kGet, true, Framing::kLength, true},
        {"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", kGet, true,
         Framing::kLength, false},
    }),
    name_of);

// RFC 9112 §4.
INSTANTIATE_TEST_SUITE_P(StatusLine, Response,
                         testing::ValuesIn<Case>({
                             {"no_reason", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", kGet, true,
                              Framing::kLength},
                             {"no_reason_space", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", kGet,
                              true, Framing::kLength},
                             {"obs_text", "HTTP/1.1 200 d\xfc\r\nContent-Length: 5\r\n\r\n", kGet,
                              true, Framing::kLength},
                             {"not_http", "SSH-2.0-OpenSSH\r\n\r\n", kGet, false},
                             {"empty_line_first", "\r\nHTTP/1.1 200 OK\r\n\r\n", kGet, false},
                             {"lower_case", "http/1.1 200 OK\r\n\r\n", kGet, false},
                             {"http2", "HTTP/2 200 OK\r\n\r\n", kGet, false},
                             {"http12", "HTTP/1.2 200 OK\r\n\r\n", kGet, false},
                             {"status_99", "HTTP/1.1 099 X\r\n\r\n", kGet, false},
                             {"status_600", "HTTP/1.1 600 X\r\n\r\n", kGet, false},
                             {"two_digits", "HTTP/1.1 20 OK\r\n\r\n", kGet, false},
                             {"four_digits", "HTTP/1.1 2000 OK\r\n\r\n", kGet, false},
                             {"control_in_reason", "HTTP/1.1 200 O\x01K\r\n\r\n", kGet, false},
                             {"bare_lf", "HTTP/1.1 200 OK\nContent-Length: 5\n\n", kGet, false},
                         }),
                         name_of);

// A48, A16: what an upstream could do to the client.
INSTANTIATE_TEST_SUITE_P(
    Hostile, Response,
    testing::ValuesIn<Case>({
        {"bare_cr", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", kGet, false},
        {"nul", std::string_view("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", 27), kGet, false},
        {"obs_fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", kGet, false},
        {"space_before_colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", kGet, false},
        {"two_types", "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n", kGet,
         false},
        {"nominates", "HTTP/1.1 200 OK\r\nConnection: set-cookie\r\n\r\n", kGet, false},
        {"switch_unasked", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
         kGet, false},
        {"switch_asked", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
         kUpgrade, true},
        {"switch_to_nothing", "HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n", kUpgrade, false},
        {"switch_without_option", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", kUpgrade, false},
    }),
    name_of);

TEST(ResponseParser, ReadsInterimAndFinalHeads) {
  const std::string_view raw =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Nope\r\nContent-Length: 3\r\nX_a: 1\r\n\r\nabc";
  ResponseParser parser;
  const std::size_t interim = parser.parse(raw).value_or(0);
  ASSERT_EQ(interim, 25U);
  EXPECT_TRUE(parser.head().is_interim());
  parser.reset({});
  EXPECT_FALSE(parser.started());
  ASSERT_EQ(parser.parse(raw.substr(interim)).value_or(0), raw.size() - interim - 3);
  EXPECT_EQ(parser.head().status, 404);
  EXPECT_EQ(parser.head().reason, "Nope");
  EXPECT_EQ(parser.head().content_length, 3U);
  EXPECT_FALSE(parser.head().is_interim());
}

TEST(ResponseParser, BoundsTheHead) {
  ResponseParser parser({}, {.head_bytes_max = 64, .fields_max = 100, .target_bytes_max = 1});
  EXPECT_TRUE(parser.parse("HTTP/1.1 200 OK\r\nX: y\r\n"));
  const auto got = parser.parse("HTTP/1.1 200 OK\r\nX: y\r\nY: " + std::string(60, 'y'));
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, code::kHeadTooLarge);
  EXPECT_EQ(status_for(got.error()), 502U);
}

TEST(Status, FollowsBlame) {
  const auto status = [](std::uint16_t code, Blame blame) {
    return status_for(Error{.code = code, .blame = blame});
  };
  EXPECT_EQ(status(code::kBadFieldValue, Blame::kClient), 400U);
  EXPECT_EQ(status(code::kBadFieldValue, Blame::kUpstream), 502U);
  EXPECT_EQ(status(code::kTimedOut, Blame::kClient), 408U);
  EXPECT_EQ(status(code::kTimedOut, Blame::kUpstream), 504U);
  EXPECT_EQ(status(code::kUpstreamUnavailable, Blame::kUpstream), 503U);
  EXPECT_EQ(status(code::kOverloaded, Blame::kInternal), 503U);
  EXPECT_EQ(status(code::kIo, Blame::kInternal), 500U);
  EXPECT_EQ(status(code::kMisdirected, Blame::kClient), 421U);
  EXPECT_EQ(status(code::kNetworkNotAllowed, Blame::kPolicy), 403U);
  EXPECT_EQ(status(code::kBodyTooLarge, Blame::kPolicy), 413U);
  EXPECT_EQ(reason_phrase(431), "Request Header Fields Too Large");
  EXPECT_EQ(reason_phrase(299), "");
}

}  // namespace
}  // namespace merlon::http
