#include "telemetry/request_id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/ascii.h"

namespace merlon::telemetry {
namespace {

TEST(IdGenerator, IsTheKeyStreamOfChaCha20) {
  // RFC 8439 §A.1, test vectors 1 and 2: key, nonce of zeros, counter 0 and 1.
  IdGenerator ids(std::array<std::uint32_t, 8>{});
  EXPECT_EQ(ids.next().view(), "76b8e0ada0f13d90405d6ae55386bd28");
  EXPECT_EQ(ids.next().view(), "bdd219b8a08ded1aa836efcc8b770dc7");
  EXPECT_EQ(ids.next().view(), "da41597c5157488d7724e03fb8d84a37");
  EXPECT_EQ(ids.next().view(), "6a43b8f41518a11cc387b669b2ee6586");
  EXPECT_EQ(ids.next().view(), "9f07e7be5551387a98ba977c732d080d");
}

TEST(IdGenerator, NeverRepeatsAndTwoGeneratorsDiffer) {
  IdGenerator a;
  IdGenerator b;
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) {
    EXPECT_TRUE(seen.emplace(a.next().view()).second);
    EXPECT_TRUE(seen.emplace(b.next().view()).second);
  }
  for (const std::string& id : seen)
    for (const char c : id) ASSERT_TRUE(ascii::is_digit(c) || (c >= 'a' && c <= 'f'));
}

}  // namespace
}  // namespace merlon::telemetry
