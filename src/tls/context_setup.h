#pragma once

#include "tls/openssl_ptr.h"
#include "tls/tls_config.h"

/// What contexts of both sides share. For this room's own sources.
namespace merlon::tls {

/// Versions, suites, groups and the options that nobody may change. False when OpenSSL refuses.
[[nodiscard]] bool set_up_protocol(SSL_CTX* context, MinVersion min_version,
                                   bool allow_aes128) noexcept;

/// Puts a certificate with its chain and key into a context, beside those of other key types.
[[nodiscard]] bool use_pair(SSL_CTX* context, const class CertificatePair& pair);

/// The list of protocols as ALPN has it on the wire. Names of 1 to 255 bytes.
[[nodiscard]] std::string alpn_wire_form(const std::vector<std::string>& protocols);

/// What an alert that was received is called (RFC 8446 §6). That a server wants a certificate it
/// tells after a handshake of TLS 1.3, in answer to what was sent first.
[[nodiscard]] std::uint16_t code_of_alert(int alert) noexcept;

/// OpenSSL's calls back into streams; defined with TlsStream, found by SSL_get_app_data.
struct Callbacks {
  static int on_client_hello(SSL* ssl, int* alert, void*) noexcept;
  static void on_info(const SSL* ssl, int where, int value) noexcept;
  static int on_new_session(SSL* ssl, SSL_SESSION* session) noexcept;
};

}  // namespace merlon::tls
