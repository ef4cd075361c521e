#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>

#include "tls/context_setup.h"
#include "tls/openssl_ptr.h"
#include "tls/tls_stream.h"

/// The handshake: its start, the choice of a certificate, and what its failures are called.
namespace merlon::tls {

namespace {

constexpr int kServerNameExtension = 0;  // RFC 6066 §3
constexpr int kAlertReasons = 1000;      // SSL_AD_REASON_OFFSET: reasons above are alerts received

using Bytes = std::span<const unsigned char>;

std::size_t big_endian16(Bytes bytes) noexcept { return std::size_t{bytes[0]} << 8 | bytes[1]; }

Bytes extension(SSL* ssl, unsigned type) noexcept {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, type, &data, &size) != 1) return {};
  return {data, size};
}

/// The host name of a server_name extension: a list with exactly one entry, of type host_name
/// (RFC 6066 §3). False when it is malformed; an absent extension gives an empty name.
bool read_server_name(Bytes raw, std::string& name) {
  if (raw.empty()) return true;
  if (raw.size() < 5 || big_endian16(raw) != raw.size() - 2 || raw[2] != 0) return false;
  if (big_endian16(raw.subspan(3)) != raw.size() - 5) return false;
  const Bytes text = raw.subspan(5);
  if (text.empty() || text.size() > 255) return false;
  name.assign(reinterpret_cast<const char*>(text.data()), text.size());
  return true;
}

/// Notes what the client offers, for the log line of a failure.
void read_offer(SSL* ssl, ClientOffer& offer) {
  const Bytes versions = extension(ssl, TLSEXT_TYPE_supported_versions);
  const auto add_version = [&](std::size_t version) {
    if (offer.version_count < offer.versions.size())
      offer.versions[offer.version_count++] = static_cast<std::uint16_t>(version);
  };
  for (std::size_t i = 1; i + 1 < versions.size(); i += 2)
    add_version(big_endian16(versions.subspan(i)));
  if (versions.empty()) add_version(SSL_client_hello_get0_legacy_version(ssl));
  const unsigned char* data = nullptr;
  const std::size_t size = SSL_client_hello_get0_ciphers(ssl, &data);
  const Bytes suites(data, size);
  for (std::size_t i = 0; i + 1 < suites.size() && offer.suite_count < offer.suites.size(); i += 2)
    offer.suites[offer.suite_count++] = static_cast<std::uint16_t>(big_endian16(suites.subspan(i)));
  offer.suites_offered = static_cast<std::uint16_t>(size / 2);
}

std::uint16_t code_of_reason(int reason) noexcept {
  if (reason > kAlertReasons) return code_of_alert(reason - kAlertReasons);
  switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_WRONG_VERSION_NUMBER:
      return code::kTlsVersion;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
      return code::kTlsNoSharedCipher;
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return code::kTlsAlpn;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return code::kTlsPeerCertificate;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
      return code::kTlsNotTls;
    default:
      return code::kTlsHandshake;
  }
}

}  // namespace

std::uint16_t code_of_alert(int alert) noexcept {
  return alert == TLS13_AD_CERTIFICATE_REQUIRED ? code::kTlsCertificateWanted : code::kTlsAlert;
}

bool TlsStream::start() noexcept {
  BIO_METHOD* method = bio_method();
  ssl_ = SSL_new(server_ ? server_->base() : client_->native());
  BIO* bio = method == nullptr ? nullptr : BIO_new(method);
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return false;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  if (server_) {
    SSL_set_accept_state(ssl_);
    return true;
  }
  SSL_set_connect_state(ssl_);
  return client_->prepare(ssl_);
}

bool TlsStream::refuse(std::uint16_t code, const char* reason) noexcept {
  if (refusal_ == 0) {
    refusal_ = code;
    reason_ = reason;
  }
  return false;
}

/// Goes on with the handshake. 0 when it is done or has to wait (`established_` tells), else why
/// it failed.
std::uint16_t TlsStream::try_handshake() noexcept {
  if (established_) return 0;
  if (ssl_ == nullptr) {
    // A client that sends nothing costs nothing but its socket.
    if (server_ && !readable()) return 0;
    if (!start()) {
      refuse(code::kResources, "no memory for a connection");
      return refusal_;
    }
  }
  loop().send_batch();  // signing takes long
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
  const bool request_follows = result == 1 && server_ && outgoing_.empty() &&
                               !ciphertext().empty() && SSL_version(ssl_) == TLS1_3_VERSION;
  if (request_follows) {
    hold_ticket();
  } else {
    flush();
  }
  if (result == 1) {
    if (!take_client_certificate()) {
      broken_ = true;
      return refusal_;
    }
    established_ = true;
    offer_.reset();
    return 0;
  }
  if (error != SSL_ERROR_WANT_READ) return classify_failure();
  if (input_code_ != 0) {
    reason_ = "the connection broke";
    return input_code_;
  }
  if (output_code_ != 0) {
    reason_ = "the connection broke";
    return output_code_;
  }
  if (!input_ended_) return 0;
  reason_ = "the peer closed the connection";
  return code::kClosed;
}

std::uint16_t TlsStream::classify_failure() noexcept {
  broken_ = true;
  if (refusal_ != 0) return refusal_;
  // The first error of the protocol itself; those before it come from its tools.
  unsigned long error = ERR_get_error();
  for (unsigned long next = error; next != 0 && ERR_GET_LIB(error) != ERR_LIB_SSL;
       next = ERR_get_error())
    error = next;
  const int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  const char* text = ERR_reason_error_string(error);
  reason_ = text == nullptr ? "the handshake failed" : text;
  const std::uint16_t code = code_of_reason(reason);
  // A peer that shows no certificate has none that could be bad.
  const long verified = SSL_get_verify_result(ssl_);
  if (code == code::kTlsPeerCertificate && verified != X509_V_OK)
    reason_ = X509_verify_cert_error_string(verified);
  ERR_clear_error();
  return code;
}

