#include "http/grpc.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace merlon::http {
namespace {

using namespace std::chrono_literals;

TEST(Grpc, IsToldByItsContentType) {
  for (const char* yes : {"application/grpc", "application/grpc+proto", "application/grpc;a=b",
                          "Application/GRPC+json", "application/grpc ; a=b"})
    EXPECT_TRUE(is_grpc(yes)) << yes;
  for (const char* no :
       {"", "application/grp", "application/grpc-web", "application/grpc-web+proto",
        "application/grpcx", "application/json", "text/application/grpc"})
    EXPECT_FALSE(is_grpc(no)) << no;
}

TEST(Grpc, ServicesHaveNamesOfProtobuf) {
  for (const char* yes : {"Echo", "suites.v1.Echo", "_a._B9"})
    EXPECT_TRUE(is_grpc_service_name(yes)) << yes;
  for (const char* no : {"", ".", "a.", ".a", "a..b", "9a", "a-b", "a b", "{x}", "a.9b"})
    EXPECT_FALSE(is_grpc_service_name(no)) << no;
}

struct TimeoutCase {
  const char* text;
  std::optional<nanoseconds> want;
};
constexpr TimeoutCase kTimeouts[] = {
    {"1n", 1ns},
    {"20u", 20us},
    {"300m", 300ms},
    {"4S", 4s},
    {"5M", 5min},
    {"6H", 6h},
    {"99999999S", 99999999s},
    {"0m", 0ns},
    {"00000001S", 1s},
    {"", {}},
    {"S", {}},
    {"1", {}},
    {"123456789S", {}},
    {"1s", {}},
    {"-1S", {}},
    {"+1S", {}},
    {"1.5S", {}},
    {"1 S", {}},
    {" 1S", {}},
    {"1S ", {}},
    {"1SS", {}},
    {"0x1S", {}},
};

TEST(Grpc, TimeoutsAreReadStrictly) {
  for (const TimeoutCase& c : kTimeouts) {
    const Result<nanoseconds> got = parse_grpc_timeout(c.text);
    ASSERT_EQ(got.has_value(), c.want.has_value()) << c.text;
    if (got) EXPECT_EQ(*got, *c.want) << c.text;
    if (!got) EXPECT_EQ(got.error().blame, Blame::kClient);
  }
  const Result<nanoseconds> most = parse_grpc_timeout("99999999H");
  ASSERT_TRUE(most.has_value());
  EXPECT_GT(*most, 24h * 365 * 10) << "bounded, and beyond all practice";
}

TEST(Grpc, WhatIsLeftIsWrittenWithoutGainingTime) {
  EXPECT_EQ(GrpcTimeoutText(1500ms).view(), "1500000u");
  EXPECT_EQ(GrpcTimeoutText(0ns).view(), "1n");
  EXPECT_EQ(GrpcTimeoutText(-5s).view(), "1n");
  EXPECT_EQ(GrpcTimeoutText(99'999'999ns).view(), "99999999n");
  EXPECT_EQ(GrpcTimeoutText(100'000'001ns).view(), "100000u");
  EXPECT_EQ(GrpcTimeoutText(100s).view(), "100000m");
  for (const nanoseconds left : {7ns, nanoseconds(123'456'789), nanoseconds(86'399'999'999'999),
                                 nanoseconds(nanoseconds::max().count() / 4)}) {
    const Result<nanoseconds> read = parse_grpc_timeout(GrpcTimeoutText(left).view());
    ASSERT_TRUE(read.has_value());
    EXPECT_LE(*read, left);
    EXPECT_GE(*read, left - left / 1'000);
  }
}

TEST(Grpc, RefusalsHaveAStatus) {
  constexpr std::pair<unsigned, int> kWanted[] = {
      {400, 3}, {422, 3}, {401, 16}, {403, 7},  {404, 12}, {405, 12}, {408, 4},
      {504, 4}, {413, 8}, {429, 8},  {502, 14}, {503, 14}, {418, 2},  {500, 13}};
  for (const auto& [status, want] : kWanted)
    EXPECT_EQ(grpc_status_text(grpc_status_for(status)), std::to_string(want)) << status;
}

TEST(Grpc, MessagesArePercentEncoded) {
  std::string out;
  append_grpc_message(out, "100% of \"it\"\r\n\xc3\xa4~");
  EXPECT_EQ(out, "100%25 of \"it\"%0D%0A%C3%A4~");
}

std::string message(std::size_t bytes, char flag = 0) {
  std::string out(1, flag);
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(bytes >> shift & 255U);
  return out.append(bytes, 'x');
}

TEST(Grpc, EachMessageIsBoundedAndNotTheirSum) {
  GrpcMessages messages;
  messages.reset(10);
  const std::string fit = message(10) + message(0) + message(10, 1) + message(9);
  EXPECT_TRUE(messages.take(fit));
  EXPECT_TRUE(messages.take(fit));
  const Result<void> large = messages.take(message(11));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, code::kBodyTooLarge);
}

TEST(Grpc, MessagesAreFoundHoweverTheyAreCut) {
  GrpcMessages messages;
  messages.reset(300);
  const std::string bytes = message(300) + message(1);
  for (int round = 0; round < 3; ++round) {
    for (const char byte : bytes) ASSERT_TRUE(messages.take({&byte, 1}));
  }
  const Result<void> bad = messages.take(std::string_view("\2\0\0\0\0", 5));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, code::kBadGrpcMessage);
}

}  // namespace
}  // namespace merlon::http
