// The tokens of the shared corpus (Wycheproof, RFC 7515, 7520, 7797), each with its verdict. The
// corpus does not belong to the repository: without it this test says so and passes; token_test.cc
// holds the cases that must never be without a test.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "identity/token.h"

namespace merlon::identity {
namespace {

constexpr TokenTime kNow = 2'000'000'000;

AlgorithmSet every_algorithm() {
  AlgorithmSet all;
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) all.add(static_cast<Algorithm>(i));
  return all;
}

bool signature_accepted(TokenReader& reader, const std::string& token, const std::string& jwks) {
  const auto set = read_jwks(jwks);
  if (!set.has_value()) return false;
  const Result<TokenHead> head = reader.read_head(token);
  if (!head) return false;
  const auto key = set->keys->choose(head->kid, head->has_kid, head->algorithm);
  return key.has_value() && reader.verify(*head, **key);
}

bool token_accepted(TokenReader& reader, const nlohmann::json& item) {
  const auto set = read_jwks(item["jwks"].dump());
  if (!set.has_value()) return false;
  TokenRules rules;
  rules.issuer = item["ctx"]["iss"];
  rules.audiences = {"api"};
  rules.algorithms = every_algorithm();
  rules.leeway_s = 30;
  std::uint64_t key_id = 0;
  return reader.accept(item["token"].get<std::string>(), rules, *set->keys, kNow, key_id)
      .has_value();
}

TEST(TokenCorpus, EveryCaseHasItsVerdict) {
  const std::filesystem::path path =
      std::filesystem::path(MERLON_SOURCE_DIR) / "../shared/corpora/jwt.jsonl";
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << "no corpus at " << path;
  TokenReader reader;
  std::size_t judged = 0;
  std::size_t accepted = 0;
  for (std::string line; std::getline(file, line);) {
    const auto item = nlohmann::json::parse(line);
    const std::string want = item["expected"];
    const bool ok = item["layer"] == "jwt"
                        ? token_accepted(reader, item)
                        : signature_accepted(reader, item["token"], item["jwks"].dump());
    ++judged;
    accepted += ok ? 1 : 0;
    if (want == "reject") {
      EXPECT_FALSE(ok) << item["id"] << " " << item["note"];
    }
    // HMAC is refused here, whatever the corpus says of it.
    const bool hmac = item["jwks"]["keys"][0]["kty"] == "oct";
    if (want == "accept" && !hmac) {
      EXPECT_TRUE(ok) << item["id"] << " " << item["note"];
    }
  }
  EXPECT_GT(judged, 400U);
  EXPECT_GT(accepted, 30U);
}

}  // namespace
}  // namespace merlon::identity
