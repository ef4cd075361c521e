#include "tls/client_context.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>

#include "base/escape.h"
#include "tls/context_setup.h"
#include "tls/key_schedule.h"
#include "tls/openssl_ptr.h"

namespace merlon::tls {

namespace {

constexpr std::size_t kAuthorityBytesMax = 4 * 1024 * 1024;
constexpr std::size_t kSessionsMax = 16;
// A resumed session was verified when it began: it is not trusted for longer than this.
constexpr std::time_t kSessionSecondsMax = 3600;

using StorePtr = std::unique_ptr<X509_STORE, FreeWith<X509_STORE_free>>;

/// Adds every certificate of the text; the number of them, or -1 when one is damaged.
int add_authorities(X509_STORE* store, std::string_view pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  int count = 0;
  while (X509* raw = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const X509Ptr certificate(raw);
    if (X509_STORE_add_cert(store, raw) != 1) return -1;
    ++count;
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  return ERR_GET_REASON(error) == PEM_R_NO_START_LINE ? count : -1;
}

/// Where distributions keep the authorities of the system.
std::optional<std::string> system_authorities(io::Broker& broker) {
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           X509_get_default_cert_file()}) {
    auto text = broker.read_file(path, kAuthorityBytesMax);
    if (text) return std::move(*text);
  }
  return {};
}

/// nullptr after an error in `out`.
StorePtr read_authorities(std::string_view pem, const Mark& at, Diagnostics& out) {
  StorePtr store(X509_STORE_new());
  const int count = store == nullptr ? -1 : add_authorities(store.get(), pem);
  if (count > 0) return store;
  out.error(at,
            count == 0 ? "the file of authorities holds no certificate"
                       : "a certificate among the authorities cannot be read",
            "it must hold certificates in PEM form");
  return nullptr;
}

/// Those of the file, or of the system. nullptr after an error in `out`.
StorePtr load_authorities(const UpstreamTls& config, io::Broker& broker, Diagnostics& out) {
  if (!config.ca) {
    const auto text = system_authorities(broker);
    if (text) return read_authorities(*text, config.at, out);
    out.error(config.at, "this system has no file of authorities",
              "install ca-certificates, or name a file with `ca`");
    return nullptr;
  }
  const std::string& path = (*config.ca)->path;
  const auto text = broker.read_file(path, kAuthorityBytesMax);
  if (text) return read_authorities(*text, config.ca->at, out);
  out.error(config.ca->at,
            fmt::format("cannot read {}: {}", json_quoted(path), text.error().text()));
  return nullptr;
}

std::shared_ptr<ClientContext> refuse(Diagnostics& out, const Mark& at, std::string message,
                                      std::string help) {
  ERR_clear_error();
  out.error(at, std::move(message), std::move(help));
  return nullptr;
}

}  // namespace

std::shared_ptr<ClientContext> ClientContext::make(const ClientSettings& settings,
                                                   std::shared_ptr<const CertificatePair> client,
                                                   const Mark& at, Diagnostics& out) {
  const StorePtr authorities = read_authorities(settings.ca_pem, at, out);
  if (authorities == nullptr) return nullptr;
  return make(settings, authorities.get(), std::move(client), at, out);
}

