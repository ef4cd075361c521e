#include "http/websocket.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::http {
namespace {

using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;

constexpr std::string_view kKey = "dGhlIHNhbXBsZSBub25jZQ==";

TEST(WebSocketKey, IsAnsweredAsTheRfcShows) {
  const auto accept = websocket_accept(kKey);
  ASSERT_TRUE(accept.has_value());
  EXPECT_EQ(accept->view(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");  // RFC 6455 §1.3
}

TEST(WebSocketKey, IsMadeAnewEachTime) {
  const auto one = make_websocket_key();
  const auto two = make_websocket_key();
  ASSERT_TRUE(one && two);
  EXPECT_TRUE(is_websocket_key(one->view()));
  EXPECT_NE(one->view(), two->view());
}

TEST(WebSocketKey, OfAnotherShapeIsNone) {
  EXPECT_TRUE(is_websocket_key(kKey));
  for (const std::string_view bad :
       {""sv, "dGhlIHNhbXBsZSBub25jZQ="sv, "dGhlIHNhbXBsZSBub25jZQ==="sv,
        "dGhlIHNhbXBsZSBub25j-Q=="sv, "dGhlIHNhbXBsZSBub25jZQAA"sv}) {
    EXPECT_FALSE(is_websocket_key(bad)) << bad;
    EXPECT_FALSE(bad.size() != 24 && websocket_accept(bad).has_value()) << bad;
  }
}

struct OfferCase {
  std::string_view protocols;
  std::string_view extensions;
  bool good;
};
constexpr OfferCase kOffers[] = {
    {"chat", "", true},
    {"chat, superchat", "permessage-deflate; client_max_window_bits, x-other; a=\"b\"", true},
    {"", "permessage-deflate, permessage-deflate; server_no_context_takeover", true},
    {"chat, chat", "", false},
    {"chat,,superchat", "", false},
    {"chat, ", "", false},
    {"ch at", "", false},
    {"", "; x=1", false},
    {"", "per message", false},
    {"", "a ; b = c", false},
    {"", "a;b=\"c\";d", true},
    {"", "a;;b", false},
    {"", "a;", false},
    {"", "a;=b", false},
    {"", "a;b=", false},
    {"", "a;b=\"\"", false},
    {"", "a;b=\"c d\"", false},
};
TEST(WebSocketOffer, IsWellFormedOrRefused) {
  for (const OfferCase& offer : kOffers) {
    Fields fields;
    if (!offer.protocols.empty()) fields.add("Sec-WebSocket-Protocol", offer.protocols);
    if (!offer.extensions.empty()) fields.add("Sec-WebSocket-Extensions", offer.extensions);
    EXPECT_EQ(is_websocket_offer(fields), offer.good) << offer.protocols << "|" << offer.extensions;
  }
  Fields many;
  for (int i = 0; i < 40; ++i) many.add("Sec-WebSocket-Extensions", "x");
  EXPECT_FALSE(is_websocket_offer(many));
}

struct AnswerCase {
  const char* name;
  std::string_view upgrade;
  std::string_view accept;
  std::string_view protocol;
  std::string_view extensions;
  bool good;
};
constexpr std::string_view kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
constexpr AnswerCase kAnswers[] = {
    {"plain", "websocket", kAccept, "", "", true},
    {"any_case", "WebSocket", kAccept, "", "", true},
    {"chosen", "websocket", kAccept, "wamp", "X-Deflate; y=1", true},
    {"other_protocol", "h2c", kAccept, "", "", false},
    {"no_accept", "websocket", "", "", "", false},
    {"accept_in_other_case", "websocket", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "", "", false},
    {"subprotocol_not_offered", "websocket", kAccept, "chat", "", false},
    {"subprotocol_in_other_case", "websocket", kAccept, "WAMP", "", false},
    {"two_subprotocols", "websocket", kAccept, "wamp, soap", "", false},
    {"extension_not_offered", "websocket", kAccept, "", "x-deflate, x-more", false},
    {"extension_twice", "websocket", kAccept, "", "x-deflate, x-deflate", false},
    {"empty_extension", "websocket", kAccept, "", "x-deflate,", false},
};
TEST(WebSocketAnswer, AgreesOnlyToWhatWasOffered) {
  Fields asked;
  asked.add("Sec-WebSocket-Protocol", "soap, wamp");
  asked.add("Sec-WebSocket-Extensions", "x-deflate; z");
  for (const AnswerCase& answer : kAnswers) {
    ResponseHead head;
    head.status = 101;
    head.upgrade = answer.upgrade;
    if (!answer.accept.empty()) head.fields.add("Sec-WebSocket-Accept", answer.accept);
    if (!answer.protocol.empty()) head.fields.add("Sec-WebSocket-Protocol", answer.protocol);
    if (!answer.extensions.empty()) head.fields.add("Sec-WebSocket-Extensions", answer.extensions);
    EXPECT_EQ(judge_websocket_answer(head, asked, kKey).has_value(), answer.good) << answer.name;
  }
}

struct FramesCase {
  const char* name;
  std::string bytes;
  bool from_client;
  bool extended;
  bool good;
};
const FramesCase kFrames[] = {
    {"text", "\x81\x02hi"s, false, false, true},
    {"masked_text", "\x81\x82\x01\x02\x03\x04xx"s, true, false, true},
    {"unmasked_from_client", "\x81\x02hi"s, true, false, false},
    {"masked_from_server", "\x81\x82\x01\x02\x03\x04xx"s, false, false, false},
    {"fragments_around_a_ping", "\x01\x01"s + "a\x89\x00\x80\x01"s + "b"s, false, false, true},
    {"continuation_of_nothing", "\x80\x01"s + "a"s, false, false, false},
    {"message_inside_another", "\x01\x01"s + "a\x81\x01"s + "b"s, false, false, false},
    {"ping_in_parts", "\x09\x00"s, false, false, false},
    {"long_ping", "\x89\x7e\x00\x7e"s + std::string(126, 'x'), false, false, false},
    {"unknown_data_opcode", "\x83\x00"s, false, false, false},
    {"unknown_control_opcode", "\x8b\x00"s, false, false, false},
    {"reserved_bit", "\xc1\x00"s, false, false, false},
    {"reserved_bit_of_an_extension", "\xc1\x00"s, false, true, true},
    {"reserved_bit_of_a_ping", "\xc9\x00"s, false, true, false},
    {"length_of_16_bits", "\x82\x7e\x00\x7e"s + std::string(126, 'x'), false, false, true},
    {"length_of_16_bits_too_small", "\x82\x7e\x00\x7d"s, false, false, false},
    {"length_of_64_bits", "\x82\x7f"s + "\0\0\0\0\0\1\0\0"s, false, false, true},
    {"length_of_64_bits_too_small", "\x82\x7f"s + "\0\0\0\0\0\0\xff\xff"s, false, false, false},
    {"length_of_64_bits_too_large", "\x82\x7f"s + "\x80\0\0\0\0\0\0\0"s, false, false, false},
};
TEST(WebSocketFrames, AreFollowedInPiecesOfAnySize) {
  for (const FramesCase& test : kFrames) {
    for (std::size_t piece = 1; piece <= test.bytes.size(); ++piece) {
      WebSocketFrames frames(test.from_client, test.extended);
      bool good = true;
      for (std::size_t at = 0; at < test.bytes.size() && good; at += piece)
        good = frames.advance(std::string_view(test.bytes).substr(at, piece));
      EXPECT_EQ(good, test.good) << test.name << " in pieces of " << piece;
    }
  }
}

TEST(WebSocketFrames, KnowWhereAFrameMayBegin) {
  WebSocketFrames frames(false, false);
  EXPECT_TRUE(frames.may_close());
  ASSERT_TRUE(frames.advance("\x81"sv));
  EXPECT_FALSE(frames.may_close());
  ASSERT_TRUE(frames.advance("\x02h"sv));
  EXPECT_FALSE(frames.may_close());
  ASSERT_TRUE(frames.advance("i"sv));
  EXPECT_TRUE(frames.may_close());
  ASSERT_TRUE(frames.advance("\x88\x00"sv));
  EXPECT_TRUE(frames.closed());
  EXPECT_FALSE(frames.may_close());
}

TEST(WebSocketFrames, OurCloseIsOne) {
  for (const bool to_server : {false, true}) {
    const CloseFrame close = make_close_frame(WebSocketClose::kGoingAway, to_server);
    WebSocketFrames frames(to_server, false);
    EXPECT_TRUE(frames.advance(close.view()));
    EXPECT_TRUE(frames.closed());
    EXPECT_EQ(close.view().substr(close.size - 2), "\x03\xe9");
  }
}

}  // namespace
}  // namespace merlon::http
