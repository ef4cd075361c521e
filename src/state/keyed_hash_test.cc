#include "state/keyed_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace merlon::state {
namespace {

// Key 00 01 … 0f, input 00 01 …: the form in which SipHash publishes its vectors.
TEST(KeyedHash, GivesThePublishedValues) {
  const KeyedHash hash(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL);
  std::string input;
  EXPECT_EQ(hash(input), 0xabac0158050fc4dcULL);
  input.push_back('\x00');
  EXPECT_EQ(hash(input), 0xc9f49bf37d57ca93ULL);
  input.push_back('\x01');
  EXPECT_EQ(hash(input), 0x82cb9b024dc7d44dULL);
}

TEST(KeyedHash, LengthAndEveryByteCount) {
  const KeyedHash hash(1, 2);
  std::set<std::uint64_t> seen;
  for (std::size_t length = 0; length <= 40; ++length) {
    EXPECT_TRUE(seen.insert(hash(std::string(length, '\0'))).second) << length;
    for (std::size_t i = 0; i < length; ++i) {
      std::string input(length, '\0');
      input[i] = 1;
      EXPECT_TRUE(seen.insert(hash(input)).second) << length << ' ' << i;
    }
  }
}

TEST(KeyedHash, TwoProcessesDoNotShareAKey) {
  const KeyedHash one;
  const KeyedHash other;
  EXPECT_NE(one("client"), other("client"));
}

}  // namespace
}  // namespace merlon::state
