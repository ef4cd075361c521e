#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "io/broker.h"
#include "tls/certificates.h"
#include "tls/tls_config.h"

struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;
struct x509_store_st;

namespace merlon::tls {

/// How TLS is spoken to an upstream.
struct ClientSettings {
  std::string ca_pem;       ///< the authorities that are trusted; at least one
  std::string server_name;  ///< DNS name or IP address, verified; a DNS name is sent (SNI)
  MinVersion min_version = MinVersion::kTls12;
  bool allow_aes128 = false;        ///< only by a waiver of `tls-aes128`
  std::vector<std::string> alpn{};  ///< offered; empty: no ALPN
};

/// What is needed to open TLS connections to one upstream name: authorities, the name to verify, a
/// client certificate, sessions to resume. The certificate is always verified. Immutable but for
/// the sessions; shared by all workers; thread-safe.
class ClientContext {
 public:
  /// Builds the context; `client` may be null. nullptr after an error in `out`, reported at `at`.
  [[nodiscard]] static std::shared_ptr<ClientContext> make(
      const ClientSettings& settings, std::shared_ptr<const CertificatePair> client, const Mark& at,
      Diagnostics& out);
  /// From configuration: reads the files through `broker`. `endpoint_host` is the name to verify
  /// when the block has no `server_name`. In place of authorities, and of a client certificate,
  /// that are an error in `out`, those of `in_force` stay, each for itself. nullptr where neither
  /// can be used. Blocks on files: for the control thread.
  [[nodiscard]] static std::shared_ptr<ClientContext> load(
      const UpstreamTls& config, std::string_view endpoint_host, bool allow_aes128,
      std::vector<std::string> alpn, io::Broker& broker, WallTime now, Diagnostics& out,
      const ClientContext* in_force = nullptr);
  ~ClientContext();
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;

  [[nodiscard]] const std::string& server_name() const noexcept { return server_name_; }
  [[nodiscard]] ssl_ctx_st* native() const noexcept { return context_; }
  /// What upstreams are shown; null: nothing.
  [[nodiscard]] const CertificatePair* client() const noexcept { return client_.get(); }

  /// Prepares a new connection: name, verification, a session to resume when there is one. False
  /// when memory is short.
  [[nodiscard]] bool prepare(ssl_st* ssl);
  /// Keeps a session for later; takes the reference. At most 16 are kept, the oldest goes first.
  void keep(ssl_session_st* session);

 private:
  ClientContext() = default;
  /// As `make`, with authorities that were read.
  [[nodiscard]] static std::shared_ptr<ClientContext> make(
      const ClientSettings& settings, x509_store_st* authorities,
      std::shared_ptr<const CertificatePair> client, const Mark& at, Diagnostics& out);
  /// A session to resume, with a reference; nullptr when there is none.
  [[nodiscard]] ssl_session_st* take();

  std::string server_name_;
  bool is_address_ = false;
  ssl_ctx_st* context_ = nullptr;
  std::shared_ptr<const CertificatePair> client_;
  std::mutex mutex_;
  std::vector<ssl_session_st*> sessions_;
};

}  // namespace merlon::tls
