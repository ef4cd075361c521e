#include "tls/context_setup.h"

#include "tls/certificates.h"

namespace merlon::tls {

namespace {
// RFC 9325 §4.2 without AES-128: all are forward-secret AEADs. AES first, since servers have
// hardware for it; SSL_OP_PRIORITIZE_CHACHA turns that round for clients that have not.
constexpr const char* kSuites13 = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kSuites13Aes128 =
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
constexpr const char* kSuites12 =
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr const char* kSuites12Aes128 =
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
constexpr int kSecurityLevel = 2;  // no RSA under 2048 bits, no SHA-1 in signatures
}  // namespace

bool set_up_protocol(SSL_CTX* context, MinVersion min_version, bool allow_aes128) noexcept {
  const int lowest = min_version == MinVersion::kTls13 ? TLS1_3_VERSION : TLS1_2_VERSION;
  SSL_CTX_set_security_level(context, kSecurityLevel);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_info_callback(context, &Callbacks::on_info);
  return SSL_CTX_set_min_proto_version(context, lowest) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, allow_aes128 ? kSuites13Aes128 : kSuites13) == 1 &&
         SSL_CTX_set_cipher_list(context, allow_aes128 ? kSuites12Aes128 : kSuites12) == 1 &&
         SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1;
}

bool use_pair(SSL_CTX* context, const CertificatePair& pair) {
  if (SSL_CTX_use_certificate(context, pair.certificate()) != 1) return false;
  if (SSL_CTX_use_PrivateKey(context, pair.key()) != 1) return false;
  for (X509* intermediate : pair.intermediates())
    if (SSL_CTX_add1_chain_cert(context, intermediate) != 1) return false;
  return true;
}

std::string alpn_wire_form(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& protocol : protocols) {
    wire.push_back(static_cast<char>(protocol.size()));
    wire += protocol;
  }
  return wire;
}

}  // namespace merlon::tls
