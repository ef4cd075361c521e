#include "identity/token_cache.h"

#include <gtest/gtest.h>

#include <string>

namespace merlon::identity {
namespace {

std::shared_ptr<const Identity> somebody(TokenTime expires, std::string_view subject = "u1") {
  return Identity::make({.subject = subject, .expires = expires});
}
Sha256 digest_of(std::uint64_t n) { return sha256(std::to_string(n)); }

TEST(TokenCache, FindsWhatWasPutInByTokenAndPolicy) {
  TokenCache cache(1 << 20);
  EXPECT_EQ(cache.find(digest_of(1), 7), nullptr);
  cache.insert(digest_of(1), 7, 70, somebody(100), 0);
  const TokenCache::Entry* entry = cache.find(digest_of(1), 7);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->key_id, 70U);
  EXPECT_EQ(entry->identity->subject(), "u1");
  EXPECT_EQ(cache.find(digest_of(1), 8), nullptr) << "judged by other rules";
  EXPECT_EQ(cache.find(digest_of(2), 7), nullptr);
  cache.insert(digest_of(1), 7, 71, somebody(100), 0);
  EXPECT_EQ(cache.size(), 1U);
  cache.erase(digest_of(1), 7);
  EXPECT_EQ(cache.find(digest_of(1), 7), nullptr);
  EXPECT_EQ(cache.size(), 0U);
}

TEST(TokenCache, StaysWithinItsBytes) {
  constexpr std::size_t kBytes = 256 * 1024;
  TokenCache cache(kBytes);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    cache.insert(digest_of(i), 1, 1, somebody(100, std::string(i % 900, 's')), 0);
    ASSERT_LE(cache.bytes(), kBytes);
  }
  EXPECT_GT(cache.size(), 100U);
}

TEST(TokenCache, PrefersExpiredOnesAndThoseNotUsed) {
  TokenCache cache(8 * 512);  // one set of eight
  for (std::uint64_t i = 0; i < 8; ++i)
    cache.insert(digest_of(i), 1, 1, somebody(i == 5 ? 10 : 100), 0);
  ASSERT_EQ(cache.size(), 8U);
  cache.insert(digest_of(100), 1, 1, somebody(100), 50);
  EXPECT_EQ(cache.find(digest_of(5), 1), nullptr) << "it had expired";
  EXPECT_NE(cache.find(digest_of(0), 1), nullptr);
  cache.insert(digest_of(101), 1, 1, somebody(100), 50);
  EXPECT_EQ(cache.find(digest_of(1), 1), nullptr) << "used longest ago";
  EXPECT_NE(cache.find(digest_of(0), 1), nullptr);
}

TEST(TokenCache, GrowsWithWhatItHoldsAndLosesNothing) {
  constexpr std::size_t kBytes = 64UL * 1024 * 1024;
  TokenCache cache(kBytes);
  cache.insert(digest_of(0), 1, 1, somebody(100), 0);
  EXPECT_LT(cache.bytes(), 64U * 1024);
  constexpr std::uint64_t kTokens = 5'000;
  for (std::uint64_t i = 1; i < kTokens; ++i) {
    cache.insert(digest_of(i), 1, i, somebody(100, std::to_string(i)), 0);
  }
  EXPECT_EQ(cache.size(), kTokens);
  EXPECT_LT(cache.bytes(), kTokens * 1024);
  for (std::uint64_t i = 1; i < kTokens; ++i) {
    const TokenCache::Entry* const entry = cache.find(digest_of(i), 1);
    ASSERT_NE(entry, nullptr) << i;
    EXPECT_EQ(entry->key_id, i);
    EXPECT_EQ(entry->identity->subject(), std::to_string(i));
  }
}

TEST(TokenCache, AHundredThousandTokensStayUnder64MiB) {
  constexpr std::size_t kBytes = 64UL * 1024 * 1024;
  TokenCache cache(kBytes);
  const std::string scopes = "orders.read orders.write customers.read";
  for (std::uint64_t i = 0; i < 130'000; ++i) {
    const std::string subject = "0b8c5e0e-5e3b-4f0e-9a51-" + std::to_string(i);
    cache.insert(digest_of(i), 1, 1,
                 Identity::make({.subject = subject,
                                 .client_id = "6a1f7a52-client",
                                 .token_id = subject,
                                 .scopes = scopes,
                                 .expires = 100,
                                 .claims = {{"tenant-1"}, {"admin", "editor"}}}),
                 0);
  }
  EXPECT_GT(cache.size(), 100'000U);
  EXPECT_LE(cache.bytes(), kBytes);
}

}  // namespace
}  // namespace merlon::identity
