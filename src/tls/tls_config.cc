#include "tls/tls_config.h"

#include "base/ip.h"
#include "config/schema.h"

namespace merlon::tls {

namespace {

// One listener with more names than this wants to be split; the table itself would hold more.
constexpr std::size_t kCertificatesMax = 1024;

bool is_label_byte(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/// What is wrong with a DNS name in lower case, or "".
std::string dns_name_problem(std::string_view text) {
  if (text.empty() || text.size() > 253) return "a DNS name has 1 to 253 characters";
  std::size_t label = 0;
  for (const char c : text) {
    if (c == '.') {
      if (label == 0) return "a label of the name is empty";
      label = 0;
    } else if (!is_label_byte(c)) {
      return "a DNS name consists of lower-case letters, digits, `-`, `_` and dots";
    } else if (++label > 63) {
      return "a label of the name is longer than 63 characters";
    }
  }
  return label == 0 ? "the name ends in a dot" : "";
}

config::Type<std::string> server_name() {
  return config::custom<std::string>(
      {.name = "DNS name or IP address",
       .example = "orders.internal",
       .parse = [](std::string_view text) -> std::expected<std::string, std::string> {
         if (const auto address = IpAddress::parse(text)) return address->to_string();
         std::string problem = dns_name_problem(text);
         if (!problem.empty()) return std::unexpected(std::move(problem));
         return std::string(text);
       },
       .format = [](const std::string& name) { return name; }});
}

const config::Object<ClientAuthFiles>& client_auth_schema() {
  static const auto schema =
      config::Object<ClientAuthFiles>(
          "client auth",
          "Client certificates (mTLS). Chain, purpose, dates and revocation are verified; routes "
          "choose with `auth: {client_cert: …}` which certificates they accept. TLS sessions are "
          "not resumed: every connection does a full handshake.")
          .required("ca", &ClientAuthFiles::ca, config::file(),
                    "PEM file: the trusted certificate authorities.")
          .field("crl", &ClientAuthFiles::crl, config::file(),
                 "PEM file: the revocation list of each authority. If it is given, a certificate "
                 "whose authority has no list, or an expired one, is refused.")
          .field("required", &ClientAuthFiles::required, config::boolean(),
                 "Whether the handshake fails for clients without a certificate. With `false` the "
                 "routes decide.")
          .mark(&ClientAuthFiles::at);
  return schema;
}

const config::Object<CertificateFiles>& certificate_files_schema() {
  static const auto schema =
      config::Object<CertificateFiles>("listener certificate", "A certificate and its private key.")
          .required("cert", &CertificateFiles::cert, config::file(),
                    "PEM file: the certificate, then its intermediates in order.")
          .required("key", &CertificateFiles::key, config::secret_file(),
                    "PEM file: the private key, unencrypted. Mode 0600, or 0640 with a group.")
          .later("acme", "certificates by ACME")
          .field("client_auth", &CertificateFiles::client_auth,
                 config::object(client_auth_schema()),
                 "Client certificates for the names of this certificate, in place of the "
                 "listener's `client_auth`.")
          .mark(&CertificateFiles::at);
  return schema;
}

void check_upstream(const UpstreamTls& tls, Diagnostics& out) {
  if (tls.cert.has_value() == tls.key.has_value()) return;
  const Mark& at = tls.cert.has_value() ? tls.cert->at : tls.key->at;
  out.error(at, tls.cert.has_value() ? "`cert` without `key`" : "`key` without `cert`",
            "a client certificate needs both");
}

}  // namespace

const config::Object<ListenerTls>& listener_tls_schema() {
  static const auto schema =
      config::Object<ListenerTls>(
          "listener tls",
          "TLS towards clients: 1.2 with ECDHE and 1.3, AES-256-GCM and ChaCha20-Poly1305. The "
          "certificate is chosen by the server name (SNI) that the client sends; a name without a "
          "certificate is refused. A client that sends no name is served only if a certificate "
          "carries the IP address it connected to.")
          .required(
              "certificates", &ListenerTls::certificates,
              config::list_of(config::object(certificate_files_schema()), 1, kCertificatesMax),
              "The certificates. An RSA and an ECDSA certificate may carry the same name.")
          .field(
              "min_version", &ListenerTls::min_version,
              config::words<MinVersion>({{"1.2", MinVersion::kTls12}, {"1.3", MinVersion::kTls13}}),
              "The lowest TLS version that is accepted.")
          .field("client_auth", &ListenerTls::client_auth, config::object(client_auth_schema()),
                 "Client certificates (mTLS).")
          .mark(&ListenerTls::at);
  return schema;
}

const config::Object<UpstreamTls>& upstream_tls_schema() {
  static const auto schema =
      config::Object<UpstreamTls>(
          "upstream tls",
          "TLS towards endpoints. Their certificates are always verified, chain and name.")
          .field("ca", &UpstreamTls::ca, config::file(),
                 "PEM file: the trusted certificate authorities.")
          .absent("the system's")
          .field("cert", &UpstreamTls::cert, config::file(),
                 "PEM file: the client certificate that is presented, then its intermediates.")
          .field("key", &UpstreamTls::key, config::secret_file(),
                 "PEM file: the private key of `cert`, unencrypted.")
          .field("server_name", &UpstreamTls::server_name, server_name(),
                 "The name that the certificate must carry; a DNS name is also sent as SNI.")
          .absent("the host of the endpoint")
          .mark(&UpstreamTls::at)
          .check(&check_upstream);
  return schema;
}

}  // namespace merlon::tls
