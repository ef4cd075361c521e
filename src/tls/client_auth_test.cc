#include "tls/client_auth.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
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

WallTime now() { return SystemClock().wall_now(); }

/// Its next one is due `ends_in_days` from now; 0: never.
std::string empty_list_of(const test::Pki& pki, long ends_in_days = 0) {
  const std::unique_ptr<X509_CRL, FreeWith<X509_CRL_free>> list(X509_CRL_new());
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(pki.root()));
  const std::unique_ptr<ASN1_TIME, FreeWith<ASN1_TIME_free>> now(X509_gmtime_adj(nullptr, 0));
  X509_CRL_set1_lastUpdate(list.get(), now.get());
  X509_gmtime_adj(now.get(), ends_in_days * 86'400);
  if (ends_in_days != 0) X509_CRL_set1_nextUpdate(list.get(), now.get());
  X509_CRL_sign(list.get(), pki.root_key(), EVP_sha256());
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_CRL(bio.get(), list.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

// A revoked certificate must not stay good because the file of authorities is broken.
TEST(ClientAuthFiles, ABrokenFileHoldsBackNoOther) {
  const auto broker = io::make_local_broker();
  const test::Folder folder;
  const test::Pki one("one");
  const test::Pki two("two");
  const ClientAuthFiles files{.ca = test::file_at(folder.write("ca", one.root_pem()), 1),
                              .crl = test::file_at(folder.write("crl", empty_list_of(one)), 2),
                              .at = {}};
  Diagnostics out;
  const auto first = load_client_auth(files, *broker, now(), out);
  ASSERT_TRUE(first.has_value()) << out.render();

  folder.write("ca", "nothing");
  const std::string list_of_two = empty_list_of(two);
  folder.write("crl", list_of_two);
  EXPECT_FALSE(load_client_auth(files, *broker, now(), out).has_value()) << "nothing is in force";
  const auto second = load_client_auth(files, *broker, now(), out, &*first);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->ca_pem, one.root_pem());
  EXPECT_EQ(second->crl_pem, list_of_two);

  folder.write("ca", two.root_pem());
  for (const std::string& bad : {std::string(), one.root_pem(), empty_list_of(one).substr(0, 90)}) {
    folder.write("crl", bad);
    const auto third = load_client_auth(files, *broker, now(), out, &*second);
    ASSERT_TRUE(third.has_value());
    EXPECT_EQ(third->ca_pem, two.root_pem());
    EXPECT_EQ(third->crl_pem, second->crl_pem);
    EXPECT_EQ(out.all().back().at.line, 2U);
  }
}

struct Hopeless {
  const char* name;
  std::string ca;
  std::string crl;  ///< "": none
  const char* says;
  bool by_date;
};

TEST(ClientAuthFiles, ByWhichNobodyCanEnterAreErrors) {
  test::Pki pki("clients");
  const test::Pki other("other");
  const KeyPtr key = test::ec_key();
  const auto leaf =
      test::make_certificate(key.get(), {.subject = "orders"}, pki.root(), pki.root_key());
  const auto dated = [&](long from, long to) {
    return test::pem_of(
        test::make_certificate(
            key.get(), {.subject = "dated", .from_days = from, .to_days = to, .authority = true})
            .get());
  };
  const Hopeless cases[] = {
      {"good", pki.root_pem(), empty_list_of(pki, 2), "", false},
      {"one_of_two_is_good", dated(-9, -2) + pki.root_pem(), "", "", false},
      {"one_list_of_two_is_good", pki.root_pem(), empty_list_of(other) + empty_list_of(pki), "",
       false},
      {"a_leaf", test::pem_of(leaf.get()), "", "none of the certificates is of an authority",
       false},
      {"expired", dated(-9, -2), "", "\"CN=dated\" has expired", true},
      {"to_come", dated(2, 9), "", "\"CN=dated\" is not valid yet", true},
      {"list_of_another", pki.root_pem(), empty_list_of(other),
       "no revocation list is of an authority", false},
      {"list_that_ended", pki.root_pem(), empty_list_of(pki, -1),
       "the revocation list of \"CN=clients\" has expired", true},
  };
  const auto broker = io::make_local_broker();
  const test::Folder folder;
  const ClientAuth before{.ca_pem = "before", .crl_pem = "too", .required = true, .at = {}};
  for (const Hopeless& one : cases) {
    ClientAuthFiles files{.ca = test::file_at(folder.write("ca", one.ca), 1), .crl = {}, .at = {}};
    if (!one.crl.empty()) files.crl = test::file_at(folder.write("crl", one.crl), 2);
    const bool good = std::string_view(one.says).empty();
    Diagnostics out;
    EXPECT_TRUE(load_client_auth(files, *broker, now(), out).has_value()) << "it refuses";
    EXPECT_EQ(out.ok(), good) << one.name << out.render();
    EXPECT_TRUE(out.render().contains(one.says)) << one.name << out.render();
    if (!good) EXPECT_EQ(out.all().front().rule == "cert-expired", one.by_date) << one.name;
    const auto kept = load_client_auth(files, *broker, now(), out, &before);
    EXPECT_EQ(kept->ca_pem == "before", !good) << one.name;
  }
}

}  // namespace
}  // namespace merlon::tls
