#include "upstream/health_probe.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

#include "http/h1_client.h"
#include "io/simulation.h"

namespace merlon::upstream {
namespace {

using namespace std::string_view_literals;
using Outcome = ProbeResult::Outcome;

TEST(HealthRequest, IsAMessageOfTheHealthProtocol) {
  EXPECT_EQ(health_request(""), "\0\0\0\0\0"sv);
  EXPECT_EQ(health_request("a.B"),
            "\0\0\0\0\x05\x0a\x03"
            "a.B"sv);
  const std::string long_one = health_request(std::string(200, 's'));
  EXPECT_EQ(long_one.substr(0, 8), "\0\0\0\0\xcb\x0a\xc8\x01"sv) << "a length of two bytes";
  EXPECT_EQ(long_one.size(), 8U + 200U);
}

TEST(HealthRequest, IsReadAsItIsWritten) {
  const std::string long_one(200, 's');
  for (const std::string_view service : {""sv, "a.B"sv, std::string_view(long_one)})
    EXPECT_EQ(health_request_service(health_request(service)), service);
  EXPECT_EQ(health_request_service("\0\0\0\0\2\x0a\0"sv), ""sv);
  EXPECT_EQ(health_request_service("\0\0\0\0\x07\x10\x05\x0a\1x\x0a\0"sv), ""sv)
      << "other fields are passed over, and the last one counts";
  for (const std::string_view bad :
       {""sv, "\1\0\0\0\2\x0a\0"sv, "\0\0\0\0\2\x0a\1"sv, "\0\0\0\0\2\x08\1"sv,
        "\0\0\0\0\0\0\0\0\0\0"sv, "\0\0\0\0\2\x13\x14"sv})
    EXPECT_EQ(health_request_service(bad), std::nullopt);
}

struct ResponseCase {
  const char* name;
  std::string_view message;
  int want;  // -1: none of the protocol
};
constexpr ResponseCase kResponses[] = {
    {"serving", "\0\0\0\0\2\x08\1"sv, 1},
    {"not_serving", "\0\0\0\0\2\x08\2"sv, 2},
    {"service_unknown", "\0\0\0\0\2\x08\3"sv, 3},
    {"empty_is_unknown", "\0\0\0\0\0"sv, 0},
    {"the_last_one_counts", "\0\0\0\0\4\x08\1\x08\2"sv, 2},
    {"longer_varint", "\0\0\0\0\3\x08\x81\0"sv, 1},
    {"other_fields_are_passed_over",
     "\0\0\0\0\x15"
     "\x10\x05"
     "\x19"
     "12345678"
     "\x25"
     "1234"
     "\x2a\1x\x08\1"sv,
     1},
    {"nothing", ""sv, -1},
    {"prefix_cut", "\0\0\0\0"sv, -1},
    {"compressed", "\1\0\0\0\2\x08\1"sv, -1},
    {"length_too_large", "\0\0\0\0\3\x08\1"sv, -1},
    {"length_too_small", "\0\0\0\0\1\x08\1"sv, -1},
    {"two_messages", "\0\0\0\0\2\x08\1\0\0\0\0\2\x08\1"sv, -1},
    {"status_out_of_range", "\0\0\0\0\2\x08\4"sv, -1},
    {"status_of_another_type", "\0\0\0\0\3\x0a\1\1"sv, -1},
    {"field_zero", "\0\0\0\0\2\0\1"sv, -1},
    {"group", "\0\0\0\0\2\x13\x14"sv, -1},
    {"varint_without_end", "\0\0\0\0\2\x08\x81"sv, -1},
    {"string_beyond_the_end", "\0\0\0\0\2\x12\5"sv, -1},
};
class HealthResponse : public testing::TestWithParam<ResponseCase> {};
TEST_P(HealthResponse, IsReadOrRefused) {
  EXPECT_EQ(health_response_status(GetParam().message), GetParam().want);
}
TEST_P(HealthResponse, CutAnywhereItIsNone) {
  if (GetParam().want < 0) return;  // it is none already
  for (std::size_t n = 0; n < GetParam().message.size(); ++n)
    EXPECT_EQ(health_response_status(GetParam().message.substr(0, n)), -1) << n;
}
INSTANTIATE_TEST_SUITE_P(Health, HealthResponse, testing::ValuesIn(kResponses),
                         [](const auto& test) { return test.param.name; });

HealthCheck http_check() {
  HealthCheck check;
  check.path = "/healthz";
  return check;
}
HealthCheck grpc_check() {
  HealthCheck check;
  check.kind = HealthCheck::Kind::kGrpc;
  return check;
}

TEST(JudgeAnswer, OnlyClass2xxIsGood) {
  for (const unsigned status : {200U, 204U, 299U}) {
    EXPECT_EQ(judge_answer(http_check(), {.status = status, .body = {}}).outcome, Outcome::kPassed);
  }
  // A redirect says where else to ask, not that this endpoint is well.
  for (const unsigned status : {301U, 304U, 400U, 404U, 429U, 500U, 503U}) {
    const ProbeResult result = judge_answer(http_check(), {.status = status, .body = {}});
    EXPECT_EQ(result.outcome, Outcome::kBadAnswer);
    EXPECT_EQ(result.reason, "answered " + std::to_string(status));
  }
}

TEST(JudgeAnswer, OfGrpcEverythingMustFit) {
  const ProbeAnswer good{
      .status = 200, .grpc = true, .grpc_status = 0, .body = std::string("\0\0\0\0\2\x08\1"sv)};
  const auto with = [&](auto change) {
    ProbeAnswer answer = good;
    change(answer);
    return judge_answer(grpc_check(), answer);
  };
  EXPECT_EQ(judge_answer(grpc_check(), good).outcome, Outcome::kPassed);
  EXPECT_EQ(with([](auto& a) { a.body = "\0\0\0\0\2\x08\2"sv; }).reason, "answered NOT_SERVING");
  EXPECT_EQ(with([](auto& a) { a.body = "\0\0\0\0\2\x08\3"sv; }).reason,
            "answered SERVICE_UNKNOWN");
  EXPECT_EQ(with([](auto& a) { a.body = "\0\0\0\0\0"sv; }).reason, "answered UNKNOWN");
  EXPECT_EQ(with([](auto& a) { a.grpc_status = 12; }).reason, "answered grpc-status 12");
  EXPECT_EQ(with([](auto& a) { a.grpc_status = -1; }).reason, "the answer has no grpc-status");
  EXPECT_EQ(with([](auto& a) { a.status = 404; }).reason, "answered 404");
  EXPECT_EQ(with([](auto& a) { a.grpc = false; }).reason, "the answer is not gRPC");
  EXPECT_EQ(with([](auto& a) { a.body_cut = true; }).outcome, Outcome::kBadAnswer);
  EXPECT_EQ(with([](auto& a) { a.body = "ok"; }).outcome, Outcome::kBadAnswer);
}

TEST(JudgeFailure, TellsWhoseItIs) {
  const auto outcome = [](std::uint16_t code) {
    return judge_failure({.code = code, .blame = Blame::kUpstream, .what = "it went wrong"});
  };
  EXPECT_EQ(outcome(code::kTimedOut).outcome, Outcome::kTimedOut);
  EXPECT_EQ(outcome(code::kUpstreamTimeout).outcome, Outcome::kTimedOut);
  EXPECT_EQ(outcome(code::kRefused).outcome, Outcome::kUnreachable);
  EXPECT_EQ(outcome(code::kRefused).reason, "connection-refused: it went wrong");
  EXPECT_EQ(outcome(code::kTlsPeerCertificate).outcome, Outcome::kUnreachable);
  EXPECT_EQ(outcome(code::kUpstreamReset).outcome, Outcome::kUnreachable);
  EXPECT_EQ(outcome(code::kBadStatusLine).outcome, Outcome::kBadAnswer);
  EXPECT_EQ(outcome(code::kUpstreamBadResponse).outcome, Outcome::kBadAnswer);
  EXPECT_EQ(outcome(code::kResources).outcome, Outcome::kNotMade) << "the gateway's own want";
  EXPECT_EQ(outcome(code::kCancelled).outcome, Outcome::kNotMade);
}

/// One check over HTTP/1.1 in simulated time, with a server that writes what a test wants.
class Asking : public testing::Test {
 protected:
  Asking() : loop(clock, std::make_unique<io::SimulatedPoller>(clock)) {
    auto made = std::make_shared<Upstream>();
    made->health = http_check();
    upstream = std::move(made);
    std::tie(near, far) = io::SimulatedStream::make_pair(loop, 64 * 1024);
    client.attach(*near);
  }
  static io::Task<void> ask(http::ClientExchange& exchange, io::Loop& loop,
                            std::shared_ptr<const Upstream> upstream, Instant deadline,
                            std::optional<Result<ProbeAnswer>>& out) {
    Result<ProbeAnswer> answer =
        co_await ask_health(exchange, loop, std::move(upstream), "orders.internal", deadline);
    out = std::move(answer);
  }
  void begin() { tasks.spawn(ask(client, loop, upstream, loop.now() + seconds{1}, answer)); }
  void write(std::string_view bytes) {
    iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    static_cast<void>(far->try_write({&piece, 1}));
    turn(milliseconds{1});
  }
  void turn(milliseconds time) {
    for (const Instant end = clock.now() + time; clock.now() < end;) loop.turn(milliseconds{1});
  }
  std::string sent() {
    std::string text(4096, '\0');
    text.resize(far->try_read(text).n);
    return text;
  }
  /// The answer to this response, which comes whole.
  Result<ProbeAnswer> answer_to(std::string_view response) {
    begin();
    write(response);
    turn(seconds{2});
    return *answer;
  }