std::shared_ptr<ClientContext> ClientContext::make(const ClientSettings& settings,
                                                   X509_STORE* authorities,
                                                   std::shared_ptr<const CertificatePair> client,
                                                   const Mark& at, Diagnostics& out) {
  std::shared_ptr<ClientContext> made(new ClientContext);
  made->server_name_ = settings.server_name;
  made->is_address_ = IpAddress::parse(settings.server_name).has_value();
  made->context_ = SSL_CTX_new_ex(nullptr, key_schedule_query(), TLS_client_method());
  SSL_CTX* native = made->context_;
  if (native == nullptr || !set_up_protocol(native, settings.min_version, settings.allow_aes128))
    return refuse(out, at, "the TLS library cannot be set up", "memory may be short");
  SSL_CTX_set1_cert_store(native, authorities);
  if (client != nullptr && !use_pair(native, *client))
    return refuse(out, at, "the client certificate cannot be used", "");
  made->client_ = std::move(client);
  SSL_CTX_set_verify(native, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
  SSL_CTX_sess_set_new_cb(native, &Callbacks::on_new_session);
  const std::string alpn = alpn_wire_form(settings.alpn);
  if (!alpn.empty() &&
      SSL_CTX_set_alpn_protos(native, reinterpret_cast<const unsigned char*>(alpn.data()),
                              static_cast<unsigned>(alpn.size())) != 0)
    return refuse(out, at, "the TLS library cannot be set up", "memory may be short");
  return made;
}

std::shared_ptr<ClientContext> ClientContext::load(const UpstreamTls& config,
                                                   std::string_view endpoint_host,
                                                   bool allow_aes128, std::vector<std::string> alpn,
                                                   io::Broker& broker, WallTime now,
                                                   Diagnostics& out,
                                                   const ClientContext* in_force) {
  ClientSettings settings{.ca_pem = {},
                          .server_name = std::string(endpoint_host),
                          .allow_aes128 = allow_aes128,
                          .alpn = std::move(alpn)};
  if (config.server_name) settings.server_name = config.server_name->value;
  StorePtr authorities = load_authorities(config, broker, out);
  if (authorities == nullptr && in_force != nullptr) {
    authorities.reset(SSL_CTX_get_cert_store(in_force->context_));
    X509_STORE_up_ref(authorities.get());
  }
  std::shared_ptr<const CertificatePair> client;
  if (config.cert && config.key) {
    const std::size_t errors_before = out.error_count();
    client =
        load_client_certificate({*config.cert, *config.key, config.cert->at}, broker, now, out);
    if (in_force != nullptr && out.error_count() != errors_before) client = in_force->client_;
    if (client == nullptr) return nullptr;
  }
  if (authorities == nullptr) return nullptr;
  const Mark& at = config.ca ? config.ca->at : config.at;
  return make(settings, authorities.get(), std::move(client), at, out);
}

ClientContext::~ClientContext() {
  for (SSL_SESSION* session : sessions_) SSL_SESSION_free(session);
  SSL_CTX_free(context_);
}

bool ClientContext::prepare(SSL* ssl) {
  X509_VERIFY_PARAM* verify = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(
      verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (is_address_) {
    if (X509_VERIFY_PARAM_set1_ip_asc(verify, server_name_.c_str()) != 1) return false;
  } else {
    if (X509_VERIFY_PARAM_set1_host(verify, server_name_.data(), server_name_.size()) != 1)
      return false;
    if (SSL_set_tlsext_host_name(ssl, server_name_.c_str()) != 1) return false;
  }
  if (const SessionPtr session{take()}) return SSL_set_session(ssl, session.get()) == 1;
  return true;
}

SSL_SESSION* ClientContext::take() {
  const std::lock_guard lock(mutex_);
  const std::time_t oldest = std::time(nullptr) - kSessionSecondsMax;
  while (!sessions_.empty()) {
    SSL_SESSION* session = sessions_.back();
    const bool fresh =
        SSL_SESSION_get_time(session) >= oldest && SSL_SESSION_is_resumable(session) == 1;
    // A ticket of TLS 1.3 is used once, so that observers cannot link connections (RFC 8446 §C.4).
    const bool reusable = SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION;
    if (fresh && reusable) {
      SSL_SESSION_up_ref(session);
      return session;
    }
    sessions_.pop_back();
    if (fresh) return session;
    SSL_SESSION_free(session);
  }
  return nullptr;
}

void ClientContext::keep(SSL_SESSION* session) {
  const std::lock_guard lock(mutex_);
  if (sessions_.size() == kSessionsMax) {
    SSL_SESSION_free(sessions_.front());
    sessions_.erase(sessions_.begin());
  }
  sessions_.push_back(session);
}

}  // namespace merlon::tls
