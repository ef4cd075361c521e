#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/time.h"
#include "io/broker.h"
#include "tls/tls_config.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

/// Client certificates on a listener (mTLS).
namespace merlon::tls {

/// Who may present a certificate, with the files read.
struct ClientAuth {
  std::string ca_pem;   ///< the authorities that are trusted; at least one
  std::string crl_pem;  ///< revocation lists, one for each authority; "": none is asked for
  bool required = true;
  Mark at;

  /// True when both ask the same of clients.
  [[nodiscard]] bool same_as(const ClientAuth& other) const noexcept {
    return ca_pem == other.ca_pem && crl_pem == other.crl_pem && required == other.required;
  }
};

/// The same for what may be absent: no certificate is asked for.
[[nodiscard]] inline bool ask_the_same(const ClientAuth* one, const ClientAuth* other) noexcept {
  return one == other || (one != nullptr && other != nullptr && one->same_as(*other));
}

/// Reads the files. In place of each that is an error in `out`, what `in_force` has of it stays: a
/// list that revokes takes effect whatever became of the authorities. Both stay where no client
/// could enter by what was read; those that are out of their dates have the rule `cert-expired`,
/// and are usable: they refuse. nullopt when there is nothing in its place: a listener without its
/// authorities would let in everybody. Blocks on files: for the control thread.
[[nodiscard]] std::optional<ClientAuth> load_client_auth(const ClientAuthFiles& config,
                                                         io::Broker& broker, WallTime now,
                                                         Diagnostics& out,
                                                         const ClientAuth* in_force = nullptr);

/// Makes a server context ask for certificates and verify them: chain to the authorities, purpose,
/// dates, and revocation of every link when there are lists. Sessions are not resumed: each
/// connection proves itself. False when `auth` cannot be read, which `load_client_auth` rules out,
/// or memory is short.
[[nodiscard]] bool ask_for_certificates(ssl_ctx_st* context, const ClientAuth& auth);
/// Makes a connection ask as `site` does: what it was made with is of the listener.
void ask_as(ssl_st* connection, ssl_ctx_st* site) noexcept;

/// What a verified certificate says of its holder. Kinds of names are told apart: an e-mail address
/// that looks like a host is none (CVE-2022-21656).
struct ClientCertificate {
  std::vector<std::string> dns;     ///< lower case
  std::vector<std::string> uris;    ///< as they stand
  std::vector<std::string> emails;  ///< as they stand
  std::string thumbprint;           ///< SHA-256 of the DER form, in base64url (RFC 8705 §3.1)
  std::string field;                ///< the value of Client-Cert (RFC 9440 §2.1)
  std::string subject;              ///< the distinguished name as RFC 4514 has it; may be ""
  std::string issuer;         ///< the same of whoever signed it, in the chain that was verified
  std::string issuer_sha256;  ///< of the issuer's DER form, 64 hexadecimal digits
  WallTime good_until = WallTime::max();  ///< the first end of a certificate of the chain
};

/// `chain` is the one that was verified, the client's certificate first; at least that. nullopt for
/// a certificate whose names have anything but visible ASCII in them, such as the NUL
/// that hides the rest of a name from C strings, or that has more than 64 of them.
[[nodiscard]] std::optional<ClientCertificate> read_client_certificate(
    std::span<x509_st* const> chain);

}  // namespace merlon::tls
