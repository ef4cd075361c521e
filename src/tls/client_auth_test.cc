#include "tls/client_auth.h"

#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include <string_view>

#include "tls/openssl_ptr.h"
#include "tls/test_pki.h"

namespace merlon::tls {
namespace {

struct Name {
  int type;
  std::string_view text;
};

/// A certificate with these alternative names and no signature, which is judged elsewhere.
X509Ptr certificate_with(std::initializer_list<Name> names) {
  X509Ptr certificate(X509_new());
  const NamesPtr list(sk_GENERAL_NAME_new_null());
  for (const Name& name : names) {
    GENERAL_NAME* one = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, name.text.data(), static_cast<int>(name.text.size()));
    GENERAL_NAME_set0_value(one, name.type, text);
    sk_GENERAL_NAME_push(list.get(), one);
  }
  X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, list.get(), 0, 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86'400);
  const KeyPtr key(EVP_EC_gen("P-256"));
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  return certificate;
}

/// As one that nobody else signed.
std::optional<ClientCertificate> read_alone(X509* certificate) {
  return read_client_certificate({&certificate, 1});
}

TEST(ClientCertificate, KeepsTheKindsOfNamesApart) {
  const X509Ptr certificate = certificate_with({{GEN_DNS, "Svc.Example.org"},
                                                {GEN_URI, "spiffe://example.org/a"},
                                                {GEN_EMAIL, "ops@example.org"}});
  const auto read = read_alone(certificate.get());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->dns, std::vector<std::string>{"svc.example.org"});
  EXPECT_EQ(read->uris, std::vector<std::string>{"spiffe://example.org/a"});
  EXPECT_EQ(read->emails, std::vector<std::string>{"ops@example.org"});
  EXPECT_EQ(read->thumbprint.size(), 43U);
  EXPECT_TRUE(read->field.starts_with(':') && read->field.ends_with(':'));
}

TEST(ClientCertificate, WithoutNamesHasNone) {
  const auto read = read_alone(certificate_with({}).get());
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->dns.empty() && read->uris.empty() && read->emails.empty());
}

// A67: to a C string the first of these is good.test.
TEST(ClientCertificate, A67NamesThatDeceiveAreRefused) {
  using namespace std::string_view_literals;
  for (const std::string_view bad : {"good.test\0.evil"sv, "\0good.test"sv, "good.test\0"sv,
                                     "good.test\n"sv, "good test"sv, "g\xc3\xb6od.test"sv, ""sv}) {
    for (const int type : {GEN_DNS, GEN_URI, GEN_EMAIL}) {
      EXPECT_FALSE(
          read_alone(certificate_with({{GEN_DNS, "a.test"}, {type, bad}}).get()).has_value())
          << bad << type;
    }
  }
}

TEST(ClientCertificate, HasABoundedNumberOfNames) {
  X509Ptr certificate(X509_new());
  const NamesPtr list(sk_GENERAL_NAME_new_null());
  for (int i = 0; i < 65; ++i) {
    GENERAL_NAME* one = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, "a.test", 6);
    GENERAL_NAME_set0_value(one, GEN_DNS, text);
    sk_GENERAL_NAME_push(list.get(), one);
  }
  X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, list.get(), 0, 0);
  EXPECT_FALSE(read_alone(certificate.get()).has_value());
}

TEST(ClientCertificate, SaysWhoSignedItAndHowLongItIsGood) {
  const KeyPtr key = test::ec_key();
  const X509Ptr root = test::make_certificate(
      key.get(), {.subject = "Clients, \"A\"", .to_days = 3, .authority = true});
  const X509Ptr leaf =
      test::make_certificate(key.get(), {.subject = "orders", .to_days = 9}, root.get(), key.get());
  X509* const chain[] = {leaf.get(), root.get()};
  const auto read = read_client_certificate(chain);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->subject, "CN=orders");
  EXPECT_EQ(read->issuer, R"(CN=Clients\, \"A\")");
  EXPECT_EQ(read->issuer_sha256.size(), 64U);
  const WallTime now = SystemClock().wall_now();
  EXPECT_GT(read->good_until, now + std::chrono::days{2});
  EXPECT_LT(read->good_until, now + std::chrono::days{4}) << "its issuer ends first";
  const auto alone = read_alone(root.get());
  ASSERT_TRUE(alone.has_value());
  EXPECT_EQ(alone->issuer, alone->subject);
  EXPECT_EQ(alone->issuer_sha256, read->issuer_sha256);
}

}  // namespace
}  // namespace merlon::tls