  ManualClock clock;
  io::Loop loop;
  std::shared_ptr<const Upstream> upstream;
  std::unique_ptr<io::SimulatedStream> near;
  std::unique_ptr<io::SimulatedStream> far;
  http::H1Client client;
  std::optional<Result<ProbeAnswer>> answer;
  io::TaskSet tasks;
};

TEST_F(Asking, TheRequestIsAPlainOne) {
  auto changed = std::make_shared<Upstream>(*upstream);
  changed->health->query = "deep=1";
  changed->health->has_query = true;
  upstream = changed;
  begin();
  turn(milliseconds{2});
  const std::string head = sent();
  EXPECT_TRUE(head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: orders.internal\r\n"))
      << head;
  EXPECT_NE(head.find("\r\nUser-Agent: merlon-health/"), std::string::npos);
  EXPECT_NE(head.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  write("HTTP/1.1 204 No Content\r\n\r\n");
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ((*answer)->status, 204U);
}

TEST_F(Asking, TheBodyIsReadUpToABound) {
  const auto small = answer_to("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  ASSERT_TRUE(small.has_value());
  EXPECT_EQ(small->body, "ok");
  EXPECT_FALSE(small->body_cut);
}

TEST_F(Asking, MoreOfABodyIsNotWaitedFor) {
  const auto large = answer_to("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" +
                               std::string(kProbeBodyBytesMax + 1, 'x'));
  ASSERT_TRUE(large.has_value());
  EXPECT_EQ(large->body.size(), kProbeBodyBytesMax);
  EXPECT_TRUE(large->body_cut);
  EXPECT_EQ(judge_answer(*upstream->health, *large).outcome, Outcome::kPassed);
}

TEST_F(Asking, ASilentEndpointTimesOut) {
  begin();
  turn(milliseconds{900});
  EXPECT_FALSE(answer.has_value());
  turn(milliseconds{200});
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(judge_failure(answer->error()).outcome, Outcome::kTimedOut);
}

TEST_F(Asking, ABodyThatComesByDropsTimesOut) {
  begin();
  write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  for (int i = 0; i < 12 && !answer.has_value(); ++i) {
    write("x");
    turn(milliseconds{100});
  }
  ASSERT_TRUE(answer.has_value()) << "each part in time, and not the whole";
  EXPECT_EQ(judge_failure(answer->error()).outcome, Outcome::kTimedOut);
}

TEST_F(Asking, WhatIsNoHttpIsABadAnswer) {
  const auto other = answer_to("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(judge_failure(other.error()).outcome, Outcome::kBadAnswer);
}

TEST_F(Asking, ACloseInsideTheBodyIsAFailure) {
  begin();
  write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxx");
  far->finish_writing();
  turn(milliseconds{5});
  ASSERT_TRUE(answer.has_value());
  ASSERT_FALSE(answer->has_value());
  EXPECT_EQ(answer->error().code, code::kUpstreamTruncated);
}

}  // namespace
}  // namespace merlon::upstream
