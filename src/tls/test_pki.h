#pragma once

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tls/certificates.h"
#include "tls/openssl_ptr.h"

/// Certificates for tests, made by OpenSSL on the spot.
namespace merlon::tls::test {

inline KeyPtr ec_key(const char* group = "P-256") { return KeyPtr(EVP_EC_gen(group)); }
inline KeyPtr rsa_key(unsigned bits) { return KeyPtr(EVP_RSA_gen(bits)); }
inline KeyPtr ed25519_key() { return KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")); }

struct CertificateOptions {
  std::string subject = "test";
  std::string names{};              ///< "DNS:a.test,IP:127.0.0.1"; "" for none
  std::string embedded_nul_name{};  ///< a DNS name whose `|` becomes NUL
  long from_days = -1;
  long to_days = 90;
  bool authority = false;
  const EVP_MD* digest = EVP_sha256();
};

/// A certificate for `key`, signed with `issuer_key` in the name of `issuer` (itself when null).
inline X509Ptr make_certificate(EVP_PKEY* key, const CertificateOptions& options,
                                X509* issuer = nullptr, EVP_PKEY* issuer_key = nullptr) {
  static long serial = 1;
  X509Ptr made(X509_new());
  X509* cert = made.get();
  X509_set_version(cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(cert), options.from_days * 86'400);
  X509_gmtime_adj(X509_getm_notAfter(cert), options.to_days * 86'400);
  X509_set_pubkey(cert, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.subject.c_str()), -1,
                             -1, 0);
  X509_set_issuer_name(cert, X509_get_subject_name(issuer != nullptr ? issuer : cert));
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer != nullptr ? issuer : cert, cert, nullptr, nullptr, 0);
  const auto add = [&](int nid, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
  };
  add(NID_basic_constraints, options.authority ? "critical,CA:TRUE" : "CA:FALSE");
  if (!options.names.empty()) add(NID_subject_alt_name, options.names);
  if (!options.embedded_nul_name.empty()) {
    std::string name = options.embedded_nul_name;
    for (char& c : name)
      if (c == '|') c = '\0';
    const NamesPtr names(GENERAL_NAMES_new());
    GENERAL_NAME* one = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, name.data(), static_cast<int>(name.size()));
    GENERAL_NAME_set0_value(one, GEN_DNS, text);
    sk_GENERAL_NAME_push(names.get(), one);
    X509_add1_ext_i2d(cert, NID_subject_alt_name, names.get(), 0, X509V3_ADD_APPEND);
  }
  EVP_PKEY* signer = issuer_key != nullptr ? issuer_key : key;
  const bool no_digest = EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519;
  X509_sign(cert, signer, no_digest ? nullptr : options.digest);
  return made;
}

inline std::string pem_of(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

inline std::string pem_of(EVP_PKEY* key, const char* passphrase = nullptr) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  const int length = passphrase == nullptr ? 0 : static_cast<int>(std::string(passphrase).size());
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key, passphrase == nullptr ? nullptr : EVP_aes_256_cbc(),
                                const_cast<char*>(passphrase), length, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

/// A folder that goes with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "merlon-tls-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string write(const std::string& name, const std::string& text, unsigned mode = 0600) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
    return path;
  }

 private:
  std::string path_;
};

inline config::Located<config::FilePath> file_at(const std::string& path, std::uint32_t line) {
  static const auto source = std::make_shared<const Source>(Source{"merlon.yaml", ""});
  return {.value = {path, path}, .at = {source, line, 1, 1}};
}

/// An authority and what it signs, loaded as the program loads it.
class Pki {
 public:
  explicit Pki(const char* subject = "root")
      : key_(ec_key()),
        root_(make_certificate(key_.get(), {.subject = subject, .authority = true})) {}

  [[nodiscard]] std::string root_pem() const { return pem_of(root_.get()); }
  [[nodiscard]] X509* root() const { return root_.get(); }
  [[nodiscard]] EVP_PKEY* root_key() const { return key_.get(); }

  /// A pair for `names` ("DNS:a.test"), with a key of its own.
  std::shared_ptr<const CertificatePair> pair(const std::string& names, KeyPtr key = ec_key()) {
    return pair(CertificateOptions{.names = names}, std::move(key));
  }
  std::shared_ptr<const CertificatePair> pair(const CertificateOptions& options,
                                              KeyPtr key = ec_key()) {
    const X509Ptr cert = make_certificate(key.get(), options, root_.get(), key_.get());
    const std::string number = std::to_string(++count_);
    const CertificateFiles files{
        .cert = file_at(folder_.write("cert" + number, pem_of(cert.get())), 1),
        .key = file_at(folder_.write("key" + number, pem_of(key.get())), 2),
        .at = {}};
    Diagnostics out;
    const auto broker = io::make_local_broker();
    return load_client_certificate(files, *broker, SystemClock{}.wall_now(), out);
  }

 private:
  KeyPtr key_;
  X509Ptr root_;
  Folder folder_;
  int count_ = 0;
};

}  // namespace merlon::tls::test
