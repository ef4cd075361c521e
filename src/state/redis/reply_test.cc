#include "state/redis/reply.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace merlon::state::redis {
namespace {

/// All replies of `bytes`, fed in parts of `step`; "!" stands for an error of the reader.
std::string read(std::string_view bytes, std::size_t step) {
  ReplyReader reader;
  std::string seen;
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    if (!reader.feed(bytes.substr(at, step))) return seen + "!";
    for (;;) {
      const Result<const Reply*> reply = reader.next();
      if (!reply) return seen + "!";
      if (*reply == nullptr) break;
      for (const Value& value : (*reply)->values()) {
        switch (value.kind) {
          case Value::Kind::kNil:
            seen += "nil ";
            break;
          case Value::Kind::kInteger:
            seen += std::to_string(value.integer) + " ";
            break;
          case Value::Kind::kText:
          case Value::Kind::kStatus:
          case Value::Kind::kError:
            seen += std::string((*reply)->text(value)) + " ";
            break;
          case Value::Kind::kArray:
            seen += "[" + std::to_string(value.integer) + " ";
            break;
        }
      }
    }
  }
  return seen;
}

struct Case {
  const char* name;
  std::string bytes;
  std::string want;
};
const Case kCases[] = {
    {"status", "+OK\r\n", "OK "},
    {"error", "-NOSCRIPT none\r\n", "NOSCRIPT none "},
    {"integers", "*3\r\n:1\r\n:-2\r\n:3\r\n", "[3 1 -2 3 "},
    {"text_with_line_ends", "$4\r\na\r\nb\r\n", "a\r\nb "},
    {"nil", "$-1\r\n*-1\r\n", "nil nil "},
    {"nested", "*2\r\n*1\r\n+a\r\n*0\r\n", "[2 [1 a [0 "},
    {"two", ":1\r\n:2\r\n", "1 2 "},
    {"garbage", "HTTP/1.1 400\r\n", "!"},
    {"array_too_long", "*1000000\r\n", "!"},
    {"array_overflows", "*4294967297\r\n", "!"},
    {"negative_array", "*-2\r\n", "!"},
    {"too_deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n", "!"},
    {"no_number", "*x\r\n", "!"},
};

class ReplyCases : public testing::TestWithParam<Case> {};
TEST_P(ReplyCases, AreReadTheSameInAnyParts) {
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{1000}}) {
    const std::string seen = read(GetParam().bytes, step);
    if (GetParam().want == "!") {
      EXPECT_TRUE(seen.ends_with("!")) << seen;
    } else {
      EXPECT_EQ(seen, GetParam().want) << step;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Resp, ReplyCases, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

// A76: whoever answers in place of Redis must not make the gateway grow.
TEST(ReplyReader, BoundsWhatOneReplyHolds) {
  ReplyReader reader;
  ASSERT_TRUE(reader.feed("$536870912\r\n").has_value());
  const std::string part(64UL * 1024, 'x');
  bool refused = false;
  for (int i = 0; i < 16 && !refused; ++i) refused = !reader.feed(part).has_value();
  EXPECT_TRUE(refused);
  EXPECT_FALSE(reader.next().has_value());
}

TEST(ReplyReader, GivesManyRepliesOfOneRead) {
  std::string bytes;
  for (int i = 0; i < 5'000; ++i) bytes += "*3\r\n:1\r\n:2\r\n:3\r\n";
  ReplyReader reader;
  int count = 0;
  for (std::string_view rest = bytes; !rest.empty();) {
    const std::string_view part = rest.substr(0, 16UL * 1024);
    rest.remove_prefix(part.size());
    ASSERT_TRUE(reader.feed(part).has_value());
    for (;;) {
      const Result<const Reply*> reply = reader.next();
      ASSERT_TRUE(reply.has_value());
      if (*reply == nullptr) break;
      std::array<std::int64_t, 3> numbers{};
      ASSERT_TRUE((*reply)->integers(numbers));
      EXPECT_EQ(numbers[2], 3);
      ++count;
    }
  }
  EXPECT_EQ(count, 5'000);
}

TEST(Reply, NumbersAreTakenOnlyWhenAllOfThemAre) {
  Reply reply;
  ASSERT_TRUE(reply.add(Value::Kind::kArray, 2, {}));
  ASSERT_TRUE(reply.add(Value::Kind::kInteger, 7, {}));
  ASSERT_TRUE(reply.add(Value::Kind::kText, 0, "8"));
  std::array<std::int64_t, 2> two{};
  EXPECT_FALSE(reply.integers(two));
  std::array<std::int64_t, 1> one{};
  EXPECT_FALSE(reply.integers(one));
}

// A77: what clients send is length-prefixed, so nothing of it can become a command.
TEST(WriteCommand, KeepsWordsApart) {
  std::string out;
  const std::string_view words[] = {"GET", "a b\r\n*1\r\n"};
  write_command(out, words);
  EXPECT_EQ(out, "*2\r\n$3\r\nGET\r\n$9\r\na b\r\n*1\r\n\r\n");
}

}  // namespace
}  // namespace merlon::state::redis
