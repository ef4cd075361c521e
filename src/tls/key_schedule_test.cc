#include "tls/key_schedule.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include <memory>
#include <optional>
#include <random>
#include <string>

#include "base/free_with.h"

namespace merlon::tls {
namespace {

using KdfPtr = std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>>;
using KdfCtxPtr = std::unique_ptr<EVP_KDF_CTX, FreeWith<EVP_KDF_CTX_free>>;
using MacPtr = std::unique_ptr<EVP_MAC, FreeWith<EVP_MAC_free>>;
using MacCtxPtr = std::unique_ptr<EVP_MAC_CTX, FreeWith<EVP_MAC_CTX_free>>;

constexpr const char* kOpenSsl = "provider=default";
const char* ours() { return key_schedule_query(); }

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

/// Strings of random bytes, the same ones in each run.
class Random {
 public:
  std::string bytes(std::size_t n) {
    std::string made(n, '\0');
    for (char& byte : made) byte = static_cast<char>(engine_());
    return made;
  }
  std::size_t below(std::size_t n) { return engine_() % n; }

 private:
  std::mt19937 engine_{8446};
};

struct Derivation {
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  std::string digest = "SHA2-256";
  std::optional<std::string> key{}, salt{}, data{};
  std::string label = "derived";
  std::string prefix = "tls13 ";
};

/// What the KDF of a provider makes of it, as libssl asks; nothing when it refuses.
std::optional<std::string> derive(const char* query, Derivation from, std::size_t out_bytes) {
  const KdfPtr kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_TLS1_3_KDF, query));
  const KdfCtxPtr context(EVP_KDF_CTX_new(kdf.get()));
  std::vector<OSSL_PARAM> params{
      OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &from.mode),
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, from.digest.data(), 0)};
  const auto add = [&](const char* name, std::optional<std::string>& value) {
    if (value)
      params.push_back(OSSL_PARAM_construct_octet_string(name, value->data(), value->size()));
  };
  add(OSSL_KDF_PARAM_KEY, from.key);
  add(OSSL_KDF_PARAM_SALT, from.salt);
  add(OSSL_KDF_PARAM_DATA, from.data);
  std::optional label(from.label);
  std::optional prefix(from.prefix);
  add(OSSL_KDF_PARAM_PREFIX, prefix);
  add(OSSL_KDF_PARAM_LABEL, label);
  params.push_back(OSSL_PARAM_construct_end());
  std::string out(out_bytes, '\0');
  if (EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), out.size(),
                     params.data()) != 1)
    return {};
  return out;
}

const unsigned char* data(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

template <typename Method>
std::string provider_of(const OSSL_PROVIDER* (*get)(const Method*), const Method* method) {
  return OSSL_PROVIDER_get0_name(get(method));
}

TEST(KeySchedule, IsFoundByItsQueryAndByNothingElse) {
  ASSERT_STREQ(key_schedule_query(), "?provider=merlon");
  const auto kdf_from = [](const char* query) {
    const KdfPtr kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_TLS1_3_KDF, query));
    return provider_of(EVP_KDF_get0_provider, kdf.get());
  };
  const auto mac_from = [](const char* query) {
    const MacPtr mac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, query));
    return provider_of(EVP_MAC_get0_provider, mac.get());
  };
  EXPECT_EQ(kdf_from(ours()), "merlon");
  EXPECT_EQ(mac_from(ours()), "merlon");
  EXPECT_EQ(kdf_from(nullptr), "default");
  EXPECT_EQ(mac_from(nullptr), "default") << "others may want digests that ours does not know";
  const std::unique_ptr<EVP_MD, FreeWith<EVP_MD_free>> md(EVP_MD_fetch(nullptr, "SHA256", ours()));
  EXPECT_EQ(provider_of(EVP_MD_get0_provider, md.get()), "default");
}

