#include "state/redis/slots.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::state::redis {
namespace {

TEST(SlotOf, IsThatOfTheSpecification) {
  EXPECT_EQ(slot_of("123456789"), 0x31C3 % kSlots);  // the check value of CRC16/XMODEM
  EXPECT_EQ(slot_of(""), 0);
  EXPECT_EQ(slot_of("foo"), 12182);
}

struct Case {
  const char* name;
  std::string_view error;
  bool known;
  bool ask = false;
};
constexpr Case kCases[] = {
    {"moved", "MOVED 3999 127.0.0.1:6381", true},
    {"ask", "ASK 3999 127.0.0.1:6381", true, true},
    {"v6", "MOVED 1 ::1:6381", true},
    {"the_host_that_was_asked", "MOVED 1 :6381", true},
    {"host_name", "MOVED 1 redis.internal:6381", true},
    {"slot_too_high", "MOVED 16384 127.0.0.1:6381", false},
    {"port_zero", "MOVED 1 127.0.0.1:0", false},
    {"port_too_high", "MOVED 1 127.0.0.1:65536", false},
    {"other", "ERR no", false},
    {"cut", "MOVED ", false},
};
class Redirections : public testing::TestWithParam<Case> {};
TEST_P(Redirections, AreReadOrPassedOver) {
  const auto to = parse_redirection(GetParam().error);
  ASSERT_EQ(to.has_value(), GetParam().known);
  if (to.has_value()) {
    EXPECT_EQ(to->ask, GetParam().ask);
    EXPECT_EQ(to->port, 6381);
  }
}
INSTANTIATE_TEST_SUITE_P(Cluster, Redirections, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

std::optional<SlotMap> slots(std::string_view bytes) {
  ReplyReader reader;
  if (!reader.feed(bytes)) return std::nullopt;
  const Result<const Reply*> reply = reader.next();
  if (!reply || *reply == nullptr) return std::nullopt;
  return parse_slots(**reply, IpAddress::v4(0x7f000002));
}

TEST(ParseSlots, ReadsMastersAndPassesReplicas) {
  const auto map = slots(
      "*2\r\n*4\r\n:0\r\n:99\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$1\r\na\r\n"
      "*3\r\n$9\r\n127.0.0.1\r\n:7003\r\n$1\r\nb\r\n"
      "*3\r\n:100\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$1\r\nc\r\n*0\r\n");
  ASSERT_TRUE(map.has_value());
  ASSERT_EQ(map->ranges.size(), 2U);
  EXPECT_EQ(map->ranges[0].last, 99);
  EXPECT_EQ(map->ranges[0].node.port, 7000);
  EXPECT_EQ(map->ranges[1].first, 100);
  EXPECT_EQ(map->ranges[1].node.port, 7001);
  EXPECT_TRUE(map->names.empty());
  EXPECT_TRUE(map->unresolved.empty());
}

TEST(ParseSlots, TakesTheAddressBesideAHostName) {
  const auto map = slots(
      "*3\r\n*3\r\n:0\r\n:99\r\n*4\r\n$5\r\na.lan\r\n:7000\r\n$1\r\na\r\n*2\r\n$2\r\nip\r\n$8\r\n"
      "10.0.0.7\r\n*3\r\n:100\r\n:199\r\n*3\r\n$5\r\nb.lan\r\n:7001\r\n$1\r\nb\r\n"
      "*3\r\n:200\r\n:299\r\n*4\r\n$-1\r\n:7002\r\n$1\r\nc\r\n*0\r\n");
  ASSERT_TRUE(map.has_value());
  ASSERT_EQ(map->ranges.size(), 2U);
  EXPECT_EQ(map->ranges[0].node.to_string(), "10.0.0.7:7000");
  EXPECT_EQ(map->ranges[1].node.to_string(), "127.0.0.2:7002") << "the host that was asked";
  EXPECT_EQ(map->names.at("a.lan").to_string(), "10.0.0.7");
  EXPECT_EQ(map->unresolved, std::vector<std::string>{"b.lan"});
}

TEST(ParseSlots, RefusesWhatIsNoMap) {
  for (const std::string_view bytes :
       {"+OK\r\n", "*1\r\n:1\r\n", "*1\r\n*3\r\n:5\r\n:1\r\n*0\r\n", "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*0\r\n"}) {
    EXPECT_FALSE(slots(bytes).has_value()) << bytes;
  }
}

}  // namespace
}  // namespace merlon::state::redis
