#include "http/h2_budget.h"

#include <gtest/gtest.h>

#include <functional>

#include "http/test_h2_server.h"

/// What a peer may do without useful work, and how soon it is cut off; and that work earns it.
namespace merlon::http {
namespace {

using namespace h2wire;

struct Flood {
  const char* name;
  std::string before;                                ///< sent once
  std::function<std::string(std::uint32_t)> frames;  ///< of round n, from 0
  std::uint32_t rounds_max;                          ///< it ends within so many
  std::uint16_t rule;
};
void PrintTo(const Flood& flood, std::ostream* out) { *out << flood.name; }

class Floods : public testing::TestWithParam<Flood> {};

TEST_P(Floods, EndTheConnectionWithinABoundedNumberOfFrames) {
  TestServer server;
  static_cast<void>(server.receive(GetParam().before));
  std::uint32_t rounds = 0;
  while (!server.last(kGoAway) && rounds <= GetParam().rounds_max) {
    static_cast<void>(server.receive(GetParam().frames(rounds++)));
  }
  ASSERT_NE(server.last(kGoAway), nullptr) << "nothing ended it";
  EXPECT_LE(rounds, GetParam().rounds_max);
  EXPECT_EQ(static_cast<H2Code>(server.last(kGoAway)->number(4)), H2Code::kEnhanceYourCalm);
  EXPECT_EQ(server.session.failure().code, GetParam().rule);
}

constexpr std::uint32_t number(std::uint32_t round) { return 2 * round + 1; }
const std::string kPosting = headers(1, post(), kEndHeaders);
constexpr std::uint32_t kResetRounds = H2Budget::kResets + 1;
constexpr std::uint32_t kControlRounds = H2Budget::kControls + 20;

const Flood kFloods[] = {
    {"A86_rapid_reset", "", [](auto n) { return headers(number(n), get()) + rst(number(n)); },
     kResetRounds, code::kH2RapidReset},
    {"A86_rapid_reset_of_posts", "",
     [](auto n) { return headers(number(n), post(), kEndHeaders) + rst(number(n)); }, kResetRounds,
     code::kH2RapidReset},
    {"A87_window_update_overflows", "",
     [](auto n) {
       return headers(number(n), get()) + window_update(number(n), 0x7fffffff) +
              window_update(number(n), 0x7fffffff);
     },
     kResetRounds, code::kH2ProvokedResets},
    {"A87_data_beyond_content_length", "",
     [](auto n) {
       return headers(number(n), post() + Lines{{"content-length", "1"}}, kEndHeaders) +
              data(number(n), "xx", kEndStream);
     },
     kResetRounds, code::kH2ProvokedResets},
    {"A87_data_below_content_length", "",
     [](auto n) {
       return headers(number(n), post() + Lines{{"content-length", "9"}}, kEndHeaders) +
              data(number(n), "x", kEndStream);
     },
     kResetRounds, code::kH2ProvokedResets},
    {"A87_malformed_heads", "",
     [](auto n) { return headers(number(n), get() + Lines{{"connection", "close"}}); },
     kResetRounds, code::kH2ProvokedResets},
    {"A87_trailers_that_do_not_end", "",
     [](auto n) {
       return headers(number(n), post(), kEndHeaders) +
              headers(number(n), {{"x", "1"}}, kEndHeaders);
     },
     kResetRounds, code::kH2ProvokedResets},
    {"A87_streams_beyond_the_limit", "", [](auto n) { return headers(number(n), get()); },
     2 * kResetRounds + 2, code::kH2ProvokedResets},
    {"A88_continuations", headers(1, get(), kEndStream),
     [](auto) { return frame(kContinuation, 0, 1, literal("x", std::string(1'000, 'y'))); }, 9,
     code::kH2ContinuationFlood},
    {"A88_continuations_that_are_empty", headers(1, get(), kEndStream),
     [](auto) { return frame(kContinuation, 0, 1, ""); }, 9, code::kH2ContinuationFlood},
    {"A91_ping", "", [](auto) { return frame(kPing, 0, 0, "12345678"); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_ping_acknowledged", "", [](auto) { return frame(kPing, kAck, 0, "12345678"); },
     kControlRounds, code::kH2ControlFlood},
    {"A91_settings", "", [](auto) { return settings({{3, 100}}); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_settings_that_are_empty", "", [](auto) { return settings({}); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_priority", kPosting,
     [](auto n) { return frame(kPriority, 0, 1, u32(3 + 2 * (n % 50)) + "\x10"); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_priority_of_idle_streams", "",
     [](auto n) { return frame(kPriority, 0, number(n), std::string(4, '\0') + "\x10"); },
     kControlRounds, code::kH2ControlFlood},
    {"A91_window_updates", "", [](auto) { return window_update(0, 1); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_window_updates_of_a_stream", kPosting, [](auto) { return window_update(1, 1); },
     kControlRounds, code::kH2ControlFlood},
    {"A91_empty_data", kPosting, [](auto) { return data(1, ""); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_data_of_padding_only", kPosting,
     [](auto) { return frame(kData, kPadded, 1, std::string("\x01\x00", 2)); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_unknown_frames", "", [](auto) { return frame(kUnknown, 0xff, 0, "x"); }, kControlRounds,
     code::kH2ControlFlood},
    {"A91_data_for_a_stream_that_was_reset",
     headers(1, post() + Lines{{"te", "gzip"}}, kEndHeaders),
     [](auto) { return data(1, std::string(1'000, 'x')); }, kControlRounds + 65,
     code::kH2ControlFlood},
};
INSTANTIATE_TEST_SUITE_P(Attacks, Floods, testing::ValuesIn(kFloods),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(HeaderBombs, A89OneByteReferencesAreCountedAsFields) {
  TestServer server;
  // One entry of the dynamic table, then a byte for each reference to it.
  const std::string entry = std::string("\x40") + hpack_string("cookie") + hpack_string("a=b");
  static_cast<void>(server.receive(frame(kHeaders, kEndHeaders | kEndStream, 1,
                                         block(get()) + entry + std::string(15'000, '\xbe'))));
  ASSERT_NE(server.last(kGoAway), nullptr);
  EXPECT_EQ(server.session.failure().code, code::kH2HeaderBomb);
}

TEST(HeaderBombs, A90LargeEntriesReferredToOftenEndTheConnection) {
  TestServer server;
  const std::string entry =
      std::string("\x40") + hpack_string("x") + hpack_string(std::string(4'000, 'y'));
  static_cast<void>(server.receive(frame(kHeaders, kEndHeaders | kEndStream, 1,
                                         block(get()) + entry + std::string(100, '\xbe'))));
  ASSERT_NE(server.last(kGoAway), nullptr);
  EXPECT_EQ(server.session.failure().code, code::kH2HeaderBomb);
}

TEST(HeaderBombs, A89EveryCrumbOfACookieCountsAsAField) {
  TestServer server;
  Lines lines = get();
  for (int i = 0; i < 101; ++i) lines.emplace_back("cookie", "a=b");
  ASSERT_TRUE(server.receive(headers(1, lines)).has_value());
  EXPECT_EQ(server.streams.at(1)->broken().code, code::kTooManyFields);
  EXPECT_EQ(server.last(kGoAway), nullptr) << "a client that means well is answered with 431";
  EXPECT_EQ(server.last(kRstStream), nullptr);
}

TEST(Budgets, CompletedStreamsPayForAsManyResets) {
  TestServer server;
  for (std::uint32_t n = 0; n < 2'000; n += 2) {
    ASSERT_TRUE(server.receive(headers(number(n), get())).has_value());
    server.answer(static_cast<std::int32_t>(number(n)));
    ASSERT_TRUE(server.receive(headers(number(n + 1), get()) + rst(number(n + 1))).has_value());
  }
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

TEST(Budgets, A92StreamsThatAreNotTakenEndTheConnection) {
  TestServer server(H2Settings{});
  ASSERT_TRUE(server.receive(settings({{4, 0}})).has_value());
  const std::string body(100, 'x');
  constexpr std::uint32_t kMost = H2Budget::kResets / H2Budget::kResetsPerStall;
  for (std::uint32_t n = 0; n <= kMost; ++n) {
    ASSERT_EQ(server.last(kGoAway), nullptr) << n;
    ASSERT_TRUE(server.receive(headers(number(n), get())).has_value());
    server.answer(static_cast<std::int32_t>(number(n)), body);
    server.session.cut_off(*server.streams.at(static_cast<std::int32_t>(number(n))));
    server.collect();
  }
  EXPECT_EQ(server.count(kRstStream), kMost);
  EXPECT_EQ(server.verdict(), H2Code::kEnhanceYourCalm);
  EXPECT_EQ(server.session.failure().code, code::kH2WindowStalled);
}

/// A client that does not know our settings yet is refused by nghttp2 itself, which tells nobody.
TEST(Budgets, DataForAStreamThatWasNeverOpenedAreBounded) {
  TestServer server;
  for (std::uint32_t n = 0; n <= 100; ++n)
    ASSERT_TRUE(server.receive(headers(number(n), post(), kEndHeaders)).has_value());
  ASSERT_EQ(server.streams.count(static_cast<std::int32_t>(number(100))), 0U);
  ASSERT_EQ(server.verdict(), H2Code::kRefusedStream);
  const std::string part = data(number(100), "x");
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(server.receive(part).has_value());
  for (int i = 0; i < 1'000; ++i) static_cast<void>(server.receive(part));
  EXPECT_EQ(server.verdict(), H2Code::kEnhanceYourCalm);
}

/// A client whose request is refused may have a whole window of small frames on their way.
TEST(Budgets, DataOnTheirWayWhenAStreamIsResetAreFree) {
  TestServer server;
  for (std::uint32_t n = 0; n < 20; ++n) {
    ASSERT_TRUE(server.receive(headers(number(n), post(), kEndHeaders)).has_value());
    server.answer(static_cast<std::int32_t>(number(n)));
    server.session.reset(*server.streams.at(static_cast<std::int32_t>(number(n))),
                         H2Code::kNoError);
    server.collect();
    for (int i = 0; i < 2'600; ++i)
      ASSERT_TRUE(server.receive(data(number(n), std::string(25, 'x'))).has_value()) << n << i;
  }
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

/// Cancelling calls is how gRPC ends them: 1,000 a second, each after some work.
TEST(Budgets, CancellingWhatWasServedForAWhileIsFree) {
  TestServer server;
  for (std::uint32_t n = 0; n < 5'000; ++n) {
    ASSERT_TRUE(server.receive(headers(number(n), post(), kEndHeaders)).has_value());
    server.now += H2Budget::kServedFor;
    ASSERT_TRUE(server.receive(rst(number(n))).has_value());
  }
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

/// Each costs a connection where the upstream speaks HTTP/1.1: 1,000 a second pass, no more than
/// 1,500 for long.
TEST(Budgets, A86LosingConnectionsOfUpstreamsIsBoundedByTime) {
  for (const auto& [a_second, passes] : {std::pair(1'000, true), std::pair(5'000, false)}) {
    TestServer server;
    int lost = 0;
    while (server.last(kGoAway) == nullptr && lost < 20 * a_second) {
      static_cast<void>(server.receive({}));
      for (int i = 0; i < a_second / 10; ++i, ++lost) server.session.charge_lost_upstream();
      server.now += milliseconds{100};
      server.collect();
    }
    EXPECT_EQ(server.last(kGoAway) == nullptr, passes) << a_second;
    if (passes) continue;
    EXPECT_EQ(server.verdict(), H2Code::kEnhanceYourCalm);
    EXPECT_EQ(server.session.failure().code, code::kH2RapidReset);
    EXPECT_LE(lost, 3'000);
  }
}

TEST(Budgets, CancellingAStreamWhoseResponseHasBegunIsFree) {
  TestServer server;
  for (std::uint32_t n = 0; n < 5'000; ++n) {
    const auto id = static_cast<std::int32_t>(number(n));
    ASSERT_TRUE(server.receive(headers(number(n), post(), kEndHeaders)).has_value());
    ResponseHead head;
    head.status = 200;
    ASSERT_TRUE(server.session.respond(*server.streams.at(id), head, false, "x", false, {}));
    server.collect();
    ASSERT_TRUE(server.receive(rst(number(n))).has_value());
  }
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

TEST(Budgets, PingsOfALongLifeAreFree) {
  TestServer server;
  for (int i = 0; i < 5'000; ++i) {
    server.now += milliseconds{200};
    ASSERT_TRUE(server.receive(frame(kPing, 0, 0, "12345678")).has_value());
  }
  EXPECT_EQ(server.count(kPing), 5'000U) << "each is answered";
}

/// Two for each frame of data is what eager clients send.
TEST(Budgets, WindowUpdatesOfADownloadAreFree) {
  TestServer server;
  ASSERT_TRUE(server.receive(headers(1, get())).has_value());
  ResponseHead head;
  head.status = 200;
  const std::string part(16 * 1024, 'x');
  TestStream& stream = *server.streams.at(1);
  ASSERT_TRUE(server.session.respond(stream, head, false, part, false, {}));
  server.collect();
  for (int i = 0; i < 3'000; ++i) {
    ASSERT_TRUE(
        server.receive(window_update(0, 16 * 1024) + window_update(1, 16 * 1024)).has_value());
    server.session.send(stream, part, false, {});
    server.collect();
  }
  EXPECT_EQ(server.last(kGoAway), nullptr);
}

}  // namespace
}  // namespace merlon::http
