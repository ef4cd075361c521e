#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Certificates and keys as an audit sees them: parsed, never used. The only place of the auditor
/// that knows the cryptographic library.
namespace merlon::audit {

struct Certificate {
  std::string subject;  ///< one line, RFC 2253
  std::string issuer;
  std::vector<std::string> names;  ///< DNS and IP subject alternative names
  std::int64_t not_before = 0;     ///< seconds since 1970 UTC
  std::int64_t not_after = 0;
  std::string key_type;  ///< "RSA", "EC", "ED25519"
  int key_bits = 0;
  std::string signature_digest;  ///< "sha256", "sha1", "md5", "" when it has none (EdDSA)
  bool self_issued = false;      ///< issuer equals subject
  bool self_signed = false;      ///< and its own key verifies the signature
  bool has_ocsp = false;         ///< names an OCSP responder
  bool must_staple = false;
  std::string public_key;  ///< DER of the SubjectPublicKeyInfo
};

/// The certificates of a PEM text, in order; empty when there is none that parses. At most 32.
[[nodiscard]] std::vector<Certificate> parse_certificates(std::string_view pem);
/// True when certificate `issuer` signed certificate `subject`; both by position in `pem`.
[[nodiscard]] bool issued_by(std::string_view pem, std::size_t subject, std::size_t issuer);
/// The public half of a private key in PEM, as DER SubjectPublicKeyInfo; nullopt when it does not
/// parse or is encrypted (a passphrase is never asked for).
[[nodiscard]] std::optional<std::string> public_half(std::string_view private_key_pem);
/// Bits of the prime of Diffie-Hellman parameters in PEM; 0 when they do not parse.
[[nodiscard]] int dh_bits(std::string_view pem);

/// One suite of a cipher list.
struct Suite {
  std::string name;     ///< OpenSSL's, "ECDHE-RSA-AES128-GCM-SHA256"
  std::string version;  ///< "TLSv1.2", "TLSv1.0", "SSLv3"
  bool forward_secret = false;
  bool aead = false;
  bool anonymous = false;
  bool null_cipher = false;
  bool export_grade = false;
  bool rc4 = false;
  bool triple_des = false;
  bool cbc = false;
  bool ephemeral_dh = false;
};

/// The suites up to TLS 1.2 that an OpenSSL cipher string stands for, in order. Words for ciphers
/// that this library was built without (RC4, EXPORT, DES) are added by their names, since the
/// server's library may have them. Empty with `valid` false when no suite is left.
[[nodiscard]] std::vector<Suite> expand_ciphers(const std::string& list, bool& valid);

}  // namespace merlon::audit
