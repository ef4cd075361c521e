#include "tls/server_context.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <span>

#include "tls/context_setup.h"
#include "tls/key_schedule.h"
#include "tls/openssl_ptr.h"

namespace merlon::tls {

namespace {

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_bytes,
                    const unsigned char* offered, unsigned offered_bytes, void* context) noexcept {
  const std::string_view ours = static_cast<const ServerContext*>(context)->alpn_wire();
  unsigned char* found = nullptr;
  const int outcome = SSL_select_next_proto(
      &found, chosen_bytes, reinterpret_cast<const unsigned char*>(ours.data()),
      static_cast<unsigned>(ours.size()), offered, offered_bytes);
  if (outcome != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

// Looked up once: a lookup for each ticket would cost more than the encryption.
const EVP_CIPHER* ticket_cipher() noexcept {
  static EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  return cipher;
}

/// Fills `into` from RAND_bytes(3), which is asked for many tickets at once: a call costs the same
/// for 16 bytes and for 512, and enters the kernel to see whether the process has forked, which
/// workers never do. What is given out is wiped here. At most kDrawn bytes; false when OpenSSL has
/// no randomness.
bool draw_random(std::span<unsigned char> into) noexcept {
  static constexpr std::size_t kDrawn = 512;
  struct Drawn {
    std::array<unsigned char, kDrawn> bytes{};
    std::size_t left = 0;
  };
  thread_local Drawn drawn;
  if (drawn.left < into.size()) {
    if (RAND_bytes(drawn.bytes.data(), kDrawn) != 1) return false;
    drawn.left = kDrawn;
  }
  drawn.left -= into.size();
  const std::span given = std::span(drawn.bytes).subspan(drawn.left, into.size());
  std::ranges::copy(given, into.begin());
  OPENSSL_cleanse(given.data(), given.size());
  return true;
}

/// Sessions live in tickets, where nothing looks at their ids but the client's store.
int name_session(SSL*, unsigned char* id, unsigned* bytes) noexcept {
  return draw_random({id, *bytes}) ? 1 : 0;
}

constexpr std::size_t kTicketIvBytes = 16;  // of AES in any mode

bool set_ticket_mac(EVP_MAC_CTX* mac, TicketKeys::Key& key) noexcept {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/// SSL_CTX_set_tlsext_ticket_key_evp_cb(3): encrypt-then-MAC is OpenSSL's part, keys are ours.
int ticket_keys(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                EVP_MAC_CTX* mac, int encrypt) noexcept {
  auto* tickets = static_cast<TicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  if (encrypt != 0) {
    std::optional<TicketKeys::Key> key = tickets->current();
    if (!key) return 0;
    std::ranges::copy(key->name, name);
    if (!draw_random({iv, kTicketIvBytes})) return -1;
    if (EVP_EncryptInit_ex2(cipher, ticket_cipher(), key->aes.data(), iv, nullptr) != 1) return -1;
    return set_ticket_mac(mac, *key) ? 1 : -1;
  }
  bool renew = false;
  std::optional<TicketKeys::Key> key = tickets->find(name, renew);
  if (!key) return 0;
  if (!set_ticket_mac(mac, *key)) return -1;
  if (EVP_DecryptInit_ex2(cipher, ticket_cipher(), key->aes.data(), iv, nullptr) != 1) return -1;
  // 2 gives a new ticket: in TLS 1.3 each is used once (RFC 8446 §C.4).
  return renew || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

}  // namespace

/// Groups pairs by the names they share and makes an SSL_CTX for each group.
class ServerContextBuilder {
 public:
  using Pair = std::shared_ptr<const CertificatePair>;
  using Pairs = std::vector<Pair>;

  ServerContextBuilder(const ServerSettings& settings, std::shared_ptr<TicketKeys> tickets,
                       Diagnostics& out)
      : context_(new ServerContext), out_(out) {
    context_->settings_ = settings;
    context_->alpn_wire_ = alpn_wire_form(settings.alpn);
    context_->tickets_ = std::move(tickets);
  }

  std::shared_ptr<const ServerContext> build(std::span<const Pair> pairs) {
    context_->base_ = make_context({});
    if (context_->base_ == nullptr) return nullptr;
    for (const Pair& pair : pairs) {
      for (const std::string& name : pair->names().dns) add(by_name_[name], pair, name);
      for (const IpAddress& ip : pair->names().ips) add(by_address_[ip], pair, ip.to_string());
    }
    for (const auto& [name, group] : by_name_) {
      const ServerContext::Site* site = site_of(group);
      if (site == nullptr) return nullptr;
      if (name.starts_with("*."))
        context_->wildcard_.emplace(name.substr(2), site);
      else
        context_->exact_.emplace(name, site);
    }
    for (const auto& [ip, group] : by_address_) {
      const ServerContext::Site* site = site_of(group);
      if (site == nullptr) return nullptr;
      context_->addresses_.emplace(ip, site);
    }
    return context_;
  }

 private:
  void add(Pairs& group, const Pair& pair, const std::string& name) {
    if (!group.empty() && !asks_alike(*group.front(), *pair)) {
      out_.error(
          pair->at(),
          fmt::format("another certificate for the name {} asks clients for something else", name),
          "give both the same `client_auth`");
      return;
    }
    const auto same_type = std::ranges::find_if(
        group, [&](const Pair& other) { return other->key_type() == pair->key_type(); });
    if (same_type == group.end()) {
      group.push_back(pair);
    } else if (*same_type != pair) {
      out_.warning(pair->at(),
                   fmt::format("the name {} has another {} certificate already, which is used",
                               name, pair->key_type()),
                   "leave one of them out");
    }
  }

  /// What the clients of a certificate are asked for; null: nothing.
  const ClientAuth* client_auth_of(const CertificatePair& pair) const {
    const ServerSettings& settings = context_->settings_;
    if (const ClientAuth* const own = settings.own_client_auth_of(pair.at())) return own;
    return settings.client_auth.has_value() ? &*settings.client_auth : nullptr;
  }

  bool asks_alike(const CertificatePair& one, const CertificatePair& other) const {
    return ask_the_same(client_auth_of(one), client_auth_of(other));
  }

  const ServerContext::Site* site_of(const Pairs& group) {
    const auto known = sites_.find(group);
    if (known != sites_.end()) return known->second;
    SSL_CTX* native = make_context(group);
    if (native == nullptr) return nullptr;
    auto site = std::make_unique<ServerContext::Site>();
    site->context = native;
    site->names = shared_names(group);
    site->client_auth = client_auth_of(*group.front());
    const ServerContext::Site* made = site.get();
    context_->sites_.push_back(std::move(site));
    sites_.emplace(group, made);
    return made;
  }

  static CertificateNames shared_names(const Pairs& group) {
    CertificateNames names = group.front()->names();
    for (const Pair& pair : group) {
      const CertificateNames& other = pair->names();
      std::erase_if(names.dns, [&](const std::string& name) {
        return std::ranges::find(other.dns, name) == other.dns.end();
      });
      std::erase_if(names.ips, [&](const IpAddress& ip) {
        return std::ranges::find(other.ips, ip) == other.ips.end();
      });
    }
    return names;
  }

  SSL_CTX* make_context(const Pairs& group) {
    SslCtxPtr native(SSL_CTX_new_ex(nullptr, key_schedule_query(), TLS_server_method()));
    const ServerSettings& settings = context_->settings_;
    const ClientAuth* const auth = !group.empty() ? client_auth_of(*group.front())
                                   : settings.client_auth.has_value() ? &*settings.client_auth
                                                                      : nullptr;
    const bool ok =
        native != nullptr && set_up(native.get(), auth) &&
        std::ranges::all_of(group, [&](const Pair& pair) { return use_pair(native.get(), *pair); });
    if (ok) return native.release();
    const char* why = ERR_reason_error_string(ERR_peek_last_error());
    out_.error(group.empty() ? Mark{} : group.front()->at(),
               fmt::format("the TLS library refuses this: {}", why == nullptr ? "no memory" : why));
    ERR_clear_error();
    return nullptr;
  }

  bool set_up(SSL_CTX* native, const ClientAuth* auth) {
    const ServerSettings& settings = context_->settings_;
    if (!set_up_protocol(native, settings.min_version, settings.allow_aes128)) return false;
    SSL_CTX_set_client_hello_cb(native, &Callbacks::on_client_hello, nullptr);
    if (!settings.alpn.empty())
      SSL_CTX_set_alpn_select_cb(native, &choose_protocol, context_.get());
    // Sessions live in tickets only: nothing to fill, nothing to share between workers.
    SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(native, std::chrono::seconds(TicketKeys::kTicketLifetime).count());
    SSL_CTX_set_app_data(native, context_->tickets_.get());
    if (SSL_CTX_set_generate_session_id(native, &name_session) != 1 ||
        SSL_CTX_set_num_tickets(native, 1) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(native, &ticket_keys) != 1) {
      return false;
    }
    return auth == nullptr || ask_for_certificates(native, *auth);
  }

  std::shared_ptr<ServerContext> context_;
  Diagnostics& out_;
  std::map<std::string, Pairs> by_name_;
  std::map<IpAddress, Pairs> by_address_;
  std::map<Pairs, const ServerContext::Site*> sites_;
};

std::shared_ptr<const ServerContext> ServerContext::make(
    const ServerSettings& settings, std::span<const std::shared_ptr<const CertificatePair>> pairs,
    std::shared_ptr<TicketKeys> tickets, Diagnostics& out) {
  return ServerContextBuilder(settings, std::move(tickets), out).build(pairs);
}

const ClientAuth* ServerSettings::own_client_auth_of(const Mark& of) const noexcept {
  const auto found = std::ranges::find_if(
      own_client_auth, [&](const OwnClientAuth& one) { return one.of.same_place(of); });
  return found == own_client_auth.end() ? nullptr : &found->auth;
}

ServerContext::~ServerContext() {
  for (const auto& site : sites_) SSL_CTX_free(site->context);
  SSL_CTX_free(base_);
}

bool ServerContext::covers(const Site& site, std::string_view host) const {
  if (!site.names.covers(host)) return false;
  if (!asks_by_name()) return true;
  const Site* const own = find(host);
  if (own == &site || own == nullptr) return true;
  return ask_the_same(own->client_auth, site.client_auth);
}

const ServerContext::Site* ServerContext::find(std::string_view server_name) const {
  const auto exact = exact_.find(server_name);
  if (exact != exact_.end()) return exact->second;
  // An address is no server name (RFC 6066 §3), yet clients send what stands in their URL: it means
  // the certificate that carries this address, as it does without a name.
  if (const auto literal = IpAddress::parse(server_name)) return find(*literal);
  const std::size_t dot = server_name.find('.');
  if (dot == std::string_view::npos || dot == 0) return nullptr;
  const auto wildcard = wildcard_.find(server_name.substr(dot + 1));
  return wildcard == wildcard_.end() ? nullptr : wildcard->second;
}

const ServerContext::Site* ServerContext::find(const IpAddress& local) const {
  const auto found = addresses_.find(local);
  return found == addresses_.end() ? nullptr : found->second;
}

}  // namespace merlon::tls
