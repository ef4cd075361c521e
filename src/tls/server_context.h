#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "tls/certificates.h"
#include "tls/client_auth.h"
#include "tls/ticket_keys.h"
#include "tls/tls_config.h"

struct ssl_ctx_st;
struct ssl_st;

namespace merlon::tls {

/// How a listener speaks TLS, apart from its certificates.
struct ServerSettings {
  std::string listener;  ///< sessions are resumed only on the listener that gave them
  MinVersion min_version = MinVersion::kTls12;
  bool allow_aes128 = false;                  ///< only by a waiver of `tls-aes128`
  std::vector<std::string> alpn{"http/1.1"};  ///< in order of preference
  std::optional<ClientAuth> client_auth{};    ///< absent: no certificate is asked for
  /// Of a certificate that asks for others than the listener does, found by CertificatePair::at.
  struct OwnClientAuth {
    Mark of;
    ClientAuth auth;
  };
  std::vector<OwnClientAuth> own_client_auth{};

  /// Of the certificate at `of`; null: it asks for what the listener does.
  [[nodiscard]] const ClientAuth* own_client_auth_of(const Mark& of) const noexcept;
};

/// What a listener needs to accept TLS: certificates by name, suites, tickets. Immutable; shared by
/// all workers and by the connections that began with it; replaced whole when certificates change.
class ServerContext {
 public:
  /// The certificates that answer for one name, at most one of each key type.
  struct Site {
    ssl_ctx_st* context = nullptr;
    CertificateNames names;                   ///< those that every certificate of the site carries
    const ClientAuth* client_auth = nullptr;  ///< null: no certificate is asked for
  };

  /// Builds the context. Pairs without names, or a second pair with the same name and key type, are
  /// warnings in `out`. Without pairs the context is made all the same and refuses every name.
  /// nullptr only when OpenSSL fails, with an error in `out`.
  [[nodiscard]] static std::shared_ptr<const ServerContext> make(
      const ServerSettings& settings, std::span<const std::shared_ptr<const CertificatePair>> pairs,
      std::shared_ptr<TicketKeys> tickets, Diagnostics& out);
  ~ServerContext();
  ServerContext(const ServerContext&) = delete;
  ServerContext& operator=(const ServerContext&) = delete;

  /// The site for a server name (lower case), exact names first, then wildcards of one label, or
  /// for a literal address, which the certificate must name as such; nullptr when unknown.
  [[nodiscard]] const Site* find(std::string_view server_name) const;
  /// The site for a client that sent no name but connected to `local`.
  [[nodiscard]] const Site* find(const IpAddress& local) const;

  /// True when what clients are asked for depends on the name.
  [[nodiscard]] bool asks_by_name() const noexcept { return !settings_.own_client_auth.empty(); }
  /// True when a connection of `site` may carry requests for `host`: for whom the certificates of
  /// the site are good, and who asks the same of clients (A64).
  [[nodiscard]] bool covers(const Site& site, std::string_view host) const;

  /// What a connection begins with, until its name is known: where there is one site, that one, so
  /// that OpenSSL need not change over.
  [[nodiscard]] ssl_ctx_st* base() const noexcept {
    return sites_.size() == 1 ? sites_.front()->context : base_;
  }
  [[nodiscard]] TicketKeys& tickets() const noexcept { return *tickets_; }
  [[nodiscard]] const std::string& listener() const noexcept { return settings_.listener; }
  [[nodiscard]] const ServerSettings& settings() const noexcept { return settings_; }
  /// The protocols as ALPN has them on the wire: length, name, length, name …
  [[nodiscard]] std::string_view alpn_wire() const noexcept { return alpn_wire_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  friend class ServerContextBuilder;
  ServerContext() = default;

  ServerSettings settings_;
  std::string alpn_wire_;
  std::shared_ptr<TicketKeys> tickets_;
  ssl_ctx_st* base_ = nullptr;
  std::vector<std::unique_ptr<Site>> sites_;
  std::unordered_map<std::string, const Site*, Hash, std::equal_to<>> exact_;
  std::unordered_map<std::string, const Site*, Hash, std::equal_to<>> wildcard_;  ///< without "*."
  std::map<IpAddress, const Site*> addresses_;
};

}  // namespace merlon::tls