// RFC 8448 §3: the early secret, the salt under the handshake secret, and the handshake secret.
TEST(KeySchedule, DerivesTheSecretsOfTheRfcsTrace) {
  const std::string early =
      from_hex("33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
  const std::string shared =
      from_hex("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d");
  const std::string handshake =
      from_hex("1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
  const std::string master =
      from_hex("18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
  Derivation step{.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY};
  EXPECT_EQ(derive(ours(), step, 32), early);
  step.salt = early;
  step.key = shared;
  EXPECT_EQ(derive(ours(), step, 32), handshake);
  step.salt = handshake;
  step.key.reset();
  EXPECT_EQ(derive(ours(), step, 32), master);
}

TEST(KeySchedule, DerivesWhatOpenSslDoes) {
  Random random;
  for (int i = 0; i < 2000; ++i) {
    const bool wide = random.below(2) == 1;
    const std::size_t bytes = wide ? 48 : 32;
    Derivation each{.digest = wide ? "SHA2-384" : "SHA2-256"};
    const bool extract = random.below(2) == 1;
    if (extract) {
      each.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
      if (random.below(2) == 1) each.salt = random.bytes(bytes);
      if (random.below(2) == 1) each.key = random.bytes(1 + random.below(200));
    } else {
      each.key = random.bytes(bytes);
      each.label = random.bytes(1 + random.below(40));
      if (random.below(3) != 0) each.data = random.bytes(random.below(200));
    }
    const std::size_t out = extract ? bytes : 1 + random.below(400);
    const auto theirs = derive(kOpenSsl, each, out);
    ASSERT_TRUE(theirs.has_value());
    ASSERT_EQ(derive(ours(), each, out), theirs) << "case " << i;
  }
}

TEST(KeySchedule, RefusesWhatItCannotDerive) {
  Derivation good{.key = std::string(32, 'k')};
  EXPECT_TRUE(derive(ours(), good, 32).has_value());
  Derivation other = good;
  other.digest = "SHA2-512";
  EXPECT_FALSE(derive(ours(), other, 32).has_value());
  other = good;
  other.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
  EXPECT_FALSE(derive(ours(), other, 32).has_value());
  other = good;
  other.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  EXPECT_FALSE(derive(ours(), other, 33).has_value()) << "a secret is as long as its digest";
  other = good;
  other.label = std::string(256, 'l');
  EXPECT_FALSE(derive(ours(), other, 32).has_value()) << "its length has one byte";
  EXPECT_TRUE(derive(ours(), good, std::size_t{255} * 32).has_value());
  EXPECT_FALSE(derive(ours(), good, std::size_t{255} * 32 + 1).has_value()) << "RFC 5869 §2.3";
}

TEST(KeySchedule, AuthenticatesAsOpenSslDoes) {
  Random random;
  for (int i = 0; i < 500; ++i) {
    const std::string digest = random.below(2) == 1 ? "SHA384" : "SHA256";
    const std::string key = random.bytes(1 + random.below(300));
    const std::string text = random.bytes(random.below(1000));
    const auto of = [&](const char* query) {
      std::string out(64, '\0');
      std::size_t bytes = 0;
      const unsigned char* const made = EVP_Q_mac(
          nullptr, "HMAC", query, digest.c_str(), nullptr, key.data(), key.size(), data(text),
          text.size(), reinterpret_cast<unsigned char*>(out.data()), out.size(), &bytes);
      EXPECT_NE(made, nullptr);
      out.resize(bytes);
      return out;
    };
    ASSERT_EQ(of(ours()), of(kOpenSsl)) << "case " << i;
  }
}

TEST(KeySchedule, AMacBeginsAgainAndIsCopiedMidway) {
  const MacPtr mac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, ours()));
  const MacCtxPtr context(EVP_MAC_CTX_new(mac.get()));
  std::string digest = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  const auto finish = [](EVP_MAC_CTX* of) {
    std::string out(32, '\0');
    std::size_t bytes = 0;
    EXPECT_EQ(EVP_MAC_final(of, reinterpret_cast<unsigned char*>(out.data()), &bytes, out.size()),
              1);
    return out;
  };
  EXPECT_EQ(EVP_MAC_init(context.get(), nullptr, 0, params), 0) << "there is no key yet";
  const std::string key = "key";
  ASSERT_EQ(EVP_MAC_init(context.get(), data(key), key.size(), params), 1);
  ASSERT_EQ(EVP_MAC_update(context.get(), data(key), 3), 1);
  const MacCtxPtr copy(EVP_MAC_CTX_dup(context.get()));
  const std::string first = finish(context.get());
  EXPECT_EQ(finish(copy.get()), first);
  ASSERT_EQ(EVP_MAC_init(context.get(), nullptr, 0, nullptr), 1) << "the key stays";
  ASSERT_EQ(EVP_MAC_update(context.get(), data(key), 3), 1);
  EXPECT_EQ(finish(context.get()), first);
  EXPECT_EQ(EVP_MAC_update(context.get(), data(key), 3), 0) << "it is finished";
  // As libssl's callback for tickets does: nothing but parameters.
  const MacCtxPtr by_parameters(EVP_MAC_CTX_new(mac.get()));
  std::string same_key = key;
  const OSSL_PARAM both[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, same_key.data(), same_key.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  ASSERT_EQ(EVP_MAC_CTX_set_params(by_parameters.get(), both), 1);
  ASSERT_EQ(EVP_MAC_update(by_parameters.get(), data(key), 3), 1);
  EXPECT_EQ(finish(by_parameters.get()), first);
}

}  // namespace
}  // namespace merlon::tls
