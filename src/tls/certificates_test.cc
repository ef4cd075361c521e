#include "tls/certificates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "tls/test_pki.h"
#include "tls/tls_config.h"

namespace merlon::tls {
namespace {

using test::CertificateOptions;
using test::ec_key;
using test::make_certificate;
using test::pem_of;

TEST(Names, MatchExactlyOrByOneLabel) {
  struct Case {
    const char* pattern;
    const char* name;
    bool want;
  };
  const Case cases[] = {
      {"a.test", "a.test", true},     {"a.test", "b.a.test", false},
      {"*.a.test", "b.a.test", true}, {"*.a.test", "c.b.a.test", false},
      {"*.a.test", "a.test", false},  {"*.a.test", ".a.test", false},
      {"*.a.test", "ba.test", false}, {"b.a.test", "*.a.test", false},
      {"a.test", "a.test.", false},   {"a.test", "", false},
  };
  for (const Case& c : cases) EXPECT_EQ(name_matches(c.pattern, c.name), c.want) << c.name;
}

/// One file each for certificate and key, written by the case.
class Files : public testing::Test {
 protected:
  LoadedCertificates load(const std::string& cert, const std::string& key, unsigned mode = 0600) {
    const std::vector<CertificateFiles> files{
        {.cert = test::file_at(folder_.write("cert.pem", cert), 1),
         .key = test::file_at(folder_.write("key.pem", key, mode), 2),
         .at = {}}};
    out_ = Diagnostics();
    return load_certificates(files, *broker_, now_, out_);
  }
  std::string signed_by_root(EVP_PKEY* key, const CertificateOptions& options) {
    return pem_of(make_certificate(key, options, root_.get(), root_key_.get()).get());
  }

