#include "audit/certificate.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <initializer_list>
#include <memory>

#include "base/free_with.h"

namespace merlon::audit {
namespace {

using BioPtr = std::unique_ptr<BIO, FreeWith<BIO_free_all>>;
using X509Ptr = std::unique_ptr<X509, FreeWith<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, FreeWith<GENERAL_NAMES_free>>;
using CtxPtr = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, FreeWith<SSL_free>>;

constexpr std::size_t kCertificatesMax = 32;

BioPtr memory(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// A passphrase must never be asked for on the terminal.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) { return -1; }

std::vector<X509Ptr> read_all(std::string_view pem) {
  std::vector<X509Ptr> out;
  const BioPtr bio = memory(pem);
  while (bio != nullptr && out.size() < kCertificatesMax) {
    X509Ptr one(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (one == nullptr) break;
    out.push_back(std::move(one));
  }
  return out;
}

std::string text_of(const X509_NAME* name) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(std::max(0L, size)));
}

std::int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return timegm(&parts);
}

std::string address_of(const ASN1_OCTET_STRING* address) {
  const unsigned char* bytes = ASN1_STRING_get0_data(address);
  const int size = ASN1_STRING_length(address);
  std::string out;
  for (int i = 0; size == 4 && i < 4; ++i) {
    out += (i == 0 ? "" : ".") + std::to_string(bytes[i]);
  }
  return out;
}

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> out;
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      const ASN1_IA5STRING* dns = name->d.dNSName;
      out.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(dns)),
                       static_cast<std::size_t>(ASN1_STRING_length(dns)));
    }
    if (name->type == GEN_IPADD) out.push_back(address_of(name->d.iPAddress));
  }
  return out;
}

