// What authentication adds to a request, in process. Budgets: a token seen before 2 µs; a new one
// OpenSSL's own verify (BM_OpenSslVerify) and 4 µs.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "identity/dpop.h"
#include "identity/test_tokens.h"
#include "identity/thread_state.h"
#include "identity/token.h"

namespace merlon::identity {
namespace {

using testing::SigningKey;
constexpr TokenTime kNow = 2'000'000'000;

std::string payload(std::size_t number) {
  return fmt::format(
      R"({{"iss":"https://id.example.com/","aud":"orders-api","exp":2000000300,"iat":2000000000,"sub":"0b8c5e0e-5e3b-4f0e-9a51-{:012}","client_id":"6a1f7a52","jti":"{}","scope":"orders.read orders.write","tenant":"t1"}})",
      number, number);
}

TokenRules rules() {
  TokenRules r;
  r.issuer = "https://id.example.com/";
  r.audiences = {"orders-api"};
  r.claims = {"/tenant"};
  return r;
}

Algorithm algorithm_of(const benchmark::State& state) {
  return state.range(0) == 0 ? Algorithm::kEs256 : Algorithm::kRs256;
}

/// The way of a token that was seen before, as Provider goes it: hash, find, judge what passes.
void BM_KnownToken(benchmark::State& state) {
  const SigningKey key(algorithm_of(state), "k1");
  const auto set = read_jwks(key.jwks());
  ThreadState thread(1);
  const TokenRules by = rules();
  const std::size_t count = 1000;
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < count; ++i) {
    tokens.push_back(key.token(payload(i)));
    std::uint64_t key_id = 0;
    auto identity = thread.reader.accept(tokens.back(), by, *set->keys, kNow, key_id);
    thread.tokens.insert(sha256(tokens.back()), 1, key_id, *identity, kNow);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    bool hashed = false;
    const Sha256 digest = thread.reader.signatures().hasher().sha256(tokens[next], hashed);
    const TokenCache::Entry* known = thread.tokens.find(digest, 1);
    bool good = known != nullptr && set->keys->contains(known->key_id) &&
                judge_dates(*known->identity, by.leeway_s, kNow).has_value() &&
                known->identity->has_scope("orders.read") && known->identity->claim_is(0, "t1");
    if (!good) state.SkipWithError("the token is not known");
    benchmark::DoNotOptimize(good);
    next = (next + 1) % count;
  }
  state.SetLabel(fmt::format("{} bytes", tokens.front().size()));
}
BENCHMARK(BM_KnownToken)->Arg(0)->Arg(1)->ArgName("rsa");

void BM_NewToken(benchmark::State& state) {
  const SigningKey key(algorithm_of(state), "k1");
  const auto set = read_jwks(key.jwks());
  TokenReader reader;
  const TokenRules by = rules();
  const std::string token = key.token(payload(1));
  for (auto _ : state) {
    std::uint64_t key_id = 0;
    auto identity = reader.accept(token, by, *set->keys, kNow, key_id);
    if (!identity) state.SkipWithError("the token is refused");
    benchmark::DoNotOptimize(identity);
  }
}
BENCHMARK(BM_NewToken)->Arg(0)->Arg(1)->ArgName("rsa");

/// The bare operation, with a context that is kept: what no verifier can do without.
void BM_OpenSslVerify(benchmark::State& state) {
  const SigningKey key(algorithm_of(state), "k1");
  const std::string token = key.token(payload(1));
  const std::string text = token.substr(0, token.rfind('.'));
  Hasher hasher;
  std::array<unsigned char, Hasher::kBytesMax> hash{};
  const std::size_t hash_bytes = hasher.hash(Hasher::Function::kSha256, text, hash);
  const KeyContextPtr signing(EVP_PKEY_CTX_new(key.native(), nullptr));
  EVP_PKEY_sign_init(signing.get());
  std::vector<unsigned char> signature(512);
  std::size_t size = signature.size();
  EVP_PKEY_sign(signing.get(), signature.data(), &size, hash.data(), hash_bytes);
  const KeyContextPtr context(EVP_PKEY_CTX_new(key.native(), nullptr));
  EVP_PKEY_verify_init(context.get());
  for (auto _ : state) {
    const int good =
        EVP_PKEY_verify(context.get(), signature.data(), size, hash.data(), hash_bytes);
    if (good != 1) state.SkipWithError("OpenSSL refuses its own signature");
  }
}
BENCHMARK(BM_OpenSslVerify)->Arg(0)->Arg(1)->ArgName("rsa");

void BM_ForgedToken(benchmark::State& state) {
  const SigningKey key(algorithm_of(state), "k1");
  const auto set = read_jwks(key.jwks());
  TokenReader reader;
  const TokenRules by = rules();
  std::string token = key.token(payload(1));
  token[token.rfind('.') + 5] ^= 1;
  for (auto _ : state) {
    std::uint64_t key_id = 0;
    auto identity = reader.accept(token, by, *set->keys, kNow, key_id);
    benchmark::DoNotOptimize(identity);
  }
}
BENCHMARK(BM_ForgedToken)->Arg(0)->Arg(1)->ArgName("rsa");

/// A DPoP proof (ES256) of a client that was here before, as judge_proof takes it: type, key,
/// signature, claims. Budget: OpenSSL's own verify (BM_OpenSslVerify/rsa:0) and 10 µs.
void BM_Proof(benchmark::State& state) {
  const auto clients = static_cast<std::size_t>(state.range(0));
  constexpr std::string_view kToken = "the.access.token";
  struct Client {
    std::string thumbprint;
    std::string proof;
  };
  std::vector<Client> all;
  for (std::size_t i = 0; i < clients; ++i) {
    const SigningKey key(Algorithm::kEs256, "");
    const std::string head =
        fmt::format(R"({{"typ":"dpop+jwt","alg":"ES256","jwk":{}}})", key.jwk());
    const std::string claims = fmt::format(
        R"({{"jti":"{}","htm":"GET","htu":"https://api.example.com/a","iat":{},"ath":"{}"}})", i,
        kNow, base64url_encode(as_text(sha256(kToken))));
    all.push_back({.thumbprint = read_jwks(key.jwks())->keys->keys().front()->thumbprint(),
                   .proof = key.token_with_head(head, claims)});
  }
  TokenReader reader;
  const ProofTarget target{.method = "GET", .host = "api.example.com", .path = "/a"};
  std::size_t next = 0;
  for (auto _ : state) {
    const Client& one = all[next];
    auto judged = judge_proof(one.proof, target, kToken, one.thumbprint, {}, kNow, reader);
    if (!judged) state.SkipWithError("the proof is refused");
    benchmark::DoNotOptimize(judged);
    next = (next + 1) % clients;
  }
}
BENCHMARK(BM_Proof)->Arg(1)->Arg(1000)->ArgName("clients");

/// Of that, the public key made of its JWK.
void BM_KeyOfProof(benchmark::State& state) {
  const SigningKey key(Algorithm::kEs256, "");
  const std::string jwk = key.jwk();
  for (auto _ : state) {
    JsonDocument document;
    const auto value = document.read(jwk, {});
    auto made = read_jwk(*value);
    benchmark::DoNotOptimize(made);
  }
}
BENCHMARK(BM_KeyOfProof);

}  // namespace
}  // namespace merlon::identity
