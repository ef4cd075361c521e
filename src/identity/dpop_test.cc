#include "identity/dpop.h"

#include <gtest/gtest.h>

#include "identity/test_tokens.h"

namespace merlon::identity {
namespace {

using testing::SigningKey;

constexpr TokenTime kNow = 2'000'000'000;
constexpr std::string_view kToken = "the.access.token";

/// A client with its key, and what it says.
class Dpop : public ::testing::Test {
 protected:
  [[nodiscard]] std::string proof(std::string_view payload) const {
    return key_.token_with_head(
        fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", key_.jwk()), payload);
  }
  [[nodiscard]] static std::string payload(std::string_view uri = "https://api.example.com/a",
                                           TokenTime made = kNow, std::string_view more = "") {
    return fmt::format(R"({{"jti":"1","htm":"GET","htu":"{}","iat":{},"ath":"{}"{}}})", uri, made,
                       base64url_encode(as_text(sha256(kToken))), more);
  }
  [[nodiscard]] Result<Proof> judge(std::string_view proof, ProofRules rules = {}) {
    return judge_proof(proof, target_, kToken, thumbprint_, rules, kNow, reader_);
  }
  [[nodiscard]] static std::string thumbprint_of(const SigningKey& key) {
    const auto set = read_jwks(key.jwks());
    return set->keys->keys().front()->thumbprint();
  }

  const SigningKey key_{Algorithm::kEs256, ""};
  const std::string thumbprint_ = thumbprint_of(key_);
  ProofTarget target_{.method = "GET", .host = "api.example.com", .path = "/a"};
  TokenReader reader_;
};

TEST_F(Dpop, AProofOfTheKeyIsGood) {
  EXPECT_TRUE(judge(proof(payload())).has_value());
  EXPECT_EQ(judge(proof(payload()))->known_by,
            judge(proof(payload("https://api.example.com:443/%61?q#f")))->known_by)
      << "the same `jti` of the same key is the same proof";
}

TEST_F(Dpop, AKnownKeyIsJudgedAsANewOne) {
  const std::string good = proof(payload());
  ASSERT_TRUE(judge(good).has_value());
  EXPECT_NE(reader_.proof_keys().find(thumbprint_), nullptr);
  EXPECT_TRUE(judge(good).has_value());
  // Signed by another, in the name of the key that is known.
  const SigningKey other(Algorithm::kEs256, "");
  const std::string head =
      fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", key_.jwk());
  EXPECT_FALSE(judge(other.token_with_head(head, payload())).has_value());
  // The same key, which says that it is not for this.
  for (const char* more : {R"(,"use":"enc")", R"(,"alg":"ES384")", R"(,"key_ops":["sign"])",
                           R"(,"d":"AQ")", R"(,"kid":7)"}) {
    const std::string limited =
        fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", key_.jwk(more));
    EXPECT_FALSE(judge(key_.token_with_head(limited, payload())).has_value()) << more;
  }
}

TEST_F(Dpop, OnlyKeysOfGoodProofsAreKept) {
  std::string forged = proof(payload());
  forged[forged.rfind('.') + 5] ^= 1;
  EXPECT_FALSE(judge(forged).has_value());
  EXPECT_EQ(reader_.proof_keys().find(thumbprint_), nullptr);
}

TEST(ProofKeys, HaveRoomForAFixedNumber) {
  ProofKeys keys;
  EXPECT_EQ(keys.find("a"), nullptr);
  const auto key = [](const std::string& thumbprint) {
    return std::make_shared<const PublicKey>(EVP_EC_gen("P-256"), KeyType::kP256,
                                             AlgorithmSet{Algorithm::kEs256}, "", thumbprint);
  };
  std::size_t found = 0;
  const std::size_t many = 3 * ProofKeys::kSlots;
  for (std::size_t i = 0; i < many; ++i) keys.keep(key(std::to_string(i)));
  for (std::size_t i = 0; i < many; ++i) {
    const auto one = keys.find(std::to_string(i));
    if (one == nullptr) continue;
    EXPECT_EQ(one->thumbprint(), std::to_string(i));
    ++found;
  }
  EXPECT_GT(found, ProofKeys::kSlots / 2);
  EXPECT_LE(found, ProofKeys::kSlots);
}

TEST_F(Dpop, AProofCutAnywhereIsNone) {
  const std::string whole = proof(payload());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(judge(std::string_view(whole).substr(0, size)).has_value()) << size;
  }
}

TEST_F(Dpop, IsForOneUri) {
  for (const std::string_view uri :
       {"http://api.example.com/a", "https://api.example.com/a/", "https://api.example.com/A",
        "https://api.example.com:8443/a", "https://evil.example/a",
        "https://api.example.com.evil/a", "https://api.example.com@evil.example/a",
        "https://api.example.com", "//api.example.com/a", "/a", "",
        "https://api.example.com/b/../a", "https://api.example.com/a%00"}) {
    EXPECT_FALSE(judge(proof(payload(uri))).has_value()) << uri;
  }
}

TEST_F(Dpop, IsOfNow) {
  const std::string uri = "https://api.example.com/a";
  EXPECT_TRUE(judge(proof(payload(uri, kNow - 70))).has_value()) << "its age and the leeway";
  EXPECT_EQ(judge(proof(payload(uri, kNow - 70)))->made, kNow - 70);
  EXPECT_FALSE(judge(proof(payload(uri, kNow - 71))).has_value());
  EXPECT_TRUE(judge(proof(payload(uri, kNow + 10))).has_value());
  EXPECT_FALSE(judge(proof(payload(uri, kNow + 11))).has_value());
}

TEST_F(Dpop, AnotherKeyProvesNothing) {
  const SigningKey other(Algorithm::kEs256, "");
  const std::string head =
      fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", other.jwk());
  EXPECT_FALSE(judge(other.token_with_head(head, payload())).has_value());
  const std::string ours =
      fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", key_.jwk());
  EXPECT_FALSE(judge(other.token_with_head(ours, payload())).has_value());
}

TEST_F(Dpop, ANonceIsGoodForItsPeriodAndTheNext) {
  DpopNonces nonces;
  const ProofRules rules{.nonces = &nonces};
  const auto with = [&](std::string_view nonce) {
    return judge(
        proof(payload("https://api.example.com/a", kNow, fmt::format(R"(,"nonce":"{}")", nonce))),
        rules);
  };
  EXPECT_TRUE(with(std::string(nonces.current(kNow))).has_value());
  EXPECT_TRUE(with(std::string(nonces.current(kNow - 300))).has_value());
  const auto old = with(std::string(nonces.current(kNow - 600)));
  ASSERT_FALSE(old.has_value());
  EXPECT_EQ(old.error().code, code::kProofNonce);
  EXPECT_EQ(judge(proof(payload()), rules).error().code, code::kProofNonce);
}

}  // namespace
}  // namespace merlon::identity
