#include "http/h1_body.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace merlon::http {
namespace {

struct Decoded {
  bool done = false;
  std::string body;
  std::size_t consumed = 0;
  std::string_view rule = "none";  ///< of the error
};

/// Decodes `raw` given in pieces of `cut` bytes.
Decoded decode(ChunkedDecoder& decoder, std::string_view raw, std::size_t cut) {
  Decoded result;
  while (!raw.empty() && !result.done) {
    std::string_view piece = raw.substr(0, cut);
    raw.remove_prefix(piece.size());
    while (!piece.empty() && !result.done) {
      const auto step = decoder.next(piece);
      if (!step) {
        EXPECT_FALSE(decoder.next("0\r\n\r\n").has_value()) << "an error is not final";
        result.rule = rule_name(step.error().code);
        return result;
      }
      EXPECT_TRUE(step->consumed > 0 || step->done);
      result.body += step->data;
      result.consumed += step->consumed;
      result.done = step->done;
      piece.remove_prefix(step->consumed);
    }
  }
  return result;
}

struct Case {
  const char* name;
  std::string raw;
  std::string_view body;  ///< when accepted
  std::string_view rule = "none";
};

class Chunked : public testing::TestWithParam<Case> {};

TEST_P(Chunked, IsDecodedOrRefusedHoweverItIsCut) {
  const Case& test = GetParam();
  for (const std::size_t cut :
       {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{7}, test.raw.size()}) {
    ChunkedDecoder decoder;
    const Decoded got = decode(decoder, test.raw, cut);
    EXPECT_EQ(got.rule, test.rule) << cut;
    EXPECT_EQ(got.done, test.rule == "none") << cut;
    if (got.done) {
      EXPECT_EQ(got.body, test.body) << cut;
      EXPECT_EQ(decoder.body_bytes(), test.body.size());
    }
  }
}

// RFC 9112 §7.1, and the attacks A10 to A15.
INSTANTIATE_TEST_SUITE_P(
    Rfc9112, Chunked,
    testing::ValuesIn<Case>({
        {"empty", "0\r\n\r\n", ""},
        {"zeros", "0000\r\n\r\n", ""},
        {"two", "5\r\nhello\r\nA\r\n, my world\r\n0\r\n\r\n", "hello, my world"},
        {"extension", "5;a=b;c=\"d\\\"e\";f\r\nhello\r\n0;x\r\n\r\n", "hello"},
        {"trailers", "5\r\nhello\r\n0\r\nX-A: 1\r\nX-B:\r\n\r\n", "hello"},
        {"crlf_inside", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"},
        {"no_size", "\r\nhello", "", "bad-chunk"},
        {"prefix", "0x5\r\nhello", "", "bad-chunk"},
        {"sign", "+5\r\nhello", "", "bad-chunk"},
        {"underscore", "5_0\r\nhello", "", "bad-chunk"},
        {"space", "5 \r\nhello", "", "bad-chunk"},
        {"overflow", "ffffffffffffffff\r\n", "", "bad-chunk"},
        {"digits_17", "00000000000000005\r\n", "", "bad-chunk"},
        {"bare_lf", "5\nhello", "", "bare-line-end"},
        {"bare_cr", "5\rhello", "", "bare-line-end"},
        {"lf_in_extension", "5;\nhello", "", "bare-line-end"},
        {"lf_in_quotes", "5;a=\"\n\"\r\nhello", "", "bare-line-end"},
        {"space_in_extension", "5; a\r\nhello", "", "bad-chunk"},
        {"nul_in_extension", std::string("5;a=\"\0\"\r\n", 9), "", "bad-chunk"},
        {"extension_flood", "1;" + std::string(5000, 'a') + "\r\n", "", "bad-chunk"},
        {"no_crlf_after_data", "5\r\nhelloX", "", "bad-chunk"},
        {"lf_after_data", "5\r\nhello\n", "", "bad-chunk"},
        {"cr_after_data", "5\r\nhello\rX", "", "bare-line-end"},
        {"trailer_lf", "0\r\nX: y\n\r\n", "", "bare-line-end"},
        {"trailer_cr", "0\r\nX: y\rZ: a\r\n\r\n", "", "bare-line-end"},
        {"trailer_framing", "0\r\nContent-Length: 5\r\n\r\n", "", "bad-trailer"},
        {"trailer_auth", "0\r\nauthorization: x\r\n\r\n", "", "bad-trailer"},
        {"trailer_forwarded", "0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", "", "bad-trailer"},
        {"trailer_alias", "0\r\nContent_Type: x\r\n\r\n", "", "bad-trailer"},
        {"trailer_no_colon", "0\r\nabc\r\n\r\n", "", "bad-trailer"},
        {"trailer_fold", "0\r\nX: y\r\n z\r\n\r\n", "", "bad-trailer"},
        {"trailer_long", "0\r\nX: " + std::string(3000, 'y') + "\r\n\r\n", "", "bad-trailer"},
    }),
    [](const auto& test) { return test.param.name; });

// A12 (CVE-2023-39326): the sum of all extensions is bounded, not each.
TEST(ChunkedDecoder, BoundsExtensionsOfTheWholeBody) {
  std::string raw;
  for (int i = 0; i < 100; ++i) raw += "1;" + std::string(50, 'a') + "\r\nx\r\n";
  ChunkedDecoder decoder;
  EXPECT_EQ(decode(decoder, raw, raw.size()).rule, "bad-chunk");
  EXPECT_LT(decoder.body_bytes(), 100U);
}

// A stream whose every chunk has a small one may go on for as long as it likes.
TEST(ChunkedDecoder, DataEarnsExtensions) {
  std::string raw;
  for (int i = 0; i < 2000; ++i) raw += "a;ieof=1\r\n0123456789\r\n";
  raw += "0\r\n\r\n";
  ChunkedDecoder decoder;
  EXPECT_TRUE(decode(decoder, raw, raw.size()).done);
  EXPECT_EQ(decoder.body_bytes(), 20'000U);
}

TEST(ChunkedDecoder, StopsAtTheEndOfItsBody) {
  const std::string_view raw = "1\r\nx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n";
  ChunkedDecoder decoder;
  const Decoded got = decode(decoder, raw, raw.size());
  EXPECT_EQ(raw.substr(got.consumed), "GET /smuggled HTTP/1.1\r\n");
  const auto after = decoder.next("more");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->consumed, 0U);
  EXPECT_TRUE(after->done);
}

TEST(ChunkedDecoder, HandsOutDataInPlace) {
  const std::string_view raw = "5\r\nhello\r\n";
  ChunkedDecoder decoder;
  const auto step = decoder.next(raw);
  ASSERT_TRUE(step.has_value());
  EXPECT_EQ(step->data.data(), raw.data() + 3);
  EXPECT_EQ(step->data.size(), 5U);
}

TEST(ChunkedDecoder, LeavesOutWhatMustNotComeInAnUpstreamsTrailers) {
  ChunkedDecoder decoder(Blame::kUpstream);
  const Decoded got =
      decode(decoder, "0\r\nX-A: 1\r\nContent-Length: 5\r\nExpires: 0\r\nX-B: 2\r\n\r\n", 7);
  EXPECT_EQ(got.rule, "none");
  ASSERT_EQ(decoder.trailers().size(), 2U);
  EXPECT_EQ(decoder.trailers()[0].name, "X-A");
  EXPECT_EQ(decoder.trailers()[1].name, "X-B");
}

TEST(ChunkedDecoder, KeepsTrailersUntilReset) {
  ChunkedDecoder decoder(Blame::kUpstream);
  decode(decoder, "0\r\nX-Checksum:  abc \r\ngrpc-status: 0\r\n\r\n", 3);
  ASSERT_EQ(decoder.trailers().size(), 2U);
  EXPECT_EQ(decoder.trailers()[0].name, "X-Checksum");
  EXPECT_EQ(decoder.trailers()[0].value, "abc");
  EXPECT_EQ(decoder.trailers()[1].id, FieldId::kGrpcStatus);
  decoder.reset(Blame::kClient);
  EXPECT_TRUE(decoder.trailers().empty());
  const auto got = decoder.next("x");
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().blame, Blame::kClient);
}

TEST(ChunkedDecoder, BoundsTheNumberOfTrailers) {
  std::string raw = "0\r\n";
  for (std::size_t i = 0; i < ChunkedDecoder::kTrailersMax; ++i) raw += "X: y\r\n";
  ChunkedDecoder enough;
  EXPECT_TRUE(decode(enough, raw + "\r\n", 5).done);
  ChunkedDecoder many;
  EXPECT_EQ(decode(many, raw + "X: y\r\n\r\n", 5).rule, "bad-trailer");
}

TEST(LengthDecoder, TakesWhatIsItsOwn) {
  LengthDecoder decoder(7);
  EXPECT_EQ(decoder.take("hello"), "hello");
  EXPECT_FALSE(decoder.done());
  EXPECT_EQ(decoder.left(), 2U);
  EXPECT_EQ(decoder.take("abcdef"), "ab");
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(decoder.take("x"), "");
  EXPECT_TRUE(LengthDecoder(0).done());
}

TEST(ChunkHeader, IsReadBackAsWritten) {
  for (const std::uint64_t size :
       {std::uint64_t{1}, std::uint64_t{255}, std::uint64_t{65536}, std::uint64_t{1} << 62}) {
    char out[kChunkHeaderBytesMax];
    const std::size_t length = write_chunk_header(out, size);
    ChunkedDecoder decoder;
    const auto step = decoder.next({out, length});
    ASSERT_TRUE(step.has_value());
    EXPECT_EQ(step->consumed, length);
    EXPECT_EQ(decoder.chunk_left(), size);
  }
}

}  // namespace
}  // namespace merlon::http
