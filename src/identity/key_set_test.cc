#include "identity/key_set.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "identity/test_tokens.h"

namespace merlon::identity {
namespace {

using testing::SigningKey;

std::string set_of(std::initializer_list<std::string> keys) {
  std::string all;
  for (const std::string& key : keys) all += (all.empty() ? "" : ",") + key;
  return fmt::format(R"({{"keys":[{}]}})", all);
}

const SigningKey& ec() {
  static const SigningKey key(Algorithm::kEs256, "e1");
  return key;
}

TEST(KeySet, ThumbprintIsThatOfRfc7638) {
  const auto set = read_jwks(
      R"({"keys":[{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}]})");
  ASSERT_TRUE(set.has_value()) << set.error();
  EXPECT_EQ(set->keys->keys().front()->thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

struct Case {
  const char* name;
  std::string jwk;
};
std::vector<Case> unusable() {
  std::string off_curve = ec().jwk();
  off_curve.replace(off_curve.find("\"y\":\"") + 5, 4, "AAAA");
  const SigningKey other(Algorithm::kEs384, "x");
  std::string short_x = ec().jwk();
  short_x.erase(short_x.find("\"x\":\"") + 5, 4);
  return {
      {"no_object", "7"},
      {"no_type", R"({"kid":"x"})"},
      {"symmetric", R"({"kty":"oct","k":"AAAA"})"},
      {"private", ec().jwk(R"(,"d":"AAAA")")},
      {"for_encryption", ec().jwk(R"(,"use":"enc")")},
      {"use_is_no_text", ec().jwk(R"(,"use":7)")},
      {"operations_without_verify", ec().jwk(R"(,"key_ops":["sign"])")},
      {"operations_empty", ec().jwk(R"(,"key_ops":[])")},
      {"algorithm_of_another_type", ec().jwk(R"(,"alg":"RS256")")},
      {"algorithm_of_another_curve", ec().jwk(R"(,"alg":"ES384")")},
      {"algorithm_hmac", ec().jwk(R"(,"alg":"HS256")")},
      {"algorithm_null", ec().jwk(R"(,"alg":null)")},
      {"off_the_curve", off_curve},
      {"short_coordinate", short_x},
      {"unknown_curve", R"({"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA"})"},
      {"x25519",
       R"({"kty":"OKP","crv":"X25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})"},
      {"rsa_1024", fmt::format(R"({{"kty":"RSA","e":"AQAB","n":"{}"}})",
                               base64url_encode(std::string(128, '\xff')))},
      {"rsa_16384", fmt::format(R"({{"kty":"RSA","e":"AQAB","n":"{}"}})",
                                base64url_encode(std::string(2048, '\xff')))},
      {"rsa_exponent_1", fmt::format(R"({{"kty":"RSA","e":"AQ","n":"{}"}})",
                                     base64url_encode(std::string(256, '\xff')))},
      {"rsa_even", fmt::format(R"({{"kty":"RSA","e":"AQAB","n":"{}"}})",
                               base64url_encode(std::string(256, '\xfe')))},
      {"rsa_leading_zero", fmt::format(R"({{"kty":"RSA","e":"AAEAAQ","n":"{}"}})",
                                       base64url_encode(std::string(256, '\xff')))},
      {"rsa_no_modulus", R"({"kty":"RSA","e":"AQAB"})"},
      {"kid_number", R"({"kty":"RSA","kid":7})"},
  };
}

TEST(KeySet, SkipsKeysThatCannotBeUsed) {
  for (const Case& c : unusable()) {
    EXPECT_FALSE(read_jwks(set_of({c.jwk})).has_value()) << c.name;
    const auto mixed = read_jwks(set_of({c.jwk, ec().jwk()}));
    ASSERT_TRUE(mixed.has_value()) << c.name << mixed.error();
    EXPECT_EQ(mixed->keys->keys().size(), 1U) << c.name;
    EXPECT_EQ(mixed->skipped.size(), 1U) << c.name;
  }
}

TEST(KeySet, RefusesWhatIsNoSet) {
  for (const std::string& text :
       std::initializer_list<std::string>{"", "{}", "[]", R"({"keys":{}})", R"({"keys":[]})",
                                          "<html>", "{\"keys\":[}", R"({"keys":[],"keys":[]})"}) {
    EXPECT_FALSE(read_jwks(text).has_value()) << text;
  }
  std::string many;
  for (int i = 0; i < 65; ++i) many += (i == 0 ? "" : ",") + ec().jwk();
  EXPECT_FALSE(read_jwks(set_of({many})).has_value());
  EXPECT_FALSE(read_jwks(std::string(300'000, ' ') + ec().jwks()).has_value());
}

TEST(KeySet, ChoosesByNameAndAlgorithm) {
  const SigningKey rsa(Algorithm::kRs256, "same");
  const SigningKey also(Algorithm::kEs256, "same");
  const SigningKey twin(Algorithm::kEs256, "same");
  const auto set = read_jwks(set_of({rsa.jwk(), also.jwk()}));
  ASSERT_TRUE(set.has_value());
  const auto by_name = set->keys->choose("same", true, Algorithm::kEs256);
  ASSERT_TRUE(by_name.has_value());
  EXPECT_EQ((*by_name)->type(), KeyType::kP256);
  EXPECT_TRUE(set->keys->choose("", false, Algorithm::kRs256).has_value());
  EXPECT_FALSE(set->keys->choose("", true, Algorithm::kRs256).has_value());
  EXPECT_FALSE(set->keys->choose("other", true, Algorithm::kRs256).has_value());
  EXPECT_FALSE(set->keys->choose("same", true, Algorithm::kEs384).has_value());
  EXPECT_TRUE(set->skipped.empty());
  const auto twins = read_jwks(set_of({also.jwk(), twin.jwk()}));
  ASSERT_TRUE(twins.has_value());
  EXPECT_EQ(twins->skipped.size(), 1U) << "it is said of them";
  const auto ambiguous = twins->keys->choose("same", true, Algorithm::kEs256);
  ASSERT_FALSE(ambiguous.has_value());
  EXPECT_EQ(ambiguous.error().code, code::kTokenKeyAmbiguous);
}

TEST(KeySet, OneKeyListedTwiceIsOneKey) {
  const SigningKey key(Algorithm::kEs256, "k");
  const auto set = read_jwks(set_of({key.jwk(), key.jwk()}));
  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(set->keys->keys().size(), 1U);
  EXPECT_TRUE(set->skipped.empty());
  EXPECT_TRUE(set->keys->choose("k", true, Algorithm::kEs256).has_value());
}

TEST(KeySet, KnowsItsKeysAgain) {
  const SigningKey other(Algorithm::kEs256, "o");
  const auto first = read_jwks(ec().jwks());
  const auto again = read_jwks(ec().jwks());
  const auto more = read_jwks(set_of({ec().jwk(), other.jwk()}));
  const auto narrowed = read_jwks(ec().jwks(R"(,"alg":"ES256")"));
  ASSERT_TRUE(first && again && more && narrowed);
  EXPECT_TRUE(first->keys->same_keys(*again->keys));
  EXPECT_FALSE(first->keys->same_keys(*more->keys));
  EXPECT_TRUE(more->keys->contains(first->keys->keys().front()->id()));
  EXPECT_TRUE(first->keys->same_keys(*narrowed->keys)) << "ES256 is all that P-256 can do";
}

}  // namespace
}  // namespace merlon::identity