std::string public_key_of(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

Certificate describe(X509* certificate) {
  Certificate out;
  out.subject = text_of(X509_get_subject_name(certificate));
  out.issuer = text_of(X509_get_issuer_name(certificate));
  out.names = names_of(certificate);
  out.not_before = seconds_of(X509_get0_notBefore(certificate));
  out.not_after = seconds_of(X509_get0_notAfter(certificate));
  if (EVP_PKEY* key = X509_get0_pubkey(certificate)) {
    const char* type = EVP_PKEY_get0_type_name(key);
    out.key_type = type == nullptr ? "" : type;
    out.key_bits = EVP_PKEY_get_bits(key);
    out.public_key = public_key_of(key);
    out.self_issued =
        X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
    out.self_signed = out.self_issued && X509_verify(certificate, key) == 1;
  }
  int digest = NID_undef;
  if (X509_get_signature_info(certificate, &digest, nullptr, nullptr, nullptr) == 1 &&
      digest != NID_undef) {
    const char* name = OBJ_nid2sn(digest);
    out.signature_digest = name == nullptr ? "" : name;
    std::ranges::transform(out.signature_digest, out.signature_digest.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  }
  if (STACK_OF(OPENSSL_STRING)* urls = X509_get1_ocsp(certificate)) {
    out.has_ocsp = sk_OPENSSL_STRING_num(urls) > 0;
    X509_email_free(urls);
  }
  out.must_staple = X509_get_ext_by_NID(certificate, NID_tlsfeature, -1) >= 0;
  return out;
}

Suite describe(const SSL_CIPHER* cipher) {
  Suite out;
  out.name = SSL_CIPHER_get_name(cipher);
  out.version = SSL_CIPHER_get_version(cipher);
  const int exchange = SSL_CIPHER_get_kx_nid(cipher);
  const int bulk = SSL_CIPHER_get_cipher_nid(cipher);
  out.ephemeral_dh = exchange == NID_kx_dhe || exchange == NID_kx_dhe_psk;
  out.forward_secret = exchange == NID_kx_ecdhe || exchange == NID_kx_ecdhe_psk ||
                       out.ephemeral_dh || exchange == NID_kx_any;
  out.aead = SSL_CIPHER_is_aead(cipher) == 1;
  out.anonymous = SSL_CIPHER_get_auth_nid(cipher) == NID_auth_null;
  out.null_cipher = bulk == NID_undef;
  out.rc4 = bulk == NID_rc4;
  out.triple_des = bulk == NID_des_ede3_cbc || bulk == NID_des_cbc;
  out.cbc = !out.aead && !out.null_cipher && !out.rc4;
  return out;
}

/// The words of a cipher list, with what stands before them.
std::vector<std::string> words_of(std::string_view list) {
  std::vector<std::string> out;
  std::size_t at = 0;
  while (at <= list.size()) {
    const std::size_t end = std::min(list.find_first_of(":, ;", at), list.size());
    if (end > at) out.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

/// What `word` would bring in, unless another word shuts it out. "!DES" is about single DES only.
Suite lost_suite(const std::string& word, const std::vector<std::string>& words) {
  const auto excluded = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::any_of(names, [&](std::string_view name) {
      return std::ranges::find(words, std::string("!").append(name)) != words.end();
    });
  };
  const auto has = [&](std::string_view part) { return word.find(part) != std::string::npos; };
  const bool shut_out = excluded({word}) || (word.ends_with("-SHA") && excluded({"SHA", "SHA1"}));
  Suite out;
  out.name = word;
  out.version = "SSLv3";
  if (shut_out) return out;
  const bool triple = has("DES-CBC3") || has("3DES");
  const bool single = !triple && (has("DES-CBC") || word == "DES");
  out.rc4 = has("RC4") && !excluded({"RC4"});
  out.triple_des = (triple && !excluded({"3DES"})) || (single && !excluded({"DES"}));
  out.export_grade = word.starts_with("EXP") && !excluded({"EXP", "EXPORT"});
  out.null_cipher = (word == "NULL" || word == "eNULL") && !excluded({"NULL", "eNULL"});
  out.anonymous = (word == "ADH" || word == "AECDH" || word == "aNULL") && !excluded({"aNULL"});
  return out;
}

/// Ciphers that today's library has lost, by the words that would bring them in elsewhere.
void add_lost_ciphers(const std::string& list, std::vector<Suite>& out) {
  const std::vector<std::string> words = words_of(list);
  for (const std::string& word : words) {
    // "+" only moves what is there.
    if (std::string_view("!-@+").find(word[0]) != std::string_view::npos) continue;
    if (std::ranges::any_of(out, [&](const Suite& s) { return s.name == word; })) continue;
    Suite lost = lost_suite(word, words);
    if (lost.rc4 || lost.triple_des || lost.export_grade || lost.null_cipher || lost.anonymous) {
      out.push_back(std::move(lost));
    }
  }
}

}  // namespace

std::vector<Certificate> parse_certificates(std::string_view pem) {
  std::vector<Certificate> out;
  for (const X509Ptr& one : read_all(pem)) out.push_back(describe(one.get()));
  return out;
}

bool issued_by(std::string_view pem, std::size_t subject, std::size_t issuer) {
  const std::vector<X509Ptr> all = read_all(pem);
  if (subject >= all.size() || issuer >= all.size()) return false;
  return X509_check_issued(all[issuer].get(), all[subject].get()) == X509_V_OK;
}

std::optional<std::string> public_half(std::string_view private_key_pem) {
  const BioPtr bio = memory(private_key_pem);
  if (bio == nullptr) return std::nullopt;
  const KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return std::nullopt;
  return public_key_of(key.get());
}

int dh_bits(std::string_view pem) {
  const BioPtr bio = memory(pem);
  if (bio == nullptr) return 0;
  const KeyPtr parameters(PEM_read_bio_Parameters(bio.get(), nullptr));
  return parameters == nullptr ? 0 : EVP_PKEY_get_bits(parameters.get());
}

std::vector<Suite> expand_ciphers(const std::string& list, bool& valid) {
  std::vector<Suite> out;
  valid = false;
  const CtxPtr context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return out;
  // Level 0, so that weak suites are listed rather than hidden by this host's policy.
  SSL_CTX_set_security_level(context.get(), 0);
  SSL_CTX_set_ciphersuites(context.get(), "");
  if (SSL_CTX_set_cipher_list(context.get(), list.c_str()) == 1) {
    valid = true;
    const STACK_OF(SSL_CIPHER)* suites = SSL_CTX_get_ciphers(context.get());
    for (int i = 0; i < sk_SSL_CIPHER_num(suites); ++i) {
      Suite suite = describe(sk_SSL_CIPHER_value(suites, i));
      // Without a key that both sides were given, which nginx has no directive for, these are never
      // chosen.
      const bool shared_key =
          suite.name.find("PSK") != std::string::npos || suite.name.starts_with("SRP-");
      if (!shared_key) out.push_back(std::move(suite));
    }
  }
  add_lost_ciphers(list, out);
  return out;
}

}  // namespace merlon::audit
