#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "http/h2_client.h"
#include "http/h2_session.h"
#include "http/test_h2_wire.h"

/// The client's session against servers that break RFC 9113: what a server sends, and whether the
/// stream or the connection ends for it.
namespace merlon::http {
namespace {

using namespace h2wire;

class ResponseStream final : public H2Stream {
 public:
  explicit ResponseStream(Method asked) : H2Stream(Blame::kUpstream), asked_(asked) {}
  ResponseHead head;
  [[nodiscard]] std::string_view inbox() const { return inbox_; }
  [[nodiscard]] const Trailers* trailers() const { return trailers_.get(); }

 private:
  H2HeadReader::Into head_room() override {
    return {.fields = head.fields, .text = text_, .limits = {}};
  }
  Result<HeadFacts> finish_head(H2HeadReader& reader, bool end_stream) noexcept override {
    const Result<void> read = reader.finish_response(end_stream, asked_, head);
    if (!read) return std::unexpected(read.error());
    HeadFacts facts{.length = {}, .final = !head.is_interim()};
    if (head.framing == Framing::kLength) facts.length = head.content_length;
    return facts;
  }
  void on_input() noexcept override {}
  void on_output() noexcept override {}
  Method asked_;
  H2HeadText text_;
};

/// A client that has asked for streams 1, 3, 5 …
class TestClient : private H2Session::Host {
 public:
  TestClient() : session(*this, H2Client::settings_for(100)) {
    collect();
    preface_seen = sent_all.starts_with(kPreface);
    sent_.erase(0, kPreface.size());
    static_cast<void>(receive(settings({})));
  }
  ResponseStream& ask(Method method = Method::kGet) {
    RequestHead head;
    head.method = method;
    head.method_text = method_name(method);
    head.target.path = "/";
    streams.push_back(std::make_unique<ResponseStream>(method));
    EXPECT_TRUE(session.request(*streams.back(), head, "https", "a.example", {}, true));
    collect();
    return *streams.back();
  }
  Result<void> receive(std::string_view bytes) {
    const Result<void> result = session.receive(bytes, Instant{seconds{1'000}});
    collect();
    return result;
  }
  void collect() {
    std::array<char, 64 * 1024> out;
    while (const std::size_t n = session.produce(out)) {
      sent_.append(out.data(), n);
      sent_all.append(out.data(), n);
    }
    if (!preface_seen) return;
    for (Frame& f : read_frames(sent_)) frames.push_back(std::move(f));
  }
  [[nodiscard]] std::optional<H2Code> last_code(std::uint8_t type, std::size_t at) const {
    for (auto f = frames.rbegin(); f != frames.rend(); ++f) {
      if (f->type == type) return static_cast<H2Code>(f->number(at));
    }
    return {};
  }
  [[nodiscard]] std::optional<H2Code> goaway() const { return last_code(kGoAway, 4); }
  [[nodiscard]] std::optional<H2Code> reset() const { return last_code(kRstStream, 0); }

  std::string sent_all;
  bool preface_seen = false;
  std::vector<Frame> frames;
  std::vector<std::unique_ptr<ResponseStream>> streams;
  H2Session session;

 private:
  H2Stream* open_stream(std::int32_t) override { return nullptr; }
  void request_ready(H2Stream&) override {}
  void stream_closed(H2Stream&) noexcept override {}
  std::string sent_;
};

TEST(H2ClientSession, BeginsWithThePrefaceAndAllowsNoPush) {
  TestClient client;
  EXPECT_TRUE(client.preface_seen);
  client.ask();
  ASSERT_FALSE(client.frames.empty());
  const std::string no_push("\x00\x02\x00\x00\x00\x00", 6);
  EXPECT_EQ(client.frames[0].type, kSettings);
  EXPECT_NE(client.frames[0].payload.find(no_push), std::string::npos);
}

TEST(H2ClientSession, ReadsAResponseHoweverItsBytesAreCut) {
  TestClient client;
  ResponseStream& stream = client.ask();
  const std::string bytes = headers(1, {{":status", "103"}}, kEndHeaders) +
                            headers(1, {{":status", "200"}, {"a", "b"}}, kEndHeaders) +
                            data(1, "bo") + data(1, "dy") + headers(1, {{"sum", "1"}});
  for (const char byte : bytes) ASSERT_TRUE(client.receive({&byte, 1}));
  EXPECT_EQ(stream.head.status, 200);
  EXPECT_EQ(stream.inbox(), "body");
  EXPECT_TRUE(stream.input_done());
  ASSERT_NE(stream.trailers(), nullptr);
  EXPECT_EQ(stream.trailers()->fields.value(field_id("sum")), "1");
}

struct Case {
  const char* name;
  std::string bytes;
  H2Code want;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
auto name_of = [](const auto& info) { return std::string(info.param.name); };

class BadResponse : public testing::TestWithParam<Case> {};

TEST_P(BadResponse, EndsTheStreamAlone) {
  TestClient client;
  ResponseStream& stream = client.ask();
  ResponseStream& other = client.ask();
  EXPECT_TRUE(client.receive(GetParam().bytes));
  EXPECT_EQ(client.reset(), GetParam().want);
  EXPECT_NE(stream.broken().code, 0);
  EXPECT_EQ(stream.broken().blame, Blame::kUpstream);
  EXPECT_TRUE(client.receive(headers(3, {{":status", "204"}})));
  EXPECT_EQ(other.head.status, 204);
  EXPECT_FALSE(client.goaway().has_value());
}

const Case kBadResponses[] = {
    // §8.1.1, §8.3.2
    {"no_status", headers(1, {{"a", "b"}}), H2Code::kProtocolError},
    {"status_of_a_request", headers(1, {{":status", "200"}, {":path", "/"}}),
     H2Code::kProtocolError},
    {"status_behind_a_field", headers(1, {{"a", "b"}, {":status", "200"}}), H2Code::kProtocolError},
    {"status_signed", headers(1, {{":status", "+20"}}), H2Code::kProtocolError},
    {"status_600", headers(1, {{":status", "600"}}), H2Code::kProtocolError},
    {"switching_protocols", headers(1, {{":status", "101"}}, kEndHeaders), H2Code::kProtocolError},
    {"interim_that_ends", headers(1, {{":status", "103"}}), H2Code::kProtocolError},
    {"connection_field", headers(1, {{":status", "200"}, {"connection", "x"}}),
     H2Code::kProtocolError},
    {"upper_case", headers(1, {{":status", "200"}, {"A", "b"}}), H2Code::kProtocolError},
    {"line_end", headers(1, {{":status", "200"}, {"a", "b\r\nc: d"}}), H2Code::kProtocolError},
    {"less_than_declared",
     headers(1, {{":status", "200"}, {"content-length", "4"}}, kEndHeaders) +
         data(1, "abc", kEndStream),
     H2Code::kProtocolError},
    {"more_than_declared",
     headers(1, {{":status", "200"}, {"content-length", "4"}}, kEndHeaders) + data(1, "abcde"),
     H2Code::kProtocolError},
    {"length_without_a_body", headers(1, {{":status", "200"}, {"content-length", "4"}}),
     H2Code::kProtocolError},
    {"trailers_that_go_on",
     headers(1, {{":status", "200"}}, kEndHeaders) + data(1, "x") +
         headers(1, {{"a", "b"}}, kEndHeaders),
     H2Code::kProtocolError},
    {"status_in_trailers",
     headers(1, {{":status", "200"}}, kEndHeaders) + data(1, "x") +
         headers(1, {{":status", "200"}}),
     H2Code::kProtocolError},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113Section8, BadResponse, testing::ValuesIn(kBadResponses), name_of);

class BadConnection : public testing::TestWithParam<Case> {};

TEST_P(BadConnection, EndsTheConnection) {
  TestClient client;
  client.ask();
  static_cast<void>(client.receive(GetParam().bytes));
  ASSERT_TRUE(client.goaway().has_value()) << "the violation was not noticed";
  EXPECT_EQ(*client.goaway(), GetParam().want);
  EXPECT_EQ(client.session.failure().blame, Blame::kUpstream);
  EXPECT_FALSE(client.session.can_request());
}

std::string times(std::size_t n, const std::string& bytes) {
  std::string all;
  for (std::size_t i = 0; i < n; ++i) all += bytes;
  return all;
}

const std::string kDone = headers(1, {{":status", "200"}});

const Case kBadConnections[] = {
    {"data_before_the_head", data(1, "x"), H2Code::kProtocolError},
    {"push_promise", frame(kPushPromise, kEndHeaders, 1, u32(2) + block({{":method", "GET"}})),
     H2Code::kProtocolError},
    {"a_stream_of_the_server", headers(2, {{":status", "200"}}), H2Code::kProtocolError},
    {"head_of_an_idle_stream", headers(7, {{":status", "200"}}), H2Code::kProtocolError},
    {"settings_of_another_size", frame(kSettings, 0, 0, "abc"), H2Code::kFrameSizeError},
    {"enable_push_by_a_server", settings({{2, 1}}), H2Code::kProtocolError},
    {"frame_too_large", frame(kData, 0, 1, std::string(16'385, 'x')), H2Code::kFrameSizeError},
    {"compression", frame(kHeaders, kEndHeaders, 1, "\x80"), H2Code::kCompressionError},
    {"window_beyond_all_bounds", window_update(0, 0x7fffffff), H2Code::kFlowControlError},
    {"window_of_a_stream_beyond_all_bounds_by_settings",
     window_update(1, 0x7fffffff - 65'535) + settings({{4, 65'536}}), H2Code::kFlowControlError},
    {"data_behind_the_end", kDone + data(1, "more"), H2Code::kStreamClosed},
    // CVE-2024-27316
    {"continuations",
     headers(1, {{":status", "200"}}, 0) + times(20, frame(kContinuation, 0, 1, "")),
     H2Code::kEnhanceYourCalm},
    // CVE-2019-9512, -9515, -9518
    {"pings", times(1'100, frame(kPing, 0, 0, "12345678")), H2Code::kEnhanceYourCalm},
    {"settings", times(1'100, settings({})), H2Code::kEnhanceYourCalm},
    {"empty_data", headers(1, {{":status", "200"}}, kEndHeaders) + times(1'100, data(1, "")),
     H2Code::kEnhanceYourCalm},
    {"unknown_frames", times(1'100, frame(kUnknown, 0, 0, "x")), H2Code::kEnhanceYourCalm},
    {"window_updates", times(1'100, window_update(0, 1)), H2Code::kEnhanceYourCalm},
    {"heads_of_a_closed_stream", kDone + times(1'100, headers(1, {{":status", "200"}})),
     H2Code::kEnhanceYourCalm},
    // CVE-2016-6581: one large entry of the table, named again and again
    {"references",
     frame(kHeaders, kEndHeaders, 1,
           "\x88" + std::string("\x40") + hpack_string("a") +
               hpack_string(std::string(4'000, 'b')) + std::string(1'000, '\xbe')),
     H2Code::kEnhanceYourCalm},
};
INSTANTIATE_TEST_SUITE_P(Rfc9113, BadConnection, testing::ValuesIn(kBadConnections), name_of);

TEST(H2ClientSession, DataForAStreamThatWasResetAreTakenUpToItsWindow) {
  TestClient client;
  ResponseStream& stream = client.ask();
  client.session.reset(stream, H2Code::kCancel);
  client.session.forget(stream);
  client.collect();
  const std::string part = data(1, std::string(16'000, 'x'));
  EXPECT_TRUE(client.receive(headers(1, {{":status", "200"}}, kEndHeaders)));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(client.receive(part));
  EXPECT_FALSE(client.receive(part)) << "beyond what the server was allowed to send";
  EXPECT_EQ(client.goaway(), H2Code::kStreamClosed);
}

TEST(H2ClientSession, BodiesOfResponsesWithoutOneAreRefused) {
  TestClient client;
  ResponseStream& stream = client.ask(Method::kHead);
  const std::string head = headers(1, {{":status", "200"}, {"content-length", "4"}});
  EXPECT_TRUE(client.receive(head));
  EXPECT_EQ(stream.broken().code, 0);
  EXPECT_EQ(stream.head.content_length, 4U);
  EXPECT_TRUE(stream.head.has_content_length);
}

TEST(H2ClientSession, TheLastStreamOfAGoawayDividesThem) {
  TestClient client;
  ResponseStream& taken = client.ask();
  ResponseStream& refused = client.ask();
  EXPECT_TRUE(client.receive(frame(kGoAway, 0, 0, u32(1) + u32(0))));
  EXPECT_FALSE(client.session.can_request());
  EXPECT_FALSE(taken.closed());
  EXPECT_TRUE(refused.closed());
  EXPECT_EQ(refused.reset_code(), static_cast<std::uint32_t>(H2Code::kRefusedStream));
  EXPECT_TRUE(client.receive(kDone));
  EXPECT_EQ(taken.head.status, 200);
  EXPECT_TRUE(client.session.over());
}

TEST(H2ClientSession, KnowsTheServersLimitOfStreams) {
  TestClient client;
  EXPECT_TRUE(client.session.peer_settings_seen());
  EXPECT_TRUE(client.receive(settings({{3, 7}})));
  EXPECT_EQ(client.session.peer_streams_max(), 7U);
}

/// What it borrowed of the request is gone by the time the server would take the stream.
TEST(H2ClientSession, ARequestBeyondTheServersLimitIsRefusedAndNeverSent) {
  TestClient client;
  EXPECT_TRUE(client.receive(settings({{3, 1}})));
  client.ask();
  {
    ResponseStream refused(Method::kGet);
    const auto path = std::make_unique<std::string>(200, '/');
    RequestHead head;
    head.method = Method::kGet;
    head.method_text = "GET";
    head.target.path = *path;
    EXPECT_FALSE(client.session.request(refused, head, "https", "a.example", {}, true));
    client.collect();
  }
  EXPECT_TRUE(client.receive(headers(1, {{":status", "200"}}, kEndHeaders | kEndStream)));
  const ResponseStream& next = client.ask();
  EXPECT_EQ(std::ranges::count(client.frames, kHeaders, &Frame::type), 2);
  EXPECT_EQ(client.frames.back().id, static_cast<std::uint32_t>(next.id()));
  EXPECT_TRUE(client.session.can_request());
}

}  // namespace
}  // namespace merlon::http