bool TlsStream::Handshake::attempt() noexcept {
  code_ = tls_.try_handshake();
  return code_ != 0 || tls_.established_;
}

Result<void> TlsStream::Handshake::await_resume() noexcept {
  if (code_ == 0) return {};
  tls_.broken_ = true;
  if (code_ == code::kTimedOut) tls_.reason_ = "the handshake took too long";
  if (code_ == code::kCancelled) tls_.reason_ = "cancelled";
  const bool server = tls_.server_ != nullptr;
  return std::unexpected(Error{.code = code_,
                               .blame = server ? Blame::kClient : Blame::kUpstream,
                               .retryable = !server,
                               .what = tls_.reason_});
}

HandshakeFailure TlsStream::failure() const noexcept {
  return {.reason = reason_, .alert = alert_, .offer = offer_.get()};
}

/// Takes in a ClientHello: what it offers, the name it asks for, the certificate for that.
bool TlsStream::choose_site(int* alert) noexcept {
  std::string name;
  *alert = SSL_AD_DECODE_ERROR;
  if (!read_server_name(extension(ssl_, kServerNameExtension), name))
    return refuse(code::kTlsProtocol, "malformed server name");
  if (offer_ != nullptr) {
    // The answer to a HelloRetryRequest must say the same (RFC 8446 §4.1.2).
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    return name == offer_->server_name ||
           refuse(code::kTlsProtocol, "another server name after a retry");
  }
  offer_ = std::make_unique<ClientOffer>();
  read_offer(ssl_, *offer_);
  offer_->server_name = name;
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  server_name_ = std::move(name);
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  if (server_name_.empty()) {
    if (!local_) local_ = local();
    if (local_) site_ = server_->find(local_->address);
    if (site_ == nullptr) return refuse(code::kTlsUnknownName, "no server name");
  } else {
    site_ = server_->find(server_name_);
    if (site_ == nullptr) return refuse(code::kTlsUnknownName, "unknown server name");
  }
  *alert = SSL_AD_INTERNAL_ERROR;
  return enter_site() || refuse(code::kResources, "no memory for a connection");
}

/// Switches to the certificate, and binds sessions to the listener and the name, so that none is
/// resumed under another (CVE-2025-23419).
bool TlsStream::enter_site() noexcept {
  std::string bound = server_->listener();
  bound.push_back('\0');
  bound += server_name_.empty() ? local_->address.to_string() : server_name_;
  // SHA256() would look the algorithm up each time.
  static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  unsigned size = 0;
  if (EVP_Digest(bound.data(), bound.size(), digest.data(), &size, sha256, nullptr) != 1)
    return false;
  if (SSL_set_SSL_CTX(ssl_, site_->context) == nullptr ||
      SSL_set_session_id_context(ssl_, digest.data(), digest.size()) != 1) {
    return false;
  }
  if (server_->asks_by_name()) ask_as(ssl_, site_->context);
  return true;
}

/// Keeps what a listener that asks for certificates was shown. False for names that deceive.
bool TlsStream::take_client_certificate() noexcept {
  if (server_ == nullptr || site_ == nullptr || site_->client_auth == nullptr) return true;
  X509* certificate = SSL_get0_peer_certificate(ssl_);
  if (certificate == nullptr) return true;
  if (SSL_get_verify_result(ssl_) != X509_V_OK)
    return refuse(code::kTlsPeerCertificate, "the certificate was not verified");
  std::vector<X509*> chain;
  const auto* const verified = SSL_get0_verified_chain(ssl_);
  const int length = std::max(sk_X509_num(verified), 0);
  chain.reserve(static_cast<std::size_t>(length));
  for (int i = 0; i < length; ++i) chain.push_back(sk_X509_value(verified, i));
  if (chain.empty()) return refuse(code::kTlsPeerCertificate, "the certificate has no chain");
  auto read = read_client_certificate(chain);
  if (!read.has_value())
    return refuse(code::kTlsPeerCertificate,
                  "the certificate has names that are none, or more than 64");
  client_certificate_ = std::make_unique<const ClientCertificate>(std::move(*read));
  return true;
}

int Callbacks::on_client_hello(SSL* ssl, int* alert, void*) noexcept {
  auto& stream = *static_cast<TlsStream*>(SSL_get_app_data(ssl));
  return stream.choose_site(alert) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

void Callbacks::on_info(const SSL* ssl, int where, int value) noexcept {
  auto& stream = *static_cast<TlsStream*>(SSL_get_app_data(ssl));
  if (where == SSL_CB_READ_ALERT && (value & 0xff) != SSL_AD_CLOSE_NOTIFY)
    stream.alert_ = static_cast<std::uint8_t>(value & 0xff);
  // Messages that we answer or store, and data never: counted, so that they cannot go on for ever.
  const bool message = (where & SSL_CB_LOOP) != 0 || where == SSL_CB_WRITE_ALERT;
  if (stream.established_ && message && stream.extra_messages_ < UINT8_MAX)
    ++stream.extra_messages_;
}

int Callbacks::on_new_session(SSL* ssl, SSL_SESSION* session) noexcept {
  auto& stream = *static_cast<TlsStream*>(SSL_get_app_data(ssl));
  stream.client_->keep(session);
  return 1;
}

}  // namespace merlon::tls
