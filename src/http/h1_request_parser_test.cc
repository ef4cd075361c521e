#include "http/h1_request_parser.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "http/status.h"

namespace merlon::http {
namespace {

/// Parses `raw` in one piece and in pieces of one byte; both must come to the same.
Result<std::size_t> parse_both_ways(RequestParser& parser, std::string_view raw) {
  RequestParser bytewise;
  Result<std::size_t> cut = std::size_t{0};
  for (std::size_t n = 0; n <= raw.size() && cut && *cut == 0; ++n) {
    cut = bytewise.parse(raw.substr(0, n));
  }
  const Result<std::size_t> whole = parser.parse(raw);
  EXPECT_EQ(whole.has_value(), cut.has_value()) << raw;
  if (whole && cut) {
    EXPECT_EQ(*whole, *cut) << raw;
  }
  return whole;
}

struct Refusal {
  const char* name;
  std::string_view raw;
  std::uint16_t code;
  unsigned status;
};

class RequestIsRefused : public testing::TestWithParam<Refusal> {};

TEST_P(RequestIsRefused, WithItsReason) {
  RequestParser parser;
  const auto got = parse_both_ways(parser, GetParam().raw);
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(rule_name(got.error().code), rule_name(GetParam().code)) << got.error().what;
  EXPECT_EQ(got.error().blame, Blame::kClient);
  EXPECT_EQ(status_for(got.error()), GetParam().status);
  EXPECT_LE(got.error().offset_bytes, GetParam().raw.size());
}

auto name_of = [](const auto& test) { return test.param.name; };
#define HOST "Host: a\r\n"

// RFC 9112 §3: request line.
INSTANTIATE_TEST_SUITE_P(RequestLine, RequestIsRefused,
                         testing::ValuesIn<Refusal>({
                             {"tls_hello", "\x16\x03\x01", code::kBadRequestLine, 400},
                             {"bare_lf", "GET / HTTP/1.1\nHost: a\n\n", code::kBareLineEnd, 400},
                             {"no_version", "GET /\r\n", code::kBadRequestLine, 400},
                             {"lower_case_version", "GET / http/1.1\r\n", code::kBadVersion, 400},
                             {"two_spaces", "GET /  HTTP/1.1\r\n", code::kBadVersion, 400},
                             {"http2", "PRI * HTTP/2.0\r\n", code::kUnsupportedVersion, 505},
                             {"http12", "GET / HTTP/1.2\r\n", code::kUnsupportedVersion, 505},
                             {"connect", "CONNECT a:443 HTTP/1.1\r\n", code::kConnectRefused, 405},
                             {"fragment", "GET /#a HTTP/1.1\r\n", code::kBadTarget, 400},
                             {"non_ascii", "GET /\xc3\xa9 HTTP/1.1\r\n", code::kBadTarget, 400},
                             {"asterisk_get", "GET * HTTP/1.1\r\n", code::kBadTarget, 400},
                             {"userinfo", "GET http://u@a/ HTTP/1.1\r\n", code::kBadHost, 400},
                         }),
                         name_of);

// RFC 9112 §5: field lines.
INSTANTIATE_TEST_SUITE_P(
    FieldLines, RequestIsRefused,
    testing::ValuesIn<Refusal>({
        {"space_before_colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", code::kBadFieldName, 400},
        {"empty_name", "GET / HTTP/1.1\r\n: a\r\n\r\n", code::kBadFieldName, 400},
        {"no_colon", "GET / HTTP/1.1\r\n" HOST "abc\r\n\r\n", code::kBadFieldName, 400},
        {"obs_fold", "GET / HTTP/1.1\r\n" HOST " b\r\n\r\n", code::kObsFold, 400},
        {"bare_cr", "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", code::kBareLineEnd, 400},
        {"control", "GET / HTTP/1.1\r\nX: a\x01\r\n\r\n", code::kBadFieldValue, 400},
        {"del", "GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", code::kBadFieldValue, 400},
        {"alias", "GET / HTTP/1.1\r\nX_Real_IP: a\r\n", code::kAliasedField, 400},
        {"alias_pair", "GET / HTTP/1.1\r\n" HOST "A_b: 1\r\na-B: 2\r\n\r\n", code::kAliasedField,
         400},
        {"no_host", "GET / HTTP/1.1\r\n\r\n", code::kMissingHost, 400},
        {"empty_host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", code::kBadHost, 400},
        {"two_hosts", "GET / HTTP/1.1\r\n" HOST HOST, code::kDuplicateField, 400},
        {"other_host", "GET http://b/ HTTP/1.1\r\n" HOST "\r\n", code::kBadHost, 400},
    }),
    name_of);

// RFC 9112 §6 and §9, RFC 9110 §10.1.1: framing, connection, expectation.
INSTANTIATE_TEST_SUITE_P(
    Framing, RequestIsRefused,
    testing::ValuesIn<Refusal>({
        {"two_lengths", "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
         code::kDuplicateField, 400},
        {"list_length", "GET / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n",
         code::kBadContentLength, 400},
        {"both",
         "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         code::kLengthAndEncoding, 400},
        {"unsupported", "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
         code::kUnsupportedCoding, 501},
        {"not_chunked_last", "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n",
         code::kBadTransferEncoding, 400},
        {"http10", "GET / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
         code::kBadTransferEncoding, 400},
        {"nominated", "GET / HTTP/1.1\r\n" HOST "Connection: content-length\r\n\r\n",
         code::kBadConnection, 400},
        {"expect", "GET / HTTP/1.1\r\n" HOST "Expect: magic\r\n\r\n", code::kUnsupportedExpect,
         417},
    }),
    name_of);

TEST(RequestParser, ReadsAWholeHead) {
  const std::string_view raw =
      "POST /a/b?c=d HTTP/1.1\r\nHost: A.example:8080\r\nUser-Agent:  x y\t\r\nX-Empty:\r\n"
      "Content-Length: 5\r\nTE: trailers, deflate;q=0.5\r\nExpect: 100-continue\r\n\r\nhello";
  RequestParser parser;
  const auto got = parse_both_ways(parser, raw);
  ASSERT_TRUE(got.has_value()) << got.error().what;
  EXPECT_EQ(*got, raw.size() - 5);
  const RequestHead& head = parser.head();
  EXPECT_EQ(head.method, Method::kPost);
  EXPECT_EQ(head.target.form, TargetForm::kOrigin);
  EXPECT_EQ(head.target.path, "/a/b");
  EXPECT_EQ(head.target.query, "c=d");
  EXPECT_EQ(head.authority, "A.example:8080");
  EXPECT_EQ(head.framing, Framing::kLength);
  EXPECT_EQ(head.content_length, 5U);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_TRUE(head.expect_continue);
  EXPECT_TRUE(head.te_trailers);
  EXPECT_EQ(head.fields.value(FieldId::kUserAgent), "x y");
  ASSERT_NE(head.fields.find("x-empty"), nullptr);
  EXPECT_EQ(head.fields.find("x-empty")->value, "");
}

TEST(RequestParser, ReadsEachFormOfTarget) {
  struct {
    std::string_view line, path, query, authority;
    TargetForm form;
    bool has_query;
  } constexpr kCases[] = {
      {"GET /", "/", "", "a", TargetForm::kOrigin, false},
      {"GET /?", "/", "", "a", TargetForm::kOrigin, true},
      {"GET //x?y?z", "//x", "y?z", "a", TargetForm::kOrigin, true},
      {"GET HTTP://A/x?y", "/x", "y", "A", TargetForm::kAbsolute, true},
      {"GET http://a?y", "/", "y", "a", TargetForm::kAbsolute, true},
      {"GET https://a", "/", "", "a", TargetForm::kAbsolute, false},
      {"OPTIONS *", "*", "", "a", TargetForm::kAsterisk, false},
      {"OPTIONS http://a", "*", "", "a", TargetForm::kAsterisk, false},
  };
  for (const auto& test : kCases) {
    const std::string raw = std::string(test.line) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    RequestParser parser;
    ASSERT_TRUE(parser.parse(raw)) << raw;
    EXPECT_EQ(parser.head().target.path, test.path) << raw;
    EXPECT_EQ(parser.head().target.query, test.query) << raw;
    EXPECT_EQ(parser.head().target.form, test.form) << raw;
    EXPECT_EQ(parser.head().target.has_query, test.has_query) << raw;
    EXPECT_EQ(parser.head().authority, test.authority) << raw;
  }
}

TEST(RequestParser, KeepsConnectionsAsTheirVersionSays) {
  struct {
    std::string_view version, connection;
    bool keep_alive;
  } constexpr kCases[] = {
      {"1.1", "", true},       {"1.1", "close", false},     {"1.1", "keep-alive, Close", false},
      {"1.0", "", false},      {"1.0", "Keep-Alive", true}, {"1.0", "keep-alive, close", false},
      {"1.1", ",, x ,", true},
  };
  for (const auto& test : kCases) {
    const std::string raw = "GET / HTTP/" + std::string(test.version) +
                            "\r\nHost: a\r\nConnection: " + std::string(test.connection) +
                            "\r\n\r\n";
    RequestParser parser;
    ASSERT_TRUE(parser.parse(raw)) << raw;
    EXPECT_EQ(parser.head().keep_alive, test.keep_alive) << raw;
  }
}

// A39: nominated fields are gone before anyone judges the request; critical ones cannot be
// nominated.
TEST(RequestParser, DropsWhatConnectionNominates) {
  RequestParser parser;
  ASSERT_TRUE(parser.parse(
      "GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nConnection: x-hop\r\nX-Hop: 2\r\n\r\n"));
  EXPECT_EQ(parser.head().fields.count("X-Hop"), 0U);
}

// A16 to A18: only a whole WebSocket handshake is one.
TEST(RequestParser, KnowsAWebSocketHandshake) {
  const std::string good =
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  const auto wants = [](const std::string& raw) {
    RequestParser parser;
    return parser.parse(raw).value_or(0) != 0 && parser.head().wants_websocket;
  };
  EXPECT_TRUE(wants(good));
  constexpr std::pair<std::string_view, std::string_view> kChanges[] = {
      {"GET", "POST"},
      {"Upgrade: websocket", "Upgrade: h2c"},
      {": 13", ": 777"},
      {"keep-alive, Upgrade", "keep-alive"},
      {"HTTP/1.1", "HTTP/1.0"},
      {"dGhl", "dG"},
      {"==", "AA"},
      {"\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n"},
  };
  for (const auto& [from, to] : kChanges) {
    std::string changed = good;
    const std::size_t at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    EXPECT_FALSE(wants(changed)) << changed;
  }
}

TEST(RequestParser, HoldsItsLimits) {
  const HeadLimits limits{.head_bytes_max = 1024, .fields_max = 3, .target_bytes_max = 100};
  const auto code_of = [&](const std::string& raw) {
    RequestParser parser(limits);
    const auto got = parser.parse(raw);
    return got.has_value() ? std::string_view("none") : rule_name(got.error().code);
  };
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(code_of(start + "X: " + std::string(1024 - start.size() - 7, 'y') + "\r\n\r\n"),
            "none");
  EXPECT_EQ(code_of(start + "X: " + std::string(1024 - start.size() - 6, 'y') + "\r\n\r\n"),
            "head-too-large");
  EXPECT_EQ(code_of(start + std::string(1000, 'y')), "head-too-large");
  EXPECT_EQ(code_of(start + "A:\r\nB:\r\n\r\n"), "none");
  EXPECT_EQ(code_of(start + "A:\r\nB:\r\nC:\r\n"), "too-many-fields");
  EXPECT_EQ(code_of("GET /" + std::string(99, 'a') + " HTTP/1.1\r\n"), "none");
  EXPECT_EQ(code_of("GET /" + std::string(100, 'a') + " HTTP/1.1\r\n"), "target-too-long");
  EXPECT_EQ(code_of("GET /" + std::string(300, 'a')), "target-too-long");
  EXPECT_EQ(code_of(std::string(65, 'G')), "bad-method");
}

TEST(RequestParser, RefusesAtTheFirstWrongByte) {
  struct {
    std::string_view raw;
    std::size_t refused_at;  ///< bytes given when the refusal must come
  } constexpr kCases[] = {
      {"\x16xxxx", 1},
      {" GET", 1},
      {"GET /\n", 6},
      {"G{T", 2},
      {"\rG", 2},
      {"GET / HTTP/1.1\r\n x", 17},
      {"GET / HTTP/1.1\r\nHo st", 19},
      {"GET / HTTP/1.1\r\nX: \x01", 20},
      {"GET / HTTP/1.1\r\nX: a\rb", 22},
      {"GET / HTTP/1.1\r\nabc\r", 20},
  };
  for (const auto& test : kCases) {
    RequestParser parser;
    for (std::size_t n = 1; n <= test.refused_at; ++n) {
      const auto got = parser.parse(test.raw.substr(0, n));
      EXPECT_EQ(got.has_value(), n < test.refused_at) << test.raw << " at " << n;
      if (!got) break;
    }
  }
}

TEST(RequestParser, ServesOneRequestAfterAnother) {
  const std::string_view raw =
      "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      "GET /b HTTP/1.0\r\n\r\n";
  RequestParser parser;
  EXPECT_FALSE(parser.started());
  const std::size_t first = parser.parse(raw).value_or(0);
  EXPECT_TRUE(parser.started());
  parser.reset();
  EXPECT_FALSE(parser.started());
  EXPECT_EQ(parser.parse(raw.substr(first)).value_or(0), raw.size() - first);
  EXPECT_EQ(parser.head().target.path, "/b");
  EXPECT_EQ(parser.head().framing, Framing::kNone);
  EXPECT_EQ(parser.head().fields.size(), 0U);
  EXPECT_EQ(parser.head().authority, "");
}

struct LengthCase {
  const char* name;
  std::string_view input;
  std::optional<std::uint64_t> want;  // nullopt: must be refused
};
class ContentLength : public testing::TestWithParam<LengthCase> {};
TEST_P(ContentLength, IsParsedOrRefused) {
  const auto got = parse_content_length(GetParam().input);
  ASSERT_EQ(got.has_value(), GetParam().want.has_value());
  if (got.has_value()) {
    EXPECT_EQ(*got, *GetParam().want);
  }
}
INSTANTIATE_TEST_SUITE_P(Rfc9110, ContentLength,
                         testing::ValuesIn<LengthCase>({
                             {"zero", "0", 0},
                             {"largest", "18446744073709551615", UINT64_MAX},
                             {"one_past_largest", "18446744073709551616", {}},
                             {"much_larger", "99999999999999999999999", {}},
                             {"plus_sign", "+5", {}},
                             {"minus_sign", "-5", {}},
                             {"hexadecimal", "0x5", {}},
                             {"list_of_equal_values", "5, 5", {}},
                             {"empty", "", {}},
                             {"nul_inside", std::string_view("5\0", 2), {}},
                         }),
                         name_of);

}  // namespace
}  // namespace merlon::http
