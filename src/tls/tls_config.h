#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "config/schema.h"

/// The `tls:` blocks of the configuration language.
namespace merlon::tls {

/// The lowest version of the protocol that is spoken. Nothing below 1.2 exists here.
enum class MinVersion : std::uint8_t { kTls12, kTls13 };

/// `client_auth`, of a listener or of a certificate.
struct ClientAuthFiles {
  config::Located<config::FilePath> ca;                  ///< authorities, PEM
  std::optional<config::Located<config::FilePath>> crl;  ///< their revocation lists, PEM
  bool required = true;
  Mark at;
};

/// One certificate with its key, both PEM files.
struct CertificateFiles {
  config::Located<config::FilePath> cert;  ///< the certificate, then its intermediates
  config::Located<config::FilePath> key;   ///< unencrypted; readable by its owner and group only
  Mark at;
  std::optional<ClientAuthFiles> client_auth{};  ///< for its names, in place of the listener's
};

/// `listeners[].tls`.
struct ListenerTls {
  std::vector<CertificateFiles> certificates;
  MinVersion min_version = MinVersion::kTls12;
  std::optional<ClientAuthFiles> client_auth;
  Mark at;
};

/// `upstreams.*.tls`. An empty block means: TLS, verified against the authorities of the system.
struct UpstreamTls {
  std::optional<config::Located<config::FilePath>> ca;    ///< absent: the system's authorities
  std::optional<config::Located<config::FilePath>> cert;  ///< client certificate; with `key`
  std::optional<config::Located<config::FilePath>> key;
  /// The DNS name or IP address that the certificate must carry and that is sent as SNI; absent:
  /// the host of the endpoint.
  std::optional<config::Located<std::string>> server_name;
  Mark at;
};

[[nodiscard]] const config::Object<ListenerTls>& listener_tls_schema();
[[nodiscard]] const config::Object<UpstreamTls>& upstream_tls_schema();

}  // namespace merlon::tls
