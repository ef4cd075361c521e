#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "io/broker.h"
#include "tls/tls_config.h"

struct x509_st;
struct evp_pkey_st;

namespace merlon::tls {

/// What a certificate is good for: its subject alternative names. The subject is never looked at
/// (RFC 9525 §6.3), nor are names of other types (CVE-2022-21656) or with a NUL (CVE-2025-66220).
struct CertificateNames {
  std::vector<std::string> dns;  ///< lower case; "*.example.com" stands for one label
  std::vector<IpAddress> ips;

  /// True when `host` is one of the names: a lower-case DNS name without port and final dot, or an
  /// IP address without brackets.
  [[nodiscard]] bool covers(std::string_view host) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return dns.empty() && ips.empty(); }
  /// "a.example, *.b.example, 192.0.2.1", for messages.
  [[nodiscard]] std::string to_string() const;
};

/// True when `name` fits `pattern`, an exact name or one with `*` as its whole first label. Both
/// lower case. RFC 9525 §6.3.
[[nodiscard]] bool name_matches(std::string_view pattern, std::string_view name) noexcept;

/// A certificate with its chain and its private key, parsed and found fit for use. Immutable,
/// shared by contexts of several workers.
class CertificatePair {
 public:
  ~CertificatePair();
  CertificatePair(const CertificatePair&) = delete;
  CertificatePair& operator=(const CertificatePair&) = delete;

  [[nodiscard]] const CertificateNames& names() const noexcept { return names_; }
  [[nodiscard]] WallTime not_before() const noexcept { return not_before_; }
  [[nodiscard]] WallTime not_after() const noexcept { return not_after_; }
  /// "RSA", "EC", "ED25519".
  [[nodiscard]] std::string_view key_type() const noexcept { return key_type_; }
  /// Where the configuration names it.
  [[nodiscard]] const Mark& at() const noexcept { return at_; }

  [[nodiscard]] x509_st* certificate() const noexcept { return chain_.front(); }
  /// The intermediates, leaf excluded.
  [[nodiscard]] std::vector<x509_st*> intermediates() const {
    return {chain_.begin() + 1, chain_.end()};
  }
  [[nodiscard]] evp_pkey_st* key() const noexcept { return key_; }

 private:
  friend class PairLoader;
  CertificatePair() = default;

  CertificateNames names_;
  WallTime not_before_;
  WallTime not_after_;
  std::string_view key_type_;
  Mark at_;
  std::vector<x509_st*> chain_;
  evp_pkey_st* key_ = nullptr;
};

/// A pair that cannot be used: its names are closed while everything else is served.
struct FailedPair {
  Mark at;
  CertificateNames names;  ///< as far as the certificate could be read
};

struct LoadedCertificates {
  std::vector<std::shared_ptr<const CertificatePair>> pairs;
  std::vector<FailedPair> failed;
  /// True when some pair covers `host`. For the rule cert-san-mismatch over the hosts of routes.
  [[nodiscard]] bool covers(std::string_view host) const noexcept;
};

/// Reads and judges the pairs. Findings go to `out`, at the value in the configuration, with the
/// slug of the catalogue: cert-expired, cert-key-mismatch, cert-weak-key-sig, cert-chain-order,
/// key-permissions, cert-san-mismatch (a certificate without any usable name). Unreadable, foreign
/// and encrypted files are plain errors. A certificate out of its dates is an error, yet its pair
/// is loaded: no running or starting node changes because a date passed. Any other error closes the
/// pair. Less than 30 days left is a warning. Blocks on files: for the control thread.
[[nodiscard]] LoadedCertificates load_certificates(const std::vector<CertificateFiles>& files,
                                                   io::Broker& broker, WallTime now,
                                                   Diagnostics& out);

/// Reads and judges the certificate that is presented to an upstream; as above, but it needs no
/// names. nullptr after an error that makes it unfit.
[[nodiscard]] std::shared_ptr<const CertificatePair> load_client_certificate(
    const CertificateFiles& files, io::Broker& broker, WallTime now, Diagnostics& out);

}  // namespace merlon::tls