  test::Folder folder_;
  std::unique_ptr<io::Broker> broker_ = io::make_local_broker();
  const WallTime now_ = SystemClock{}.wall_now();
  Diagnostics out_;
  KeyPtr root_key_ = ec_key();
  X509Ptr root_ = make_certificate(root_key_.get(), {.subject = "root", .authority = true});
  KeyPtr key_ = ec_key();
};

TEST_F(Files, ASoundPairIsLoadedWithItsNames) {
  const auto loaded = load(
      signed_by_root(key_.get(), {.names = "DNS:A.test,DNS:*.b.test,IP:192.0.2.1,IP:2001:db8::1"}),
      pem_of(key_.get()), 0640);
  EXPECT_TRUE(out_.all().empty()) << out_.render();
  ASSERT_EQ(loaded.pairs.size(), 1U);
  EXPECT_EQ(loaded.pairs[0]->names().to_string(), "a.test, *.b.test, 192.0.2.1, 2001:db8::1");
  EXPECT_EQ(loaded.pairs[0]->key_type(), "EC");
  EXPECT_GT(loaded.pairs[0]->not_after(), now_);
  for (const char* host : {"a.test", "x.b.test", "192.0.2.1", "2001:db8::1"})
    EXPECT_TRUE(loaded.covers(host)) << host;
  for (const char* host : {"b.test", "x.y.b.test", "192.0.2.2", "test"})
    EXPECT_FALSE(loaded.covers(host)) << host;
}

TEST_F(Files, StrengthOfKeysAndSignatures) {
  struct Case {
    const char* what;
    KeyPtr key;
    const EVP_MD* digest;
    bool want;
  };
  Case cases[] = {
      {"P-256", ec_key("P-256"), EVP_sha256(), true},
      {"P-384", ec_key("P-384"), EVP_sha384(), true},
      {"P-521", ec_key("P-521"), EVP_sha512(), true},
      {"Ed25519", test::ed25519_key(), EVP_sha256(), true},
      {"RSA 2048", test::rsa_key(2048), EVP_sha256(), true},
      {"RSA 1024", test::rsa_key(1024), EVP_sha256(), false},
      {"secp256k1", ec_key("secp256k1"), EVP_sha256(), false},
      {"P-224", ec_key("P-224"), EVP_sha256(), false},
      {"SHA-1", ec_key(), EVP_sha1(), false},
  };
  for (Case& c : cases) {
    const auto loaded =
        load(signed_by_root(c.key.get(), {.names = "DNS:a.test", .digest = c.digest}),
             pem_of(c.key.get()));
    EXPECT_EQ(loaded.pairs.size(), c.want ? 1U : 0U) << c.what;
    EXPECT_EQ(out_.ok(), c.want) << c.what;
    if (c.want || out_.all().empty()) continue;
    EXPECT_EQ(out_.all()[0].rule, "cert-weak-key-sig") << c.what;
    ASSERT_EQ(loaded.failed.size(), 1U);
    EXPECT_TRUE(loaded.failed[0].names.covers("a.test"));
  }
}

TEST_F(Files, DatesAreToldAndCloseNothing) {
  struct Case {
    long from_days;
    long to_days;
    std::optional<Severity> want;
  };
  const Case cases[] = {{-10, 90, {}},
                        {-10, 31, {}},
                        {-10, 29, Severity::kWarning},
                        {-10, -1, Severity::kError},
                        {1, 90, Severity::kError}};
  for (const Case& c : cases) {
    const auto loaded = load(
        signed_by_root(key_.get(),
                       {.names = "DNS:a.test", .from_days = c.from_days, .to_days = c.to_days}),
        pem_of(key_.get()));
    EXPECT_EQ(loaded.pairs.size(), 1U);
    ASSERT_EQ(out_.all().size(), c.want ? 1U : 0U) << c.to_days;
    if (!c.want) continue;
    EXPECT_EQ(out_.all()[0].severity, *c.want);
    EXPECT_EQ(out_.all()[0].rule, "cert-expired");
    EXPECT_EQ(out_.all()[0].at.line, 1U);
  }
}

TEST_F(Files, WhatCannotServeIsNamedAndCloses) {
  const std::string good = signed_by_root(key_.get(), {.names = "DNS:a.test"});
  const std::string key = pem_of(key_.get());
  const std::string other = pem_of(ec_key().get());
  struct Case {
    const char* what;
    std::string cert;
    std::string key;
    unsigned mode;
    const char* rule;
    const char* says;
    std::uint32_t line;
  };
  const Case cases[] = {
      {"another key", good, other, 0600, "cert-key-mismatch", "does not belong", 2},
      {"all may read", good, key, 0644, "key-permissions", "0644", 2},
      {"the group may write", good, key, 0660, "key-permissions", "0660", 2},
      {"encrypted", good, pem_of(key_.get(), "secret"), 0600, "", "encrypted", 2},
      {"no key", good, good, 0600, "", "no private key", 2},
      {"no certificate", key, key, 0600, "", "no certificate", 1},
      {"cut", good + good.substr(0, 100), key, 0600, "", "certificate 2 of the file", 1},
      {"wrong order", pem_of(root_.get()) + good, key, 0600, "cert-chain-order", "did not issue",
       1},
      {"not its issuer", good + good, key, 0600, "cert-chain-order", "did not issue", 1},
      {"no names", signed_by_root(key_.get(), {}), key, 0600, "cert-san-mismatch", "no DNS name",
       1},
      {"a NUL in its name", signed_by_root(key_.get(), {.embedded_nul_name = "a.test|.evil"}), key,
       0600, "cert-san-mismatch", "no DNS name", 1},
      {"too many",
       [&] {
         std::string many;
         for (int i = 0; i < 12; ++i) many += good;
         return many;
       }(),
       key, 0600, "", "certificates or more", 1},
  };
  for (const Case& c : cases) {
    const auto loaded = load(c.cert, c.key, c.mode);
    EXPECT_TRUE(loaded.pairs.empty()) << c.what;
    EXPECT_EQ(loaded.failed.size(), 1U) << c.what;
    const auto& all = out_.all();
    EXPECT_TRUE(std::ranges::any_of(all,
                                    [&](const Diagnostic& found) {
                                      return found.severity == Severity::kError &&
                                             found.rule == c.rule && found.at.line == c.line &&
                                             found.message.find(c.says) != std::string::npos;
                                    }))
        << c.what << out_.render();
  }
}

TEST_F(Files, ARootAtTheEndIsOnlyNoted) {
  const auto loaded =
      load(signed_by_root(key_.get(), {.names = "DNS:a.test"}) + pem_of(root_.get()),
           pem_of(key_.get()));
  EXPECT_EQ(loaded.pairs.size(), 1U);
  ASSERT_EQ(out_.all().size(), 1U);
  EXPECT_EQ(out_.all()[0].severity, Severity::kNote);
}

TEST_F(Files, AMissingFileIsToldWithTheUserAndLeavesTheOthers) {
  const std::string cert = folder_.write("c", signed_by_root(key_.get(), {.names = "DNS:a.test"}));
  const std::string key = folder_.write("k", pem_of(key_.get()));
  const auto loaded =
      load_certificates({{test::file_at("/nonexistent/c.pem", 5), test::file_at(key, 6), {}},
                         {test::file_at(cert, 7), test::file_at(key, 8), {}}},
                        *broker_, now_, out_);
  EXPECT_EQ(loaded.pairs.size(), 1U);
  EXPECT_EQ(loaded.failed.size(), 1U);
  ASSERT_EQ(out_.all().size(), 1U);
  EXPECT_EQ(out_.all()[0].at.line, 5U);
  EXPECT_NE(out_.all()[0].message.find("No such file"), std::string::npos);
  EXPECT_NE(out_.all()[0].help.find("user"), std::string::npos);
}

}  // namespace
}  // namespace merlon::tls
