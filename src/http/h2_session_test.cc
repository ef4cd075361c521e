#include "http/h2_session.h"

#include <gtest/gtest.h>
#include <nghttp2/nghttp2.h>

#include <iterator>
#include <utility>

#include "http/test_h2_server.h"

/// A table per section of RFC 9113 and RFC 7541: what a client sends after the preface, and how the
/// server ends the stream or the connection. Where the RFC lets a stream error be a connection
/// error, either is right.
namespace merlon::http {
namespace {

using namespace h2wire;

struct Case {
  const char* name;
  std::string bytes;
  H2Code want;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Violation : public testing::TestWithParam<Case> {};

TEST_P(Violation, EndsTheStreamOrTheConnection) {
  TestServer server;
  static_cast<void>(server.receive(GetParam().bytes));
  ASSERT_TRUE(server.verdict().has_value()) << "the violation was not noticed";
  EXPECT_EQ(*server.verdict(), GetParam().want);
}

TEST_P(Violation, IsFoundHoweverTheBytesAreCut) {
  TestServer server;
  for (const char byte : GetParam().bytes) {
    if (!server.receive({&byte, 1})) break;
  }
  ASSERT_TRUE(server.verdict().has_value());
  EXPECT_EQ(*server.verdict(), GetParam().want);
}

TEST_P(Violation, IsFoundWhenTheSessionRestsBetweenAllBytes) {
  TestServer server;
  for (const char byte : GetParam().bytes) {
    server.session.release_idle_memory();
    if (!server.receive({&byte, 1})) break;
  }
  ASSERT_TRUE(server.verdict().has_value());
  EXPECT_EQ(*server.verdict(), GetParam().want);
}

/// The same after the server has answered and forgotten stream 1, where that is how it goes.
TEST_P(Violation, IsFoundWhenEveryRequestIsAnsweredAtOnce) {
  TestServer server;
  for (const char byte : GetParam().bytes) {
    if (!server.receive({&byte, 1})) break;
    for (const auto& [id, stream] : server.streams) {
      if (std::exchange(stream->ready, false) && stream->broken().code == 0) server.answer(id);
    }
  }
  ASSERT_TRUE(server.verdict().has_value());
  EXPECT_EQ(*server.verdict(), GetParam().want);
}

auto name_of = [](const auto& info) { return std::string(info.param.name); };
constexpr std::uint8_t kOpen = kEndHeaders;  // a request whose body follows

const Case kFrameSizes[] = {
    // §4.2
    {"data_beyond_max_frame_size", headers(1, post(), kOpen) + data(1, std::string(16'385, 'x')),
     H2Code::kFrameSizeError},
    {"headers_beyond_max_frame_size",
     frame(kHeaders, kEndHeaders | kEndStream, 1, block(get()) + std::string(16'385, 'x')),
     H2Code::kFrameSizeError},
    {"settings_not_of_six", frame(kSettings, 0, 0, "abc"), H2Code::kFrameSizeError},
    {"ping_not_of_eight", frame(kPing, 0, 0, "1234567"), H2Code::kFrameSizeError},
    {"rst_stream_not_of_four", headers(1, post(), kOpen) + frame(kRstStream, 0, 1, "abc"),
     H2Code::kFrameSizeError},
    {"window_update_not_of_four", frame(kWindowUpdate, 0, 0, "abc"), H2Code::kFrameSizeError},
    {"priority_not_of_five", headers(1, post(), kOpen) + frame(kPriority, 0, 1, "abcd"),
     H2Code::kFrameSizeError},
    {"goaway_too_short", frame(kGoAway, 0, 0, "abc"), H2Code::kFrameSizeError},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113Section4_2, Violation, testing::ValuesIn(kFrameSizes), name_of);

const Case kFieldBlocks[] = {
    // §4.3, RFC 7541
    {"index_zero", frame(kHeaders, kEndHeaders | kEndStream, 1, "\x80"), H2Code::kCompressionError},
    {"index_beyond_the_tables", frame(kHeaders, kEndHeaders | kEndStream, 1, "\xff\x80\x01"),
     H2Code::kCompressionError},
    {"huffman_padding_too_long",
     frame(kHeaders, kEndHeaders | kEndStream, 1,
           block(get()) + std::string("\x00\x01x\x84\xff\xff\xff\xff", 8)),
     H2Code::kCompressionError},
    {"huffman_padding_of_zeros",
     frame(kHeaders, kEndHeaders | kEndStream, 1,
           block(get()) + std::string("\x00\x01x\x81\x18", 5)),
     H2Code::kCompressionError},
    {"huffman_with_eos",
     frame(kHeaders, kEndHeaders | kEndStream, 1,
           block(get()) + std::string("\x00\x01x\x85\x3f\xff\xff\xff\xff", 9)),
     H2Code::kCompressionError},
    {"table_size_beyond_the_setting",
     frame(kHeaders, kEndHeaders | kEndStream, 1, "\x3f\xe2\x1f" + block(get())),
     H2Code::kCompressionError},
    {"table_size_at_the_end_of_a_block",
     frame(kHeaders, kEndHeaders | kEndStream, 1, block(get()) + "\x20"),
     H2Code::kCompressionError},
    {"integer_without_end",
     frame(kHeaders, kEndHeaders | kEndStream, 1, "\xff\xff\xff\xff\xff\xff\xff\x7f"),
     H2Code::kCompressionError},
    {"string_beyond_the_block",
     frame(kHeaders, kEndHeaders | kEndStream, 1, std::string("\x00\x7f\x10x", 4)),
     H2Code::kCompressionError},
    {"priority_within_a_block",
     headers(1, get(), kEndStream) + frame(kPriority, 0, 1, std::string(5, '\0')),
     H2Code::kProtocolError},
    {"other_headers_within_a_block", headers(1, get(), kEndStream) + headers(3, get()),
     H2Code::kProtocolError},
    {"unknown_frame_within_a_block", headers(1, get(), kEndStream) + frame(kUnknown, 0, 0, "x"),
     H2Code::kProtocolError},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113Section4_3, Violation, testing::ValuesIn(kFieldBlocks), name_of);

const std::string kEnded = headers(1, get());                       // half-closed by the client
const std::string kCancelled = headers(1, post(), kOpen) + rst(1);  // closed by the client
const Case kStates[] = {
    // §5.1
    {"idle_data", data(1, "x"), H2Code::kProtocolError},
    {"idle_rst_stream", rst(1), H2Code::kProtocolError},
    {"idle_window_update", window_update(1, 1), H2Code::kProtocolError},
    {"idle_continuation", frame(kContinuation, kEndHeaders, 1, block(get())),
     H2Code::kProtocolError},
    {"half_closed_data", kEnded + data(1, "x", kEndStream), H2Code::kStreamClosed},
    {"half_closed_headers", kEnded + headers(1, get()), H2Code::kStreamClosed},
    {"half_closed_continuation", kEnded + frame(kContinuation, kEndHeaders, 1, block(get())),
     H2Code::kProtocolError},
    {"cancelled_data", kCancelled + data(1, "x", kEndStream), H2Code::kStreamClosed},
    {"cancelled_headers", kCancelled + headers(1, get()), H2Code::kStreamClosed},
    {"cancelled_continuation", kCancelled + frame(kContinuation, kEndHeaders, 1, block(get())),
     H2Code::kProtocolError},
    {"headers_after_data_with_the_end",
     headers(1, post(), kOpen) + data(1, "x", kEndStream) + headers(1, get()),
     H2Code::kStreamClosed},
    {"data_after_data_with_the_end",
     headers(1, post(), kOpen) + data(1, "x", kEndStream) + data(1, "y"), H2Code::kStreamClosed},
    {"number_even", headers(2, get()), H2Code::kProtocolError},
    {"number_zero", headers(0, get()), H2Code::kProtocolError},
    {"number_below_the_last", headers(5, get()) + headers(3, get()), H2Code::kProtocolError},
    {"number_passed_over_gets_data", headers(5, get()) + data(3, "x"), H2Code::kProtocolError},
    {"depends_on_itself",
     frame(kHeaders, kEndHeaders | kEndStream | kPriorityFlag, 1, u32(1) + "\x10" + block(get())),
     H2Code::kProtocolError},
    {"priority_depends_on_itself", frame(kPriority, 0, 1, u32(1) + "\x10"), H2Code::kProtocolError},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113Section5, Violation, testing::ValuesIn(kStates), name_of);

const Case kFrames[] = {
    // §6
    {"data_on_stream_zero", data(0, "x"), H2Code::kProtocolError},
    {"data_padding_beyond_the_frame",
     headers(1, post(), kOpen) + frame(kData, kPadded, 1,
                                       "\x05"
                                       "abc"),
     H2Code::kProtocolError},
    {"headers_padding_beyond_the_frame",
     frame(kHeaders, kEndHeaders | kEndStream | kPadded, 1, "\xff" + block(get())),
     H2Code::kProtocolError},
    {"priority_on_stream_zero", frame(kPriority, 0, 0, std::string(5, '\0')),
     H2Code::kProtocolError},
    {"rst_stream_on_stream_zero", rst(0), H2Code::kProtocolError},
    {"settings_on_a_stream", frame(kSettings, 0, 1, ""), H2Code::kProtocolError},
    {"settings_ack_with_payload", frame(kSettings, kAck, 0, std::string("\0\1\0\0\0\1", 6)),
     H2Code::kFrameSizeError},
    {"enable_push_of_two", settings({{2, 2}}), H2Code::kProtocolError},
    {"window_beyond_the_most", settings({{4, 0x80000000U}}), H2Code::kFlowControlError},
    {"frame_size_below_the_least", settings({{5, 16'383}}), H2Code::kProtocolError},
    {"frame_size_beyond_the_most", settings({{5, 1U << 24U}}), H2Code::kProtocolError},
    {"connect_protocol_of_two", settings({{8, 2}}), H2Code::kProtocolError},
    {"push_promise_from_a_client",
     headers(1, post(), kOpen) + frame(kPushPromise, kEndHeaders, 1, u32(2) + block(get())),
     H2Code::kProtocolError},
    {"ping_on_a_stream", frame(kPing, 0, 1, "12345678"), H2Code::kProtocolError},
    {"goaway_on_a_stream", frame(kGoAway, 0, 1, std::string(8, '\0')), H2Code::kProtocolError},
    {"window_update_of_zero", window_update(0, 0), H2Code::kProtocolError},
    {"window_update_of_zero_on_a_stream", headers(1, post(), kOpen) + window_update(1, 0),
     H2Code::kProtocolError},
    {"window_of_the_connection_overflows",
     window_update(0, 0x7fffffff) + window_update(0, 0x7fffffff), H2Code::kFlowControlError},
    {"data_beyond_the_window",
     headers(1, post(), kOpen) + data(1, std::string(16'384, 'x')) +
         data(1, std::string(16'384, 'x')) + data(1, std::string(16'384, 'x')) +
         data(1, std::string(16'384, 'x')),
     H2Code::kFlowControlError},
    {"window_of_a_stream_overflows",
     headers(1, post(), kOpen) + window_update(1, 0x7fffffff) + window_update(1, 0x7fffffff),
     H2Code::kFlowControlError},
    {"continuation_on_stream_zero",
     headers(1, get(), kEndStream) + frame(kContinuation, kEndHeaders, 0, ""),
     H2Code::kProtocolError},
    {"continuation_of_another_stream",
     headers(1, get(), kEndStream) + frame(kContinuation, kEndHeaders, 3, ""),
     H2Code::kProtocolError},
    {"continuation_after_the_end",
     headers(1, post(), kOpen) + frame(kContinuation, kEndHeaders, 1, ""), H2Code::kProtocolError},
    {"continuation_after_data",
     headers(1, post(), kOpen) + data(1, "x") + frame(kContinuation, kEndHeaders, 1, ""),
     H2Code::kProtocolError},
    {"data_within_a_block", headers(1, post(), 0) + data(1, "x"), H2Code::kProtocolError},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113Section6, Violation, testing::ValuesIn(kFrames), name_of);

Lines without(std::string_view name, Lines lines = get()) {
  std::erase_if(lines, [&](const auto& line) { return line.first == name; });
  return lines;
}
Lines with(std::string_view name, std::string_view value, Lines lines = get()) {
  for (auto& line : lines) {
    if (line.first == name) line.second = value;
  }
  return lines;
}
std::string request(const Lines& lines) { return headers(1, lines); }
std::string posted(const Lines& more, std::string_view body) {
  return headers(1, post() + more, kOpen) + data(1, body, kEndStream);
}

// §8: malformed messages; the numbers are those of the attacks that they stop.
const Case kMessages[] = {
    {"name_in_upper_case", request(get() + Lines{{"X-Test", "1"}}), H2Code::kProtocolError},
    {"A26_name_empty", request(get() + Lines{{"", "1"}}), H2Code::kProtocolError},
    {"name_with_space", request(get() + Lines{{"x y", "1"}}), H2Code::kProtocolError},
    {"A22_name_with_line_break", request(get() + Lines{{"x: a\r\nb", "1"}}),
     H2Code::kProtocolError},
    {"A22_value_with_line_break", request(get() + Lines{{"x", "a\r\nx-injected: 1"}}),
     H2Code::kProtocolError},
    {"A22_value_with_nul", request(get() + Lines{{"x", std::string_view("a\0b", 3)}}),
     H2Code::kProtocolError},
    {"A22_value_with_cr", request(get() + Lines{{"x", "a\rb"}}), H2Code::kProtocolError},
    {"value_with_space_before", request(get() + Lines{{"x", " a"}}), H2Code::kProtocolError},
    {"value_with_tab_after", request(get() + Lines{{"x", "a\t"}}), H2Code::kProtocolError},
    {"A27_cookie_crumb_with_line_break",
     request(get() + Lines{{"cookie", "a=b"}, {"cookie", "c\r\nx: y"}}), H2Code::kProtocolError},
    {"A25_connection", request(get() + Lines{{"connection", "keep-alive"}}),
     H2Code::kProtocolError},
    {"A25_keep_alive", request(get() + Lines{{"keep-alive", "1"}}), H2Code::kProtocolError},
    {"A25_proxy_connection", request(get() + Lines{{"proxy-connection", "keep-alive"}}),
     H2Code::kProtocolError},
    {"A25_upgrade", request(get() + Lines{{"upgrade", "websocket"}}), H2Code::kProtocolError},
    {"A25_http2_settings", request(get() + Lines{{"http2-settings", "AAMAAABk"}}),
     H2Code::kProtocolError},
    {"A25_te_gzip", request(get() + Lines{{"te", "gzip"}}), H2Code::kProtocolError},
    {"A25_te_trailers_and_more", request(get() + Lines{{"te", "trailers, deflate;q=0.5"}}),
     H2Code::kProtocolError},
    {"A21_transfer_encoding", posted({{"transfer-encoding", "chunked"}}, "0\r\n\r\nG"),
     H2Code::kProtocolError},
    {"pseudo_unknown", request(Lines{{":test", "x"}} + get()), H2Code::kProtocolError},
    {"pseudo_of_responses", request(get() + Lines{{":status", "200"}}), H2Code::kProtocolError},
    {"pseudo_after_regular", request(Lines{{"x", "1"}} + get()), H2Code::kProtocolError},
    {"pseudo_in_trailers", headers(1, post(), kOpen) + headers(1, {{":path", "/"}}),
     H2Code::kProtocolError},
    {"method_missing", request(without(":method")), H2Code::kProtocolError},
    {"scheme_missing", request(without(":scheme")), H2Code::kProtocolError},
    {"path_missing", request(without(":path")), H2Code::kProtocolError},
    {"path_empty", request(with(":path", "")), H2Code::kProtocolError},
    {"method_twice", request(Lines{{":method", "GET"}} + get()), H2Code::kProtocolError},
    {"scheme_twice", request(Lines{{":scheme", "https"}} + get()), H2Code::kProtocolError},
    {"path_twice", request(Lines{{":path", "/"}} + get()), H2Code::kProtocolError},
    {"authority_twice", request(Lines{{":authority", "a.example"}} + get()),
     H2Code::kProtocolError},
    {"A23_path_with_line_break", request(with(":path", "/a HTTP/1.1\r\nHost: b\r\n\r\n")),
     H2Code::kProtocolError},
    {"A23_path_with_space", request(with(":path", "/a b")), H2Code::kProtocolError},
    {"A23_path_absolute", request(with(":path", "http://b.example/")), H2Code::kProtocolError},
    {"A23_method_with_space", request(with(":method", "GET / HTTP/1.1")), H2Code::kProtocolError},
    {"A23_authority_with_line_break", request(with(":authority", "a\r\nb: c")),
     H2Code::kProtocolError},
    {"authority_with_user", request(with(":authority", "u@a.example")), H2Code::kProtocolError},
    {"A99_path_without_slash", request(with(":path", "suites.v1.Echo/Unary", post())),
     H2Code::kProtocolError},
    {"scheme_of_another_kind", request(with(":scheme", "ftp")), H2Code::kProtocolError},
    {"A28_extended_connect_not_offered",
     request({{":method", "CONNECT"},
              {":protocol", "websocket"},
              {":scheme", "https"},
              {":path", "/"},
              {":authority", "a.example"}}),
     H2Code::kProtocolError},
    {"connect_with_path", request(with(":method", "CONNECT")), H2Code::kProtocolError},
    {"A21_length_beyond_the_data", posted({{"content-length", "5"}}, "test"),
     H2Code::kProtocolError},
    {"A21_length_below_the_data", posted({{"content-length", "1"}}, "test"),
     H2Code::kProtocolError},
    {"A21_length_over_two_frames",
     headers(1, post() + Lines{{"content-length", "1"}}, kOpen) + data(1, "a") +
         data(1, "b", kEndStream),
     H2Code::kProtocolError},
    {"A21_length_without_data", request(post() + Lines{{"content-length", "5"}}),
     H2Code::kProtocolError},
    {"length_twice", posted({{"content-length", "4"}, {"content-length", "4"}}, "test"),
     H2Code::kProtocolError},
    {"length_signed", posted({{"content-length", "+4"}}, "test"), H2Code::kProtocolError},
    {"trailers_that_do_not_end",
     headers(1, post(), kOpen) + data(1, "x") + headers(1, {{"x", "1"}}, kEndHeaders) +
         data(1, "y", kEndStream),
     H2Code::kProtocolError},
    {"trailer_that_frames",
     headers(1, post(), kOpen) + data(1, "x") + headers(1, {{"content-length", "1"}}),
     H2Code::kProtocolError},
};

INSTANTIATE_TEST_SUITE_P(Rfc9113Section8, Violation, testing::ValuesIn(kMessages), name_of);

// What is refused with a status instead: the stream is not reset, and the error says why.
struct Refused {
  const char* name;
  Lines lines;
  std::uint16_t want;
};
void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.name; }
class Answered : public testing::TestWithParam<Refused> {};

TEST_P(Answered, WithAStatusAndTheStreamLives) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, GetParam().lines)).has_value());
  EXPECT_TRUE(server.streams.at(1)->ready);
  EXPECT_EQ(server.streams.at(1)->broken().code, GetParam().want);
  EXPECT_FALSE(server.verdict().has_value());
}

const std::string kLongPath = "/" + std::string(8'192, 'a');
const std::string kLongValue(16'300, 'a');
const Refused kRefused[] = {
    {"A24_host_differs", get() + Lines{{"host", "b.example"}}, code::kBadHost},
    {"A24_two_hosts", get() + Lines{{"host", "a.example"}, {"host", "b.example"}},
     code::kDuplicateField},
    {"host_missing", without(":authority"), code::kMissingHost},
    {"authority_empty", with(":authority", ""), code::kBadHost},
    {"connect", Lines{{":method", "CONNECT"}, {":authority", "a.example:443"}},
     code::kConnectRefused},
    {"path_too_long", with(":path", kLongPath), code::kTargetTooLong},
    {"list_too_large", get() + Lines{{"x", kLongValue}, {"y", "1"}}, code::kHeadTooLarge},
    {"expectation_unknown", get() + Lines{{"expect", "200-maybe"}}, code::kUnsupportedExpect},
    {"A43_credentials_twice", get() + Lines{{"authorization", "a"}, {"authorization", "b"}},
     code::kDuplicateField},
    {"alias_of_a_managed_field", get() + Lines{{"x_forwarded_for", "1.2.3.4"}},
     code::kAliasedField},
    {"names_that_read_as_one", get() + Lines{{"a_b", "1"}, {"a-b", "2"}}, code::kAliasedField},
};
INSTANTIATE_TEST_SUITE_P(Requests, Answered, testing::ValuesIn(kRefused), name_of);

TEST(Requests, AreReadWithAllTheirParts) {
  TestServer server;
  ASSERT_TRUE(server
                  .receive(headers(1,
                                   {{":method", "POST"},
                                    {":scheme", "https"},
                                    {":path", "/a/b?q=1"},
                                    {":authority", "a.example:8443"},
                                    {"cookie", "a=b"},
                                    {"te", "trailers"},
                                    {"cookie", "c=d"},
                                    {"x-empty", ""}},
                                   kOpen) +
                           data(1, "body") + headers(1, {{"x-sum", "1"}}))
                  .has_value());
  const TestStream& stream = *server.streams.at(1);
  EXPECT_EQ(stream.head.method, Method::kPost);
  EXPECT_EQ(stream.head.target.path, "/a/b");
  EXPECT_EQ(stream.head.target.query, "q=1");
  EXPECT_EQ(stream.head.authority, "a.example:8443");
  EXPECT_EQ(stream.head.framing, Framing::kChunked);
  EXPECT_TRUE(stream.head.te_trailers);
  EXPECT_EQ(stream.head.fields.value(FieldId::kCookie), "a=b; c=d");
  EXPECT_EQ(stream.head.fields.count(FieldId::kCookie), 1U);
  EXPECT_NE(stream.head.fields.find("x-empty"), nullptr);
  EXPECT_EQ(stream.inbox(), "body");
  EXPECT_TRUE(stream.input_done());
}

TEST(Requests, MayBePaddedPrioritisedAndCut) {
  TestServer server;
  const std::string fields = block(get());
  ASSERT_TRUE(
      server
          .receive(frame(kHeaders, kEndStream | kPadded | kPriorityFlag, 1,
                         "\x02" + u32(0) + "\x10" + fields.substr(0, 10) + std::string(2, '\0')) +
                   frame(kContinuation, 0, 1, fields.substr(10, 3)) +
                   frame(kContinuation, kEndHeaders, 1, fields.substr(13)))
          .has_value());
  EXPECT_EQ(server.streams.at(1)->broken().code, 0);
  EXPECT_EQ(server.streams.at(1)->head.target.path, "/");
}

/// What a client says of priorities is judged (see Rfc9113Section5 and 6) and has no effect.
TEST(Requests, MayComeWithPriorities) {
  TestServer server;
  const std::string frames = frame(kPriority, 0, 5, u32(3) + "\x10") + headers(1, get()) +
                             frame(kPriority, 0, 1, u32(0x80000003U) + "\xff") + headers(3, get());
  for (const char c : frames) ASSERT_TRUE(server.receive({&c, 1}).has_value());
  server.answer(3, "b");
  server.answer(1, "a");
  EXPECT_EQ(server.count(kData), 2U);
  EXPECT_FALSE(server.verdict());
}

/// RFC 9113 §5.1: what was on its way when we reset a stream is no error of the peer.
TEST(Streams, FramesOnTheirWayWhenWeResetAreDiscarded) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, post(), kOpen)).has_value());
  server.session.reset(*server.streams.at(1), H2Code::kCancel);
  server.collect();
  ASSERT_TRUE(server.receive(data(1, "x") + headers(1, {{"x", "1"}})).has_value());
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

/// A93, CVE-2026-26311: data behind the reset in one piece.
TEST(Streams, A93DataBehindAResetEndTheConnection) {
  TestServer server;
  EXPECT_FALSE(
      server.receive(headers(1, post(), kOpen) + data(1, "a") + rst(1) + data(1, "b")).has_value());
  EXPECT_EQ(server.verdict(), H2Code::kStreamClosed);
}

/// A download takes no more of the connection's window than what comes after it.
TEST(FlowControl, StreamsTakeTurns) {
  TestServer server;
  ASSERT_TRUE(server.receive(settings({{4, 1'000'000}}) + headers(1, get()) + headers(3, get()))
                  .has_value());
  const std::string body(400'000, 'x');
  server.answer(1, body);  // up to the connection's window
  server.answer(3, body);
  server.frames.clear();
  for (int window = 0; window < 8; ++window)
    ASSERT_TRUE(server.receive(window_update(0, 65'536)).has_value());
  std::map<std::uint32_t, std::size_t> sent;
  for (const h2wire::Frame& f : server.frames) sent[f.id] += f.payload.size();
  EXPECT_EQ(sent[1] + sent[3], 8U * 65'536);
  EXPECT_GT(sent[1], 3U * 65'536);
  EXPECT_GT(sent[3], 3U * 65'536);
}

/// A client that does not grant room gets nothing, and what waits is not copied.
TEST(FlowControl, NothingIsSentIntoAShutWindow) {
  TestServer server;
  ASSERT_TRUE(server.receive(settings({{4, 0}}) + headers(1, get())).has_value());
  ResponseHead head;
  head.status = 200;
  TestStream& stream = *server.streams.at(1);
  ASSERT_TRUE(server.session.respond(stream, head, false, "body", true, {}));
  server.collect();
  EXPECT_EQ(server.count(kData), 0U);
  EXPECT_TRUE(server.session.sending(stream));
  ASSERT_TRUE(server.receive(window_update(1, 1)).has_value());
  EXPECT_EQ(server.last(kData)->payload, "b");
  ASSERT_TRUE(server.receive(window_update(1, 100)).has_value());
  EXPECT_EQ(server.last(kData)->payload, "ody");
  EXPECT_FALSE(server.session.sending(stream));
}

/// The window opens only as far as the data were used: this is the back-pressure.
TEST(FlowControl, TheWindowOpensAsDataAreUsed) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, post(), kOpen)).has_value());
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(server.receive(data(1, std::string(16'000, 'x'))).has_value());
  EXPECT_EQ(server.count(kWindowUpdate), 1U) << "the one for the connection, at the start";
  EXPECT_FALSE(server.receive(data(1, std::string(16'000, 'x'))).has_value() &&
               !server.verdict().has_value());
  EXPECT_EQ(server.verdict(), H2Code::kFlowControlError);
}

TEST(FlowControl, WhatIsBeyondTheWindowIsNotKept) {
  TestServer server;
  std::string bytes = headers(1, post(), kOpen);
  for (int i = 0; i < 8; ++i) bytes += data(1, std::string(16'000, 'x'));
  static_cast<void>(server.receive(bytes));
  EXPECT_LE(server.streams.at(1)->inbox().size(), 65'535U);
  EXPECT_NE(server.streams.at(1)->broken().code, 0);
}

TEST(FlowControl, UsedDataOpenBothWindows) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, post(), kOpen)).has_value());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(server.receive(data(1, std::string(16'000, 'x'))).has_value());
    server.session.consumed(*server.streams.at(1), 16'000);
    server.collect();
  }
  EXPECT_FALSE(server.verdict().has_value());
}

TEST(Responses, EndWithTrailers) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, get())).has_value());
  ResponseHead head;
  head.status = 200;
  head.fields.add("Content-Type", "text/plain");
  head.fields.add("Connection", "close");
  const Field trailer{.name = "Grpc-Status", .value = "0", .id = FieldId::kGrpcStatus};
  TestStream& stream = *server.streams.at(1);
  ASSERT_TRUE(server.session.respond(stream, head, false, "body", true, {&trailer, 1}));
  server.collect();
  EXPECT_EQ(server.last(kData)->flags, 0);
  EXPECT_EQ(server.last(kHeaders)->flags, kEndHeaders | kEndStream);
  EXPECT_TRUE(stream.closed());
}

/// What varies goes into HPACK's table once, the second time, for its name; what is secret never
/// does.
TEST(Responses, NamesOfVaryingFieldsAreIndexedOnce) {
  TestServer server;
  std::vector<std::string> blocks;
  for (std::uint32_t id = 1; id <= 9; id += 2) {
    ASSERT_TRUE(server.receive(headers(id, get())).has_value());
    ResponseHead head;
    head.status = 200;
    const std::string value = std::string(4, static_cast<char>('0' + id));  // no code is shorter
    head.fields.add("X-Request-Id", value);
    head.fields.add("Set-Cookie", "~");
    ASSERT_TRUE(server.session.respond(*server.streams.at(static_cast<std::int32_t>(id)), head,
                                       false, {}, true, {}));
    server.collect();
    blocks.push_back(server.last(kHeaders)->payload);
  }
  // RFC 7541 §6.2.3: never indexed, with its name; §6.2.1: with indexing; never, by entry 62.
  EXPECT_EQ(blocks[0].substr(0, 2), "\x88\x10");
  EXPECT_EQ(blocks[1].substr(0, 2), "\x88\x40");
  for (std::size_t i = 2; i < blocks.size(); ++i) {
    EXPECT_EQ(blocks[i].substr(0, 3), "\x88\x1f\x2f") << i;
    EXPECT_EQ(blocks[i].size(), blocks[2].size());
  }
  // set-cookie is entry 55 of the static table: 15 + 40.
  for (const std::string& block : blocks)
    EXPECT_NE(block.find(std::string("\x1f\x28\x01~")), std::string::npos);
}

/// Each pairing of what a name may look like; nghttp2 is given it in lower case.
TEST(Responses, NamesAreSentInLowerCase) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, get()) + headers(3, get())).has_value());
  for (const std::int32_t id : {1, 3}) {
    ResponseHead head;
    head.status = 200;
    head.fields.add("Content-Type", "A");
    head.fields.add("X-UNKNOWN-Name", "B");
    head.fields.add("x-lower", "C");
    head.fields.add("X-Forwarded-Anything", "D");
    ASSERT_TRUE(server.session.respond(*server.streams.at(id), head, false, {}, true, {}));
  }
  server.collect();
  EXPECT_EQ(server.count(kHeaders), 2U);
  nghttp2_hd_inflater* inflater = nullptr;
  ASSERT_EQ(nghttp2_hd_inflate_new(&inflater), 0);
  for (const Frame& sent : server.frames) {
    if (sent.type != kHeaders) continue;
    std::string text;
    for (std::string_view left = sent.payload;;) {
      nghttp2_nv line{};
      int flags = 0;
      const ssize_t n = nghttp2_hd_inflate_hd2(inflater, &line, &flags,
                                               reinterpret_cast<const std::uint8_t*>(left.data()),
                                               left.size(), 1);
      ASSERT_GE(n, 0);
      left.remove_prefix(static_cast<std::size_t>(n));
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
        text.append(reinterpret_cast<const char*>(line.name), line.namelen)
            .append("=")
            .append(reinterpret_cast<const char*>(line.value), line.valuelen)
            .append(" ");
      if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    }
    nghttp2_hd_inflate_end_headers(inflater);
    EXPECT_EQ(text,
              ":status=200 content-type=A x-unknown-name=B x-lower=C x-forwarded-anything=D ");
  }
  nghttp2_hd_inflate_del(inflater);
}

TEST(Responses, AnInterimOneComesFirst) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, post(), kOpen)).has_value());
  TestStream& stream = *server.streams.at(1);
  ASSERT_TRUE(server.session.respond_interim(stream, 100));
  server.collect();
  EXPECT_EQ(server.count(kHeaders), 1U);
  server.answer(1, "x");
  EXPECT_EQ(server.count(kHeaders), 2U);
  EXPECT_FALSE(server.session.respond_interim(stream, 100)) << "too late";
}

TEST(Shutdown, TakesStreamsUntilTheSecondGoAway) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, get())).has_value());
  server.session.announce_shutdown();
  server.collect();
  EXPECT_EQ(server.last(kGoAway)->number(0), 0x7fffffffU);
  ASSERT_TRUE(server.receive(headers(3, get())).has_value());
  server.session.shut_down();
  server.collect();
  EXPECT_EQ(server.last(kGoAway)->number(0), 3U);
  ASSERT_TRUE(server.receive(headers(5, get())).has_value());
  EXPECT_EQ(server.streams.count(5), 0U);
  EXPECT_FALSE(server.session.over());
  server.answer(1);
  server.answer(3);
  EXPECT_TRUE(server.session.over());
}

TEST(Settings, ThatOpenAWindowBeyondTheLargestEndTheConnection) {
  TestServer server;
  const std::string wide = headers(1, post(), kOpen) + window_update(1, 0x7fffffff - 65'535);
  ASSERT_TRUE(server.receive(wide + headers(3, get())).has_value());
  server.answer(3, std::string(70'000, 'x'));  // waits for its window
  ASSERT_TRUE(server.receive(settings({{4, 65'535}, {1, 0}, {5, 20'000}})).has_value());
  ASSERT_TRUE(server.receive(settings({{4, 1}}) + settings({{4, 65'535}})).has_value());
  EXPECT_FALSE(server.receive(settings({{4, 65'536}})).has_value());
  server.collect();
  ASSERT_NE(server.last(kGoAway), nullptr);
  EXPECT_EQ(server.last(kGoAway)->number(4), static_cast<std::uint32_t>(H2Code::kFlowControlError));
}

/// Tables of HPACK, windows, open streams and what is read of a frame outlast a rest.
TEST(Rest, ChangesNothing) {
  TestServer resting;
  TestServer awake;
  const std::string indexed = block(get()) + std::string("\x40\x01x\x05value", 9);
  std::string bytes =
      headers(1, post(), kOpen) + frame(kHeaders, kEndHeaders | kEndStream, 3, indexed);
  for (std::uint32_t id = 5; id < 45; id += 2)
    bytes += frame(kHeaders, kEndHeaders | kEndStream, id, block(get()) + "\xbe");
  bytes += data(1, std::string(5'000, 'x'), kEndStream);
  for (TestServer* server : {&resting, &awake}) {
    for (const char byte : bytes) {
      if (server == &resting) server->session.release_idle_memory();
      ASSERT_TRUE(server->receive({&byte, 1}).has_value());
      if (server->streams.size() < 3) continue;
      const auto& [id, stream] = *server->streams.rbegin();
      if (std::exchange(stream->ready, false)) server->answer(id, "answer");
    }
    server->answer(1, "late");
    EXPECT_EQ(server->streams.at(1)->inbox().size(), 5'000U);
    for (const auto& [id, stream] : server->streams) {
      EXPECT_EQ(stream->broken().code, 0) << id;
      EXPECT_EQ(stream->head.fields.find("x") != nullptr, id != 1) << id;
    }
  }
  ASSERT_EQ(resting.frames.size(), awake.frames.size());
  for (std::size_t i = 0; i < awake.frames.size(); ++i)
    EXPECT_EQ(resting.frames[i].payload, awake.frames[i].payload) << i;
}

TEST(Preface, OtherBytesAreRefused) {
  TestServer server;
  H2Session::Host& host = server.host();
  H2Session fresh(host, {});
  EXPECT_FALSE(fresh.receive("GET / HTTP/1.1\r\n\r\n", server.now).has_value());
  EXPECT_EQ(fresh.failure().code, code::kH2Protocol);
}

}  // namespace
}  // namespace merlon::http
