#include "tls/client_auth.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include <algorithm>
#include <ctime>
#include <iterator>

#include "base/ascii.h"
#include "base/base64.h"
#include "base/escape.h"
#include "tls/openssl_ptr.h"

namespace merlon::tls {
namespace {

constexpr std::size_t kFileBytesMax = 4UL * 1024 * 1024;
constexpr int kDepthMax = 4;  // intermediates between a client and its authority
constexpr int kNamesMax = 64;

using CrlPtr = std::unique_ptr<X509_CRL, FreeWith<X509_CRL_free>>;

std::optional<std::string> read(const config::Located<config::FilePath>& file, io::Broker& broker,
                                Diagnostics& out) {
  auto text = broker.read_file(file->path, kFileBytesMax);
  if (text.has_value()) return std::move(*text);
  out.error(file.at,
            fmt::format("cannot read {}: {}", json_quoted(file->path), text.error().text()),
            "without it no client can be verified");
  return std::nullopt;
}

BioPtr open(const std::string& pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

/// True when reading stopped at the end of the text, not at something damaged.
bool ended() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  return ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/// Gives each certificate to `take`. False when that refuses one, one is damaged, or there is none.
template <class Take>
bool each_certificate(const std::string& pem, const Take& take) {
  const BioPtr bio = open(pem);
  int count = 0;
  while (X509* raw = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const X509Ptr certificate(raw);
    if (!take(raw)) return false;
    ++count;
  }
  return ended() && count > 0;
}

/// The same of revocation lists.
template <class Take>
bool each_list(const std::string& pem, const Take& take) {
  const BioPtr bio = open(pem);
  int count = 0;
  while (X509_CRL* raw = PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr)) {
    const CrlPtr list(raw);
    if (!take(raw)) return false;
    ++count;
  }
  return ended() && count > 0;
}

std::optional<std::string> read_authorities(const config::Located<config::FilePath>& file,
                                            io::Broker& broker, Diagnostics& out) {
  auto pem = read(file, broker, out);
  if (!pem.has_value()) return std::nullopt;
  if (each_certificate(*pem, [](X509*) { return true; })) return pem;
  out.error(file.at, "the file of authorities holds no certificate, or a damaged one",
            "it must hold certificates in PEM form");
  return std::nullopt;
}

std::optional<std::string> read_lists(const config::Located<config::FilePath>& file,
                                      io::Broker& broker, Diagnostics& out) {
  auto pem = read(file, broker, out);
  if (!pem.has_value()) return std::nullopt;
  if (each_list(*pem, [](X509_CRL*) { return true; })) return pem;
  out.error(file.at, "the file of revocation lists holds none, or a damaged one",
            "it must hold lists in PEM form, one for each authority");
  return std::nullopt;
}

/// A distinguished name as text (RFC 4514), all but printable ASCII escaped.
std::optional<std::string> written(const X509_NAME* name) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) {
    return std::nullopt;
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

using Authorities = std::vector<X509Ptr>;
using Lists = std::vector<CrlPtr>;

/// Where `now` stands to two dates: before the first, between them, behind the second, of which
/// there may be none.
enum class Age : std::uint8_t { kTooYoung, kGood, kTooOld };
Age age_of(const ASN1_TIME* from, const ASN1_TIME* to, std::time_t now) {
  // 0 is an error, and negative: before.
  if (X509_cmp_time(from, &now) >= 0) return Age::kTooYoung;
  return to == nullptr || X509_cmp_time(to, &now) > 0 ? Age::kGood : Age::kTooOld;
}

std::string subject_of(const X509_NAME* name) {
  const auto text = written(name);
  return text.has_value() ? json_quoted(*text) : "an authority";
}

/// What OpenSSL would let a chain end at: an authority, or whoever signed for itself.
bool is_anchor(X509* certificate) {
  return X509_check_ca(certificate) != 0 ||
         X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
}

constexpr std::string_view kDates = "cert-expired";

void add_finding(Diagnostics& out, const Mark& at, std::string message, const char* help,
                 std::string_view rule = {}) {
  out.add({.severity = Severity::kError,
           .at = at,
           .message = std::move(message),
           .help = help,
           .rule = std::string(rule)});
}

/// An error where no client's chain can end at any of them.
void judge_authorities(const Authorities& all, const Mark& at, std::time_t now, Diagnostics& out) {
  const auto age = [now](const X509Ptr& one) {
    return age_of(X509_get0_notBefore(one.get()), X509_get0_notAfter(one.get()), now);
  };
  const auto anchors = [](const X509Ptr& one) { return is_anchor(one.get()); };
  const auto first = std::ranges::find_if(all, anchors);
  if (first == all.end()) {
    add_finding(
        out, at, "no client can authenticate: none of the certificates is of an authority",
        "name the authority that issues client certificates, not a certificate that it issued");
    return;
  }
  const bool any_good = std::ranges::any_of(
      all, [&](const X509Ptr& one) { return anchors(one) && age(one) == Age::kGood; });
  if (any_good) return;
  add_finding(out, at,
              fmt::format("no client can authenticate: the authority {} {}",
                          subject_of(X509_get_subject_name(first->get())),
                          age(*first) == Age::kTooOld ? "has expired" : "is not valid yet"),
              "renew it, or check the clock of this host", kDates);
}

/// An error where each chain lacks a list of its last link, which is refused then.
void judge_lists(const Authorities& all, const Lists& lists, const Mark& at, std::time_t now,
                 Diagnostics& out) {
  const X509_CRL* out_of_date = nullptr;
  for (const X509Ptr& authority : all) {
    for (const CrlPtr& list : lists) {
      const bool issued = X509_NAME_cmp(X509_get_subject_name(authority.get()),
                                        X509_CRL_get_issuer(list.get())) == 0 &&
                          X509_CRL_verify(list.get(), X509_get0_pubkey(authority.get())) == 1;
      ERR_clear_error();
      if (!issued) continue;
      const Age age =
          age_of(X509_CRL_get0_lastUpdate(list.get()), X509_CRL_get0_nextUpdate(list.get()), now);
      if (age == Age::kGood) return;
      out_of_date = list.get();
    }
  }
  if (out_of_date == nullptr) {
    add_finding(out, at,
                "no client can authenticate: no revocation list is of an authority in `ca`",
                "name the lists of those authorities");
    return;
  }
  const bool over = age_of(X509_CRL_get0_lastUpdate(out_of_date),
                           X509_CRL_get0_nextUpdate(out_of_date), now) == Age::kTooOld;
  add_finding(out, at,
              fmt::format("no client can authenticate: the revocation list of {} {}",
                          subject_of(X509_CRL_get_issuer(out_of_date)),
                          over ? "has expired" : "is not valid yet"),
              "fetch a new one, or check the clock of this host", kDates);
}

/// Whether clients can enter by what was read.
void judge(const ClientAuthFiles& config, const std::string& ca, const std::string& crl,
           WallTime now, Diagnostics& out) {
  const std::time_t at = std::chrono::duration_cast<seconds>(now.time_since_epoch()).count();
  Authorities authorities;
  Lists lists;
  static_cast<void>(each_certificate(ca, [&](X509* one) {
    X509_up_ref(one);
    authorities.emplace_back(one);
    return true;
  }));
  judge_authorities(authorities, config.ca.at, at, out);
  if (crl.empty()) return;
  static_cast<void>(each_list(crl, [&](X509_CRL* one) {
    X509_CRL_up_ref(one);
    lists.emplace_back(one);
    return true;
  }));
  judge_lists(authorities, lists, config.crl->at, at, out);
}

/// The text of a name, or nullopt when it has a byte that no name has.
std::optional<std::string> text_of(const ASN1_STRING* name) {
  const auto* data = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name));
  std::string text(data, static_cast<std::size_t>(ASN1_STRING_length(name)));
  for (const char c : text) {
    if (c <= 0x20 || c > 0x7e) return std::nullopt;
  }
  return text.empty() ? std::nullopt : std::optional(std::move(text));
}

bool add_name(const GENERAL_NAME* name, ClientCertificate& out) {
  std::vector<std::string>* list = nullptr;
  if (name->type == GEN_DNS) list = &out.dns;
  if (name->type == GEN_URI) list = &out.uris;
  if (name->type == GEN_EMAIL) list = &out.emails;
  if (list == nullptr) return true;  // of no use here
  auto text = text_of(name->d.ia5);
  if (!text.has_value()) return false;
  if (name->type == GEN_DNS) {
    for (char& c : *text) c = ascii::lower(c);
  }
  list->push_back(std::move(*text));
  return true;
}

std::string der_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return {};
  std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

std::string sha256(std::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

/// When it is no longer good; nullopt for a date that is none.
std::optional<WallTime> end_of(X509* certificate) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return std::nullopt;
  const seconds since{timegm(&parts)};
  // "Without end" (RFC 5280 §4.1.2.5) is the year 9999, which nanoseconds do not reach.
  if (since >= std::chrono::floor<seconds>(WallTime::max().time_since_epoch())) {
    return WallTime::max();
  }
  return WallTime{since + seconds{1}};
}

/// base64 as base64url without padding.
std::string to_url(std::string text) {
  while (text.ends_with('=')) text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

}  // namespace

std::optional<ClientAuth> load_client_auth(const ClientAuthFiles& config, io::Broker& broker,
                                           WallTime now, Diagnostics& out,
                                           const ClientAuth* in_force) {
  auto ca = read_authorities(config.ca, broker, out);
  std::optional<std::string> crl = std::string();
  if (config.crl.has_value()) crl = read_lists(*config.crl, broker, out);
  const std::size_t errors_before = out.error_count();
  if (ca.has_value() && crl.has_value()) judge(config, *ca, *crl, now, out);
  if (in_force != nullptr && out.error_count() != errors_before) ca.reset(), crl.reset();
  if (in_force != nullptr) {
    if (!ca.has_value()) ca = in_force->ca_pem;
    if (!crl.has_value()) crl = in_force->crl_pem;
  }
  if (!ca.has_value() || !crl.has_value()) return std::nullopt;
  return ClientAuth{.ca_pem = std::move(*ca),
                    .crl_pem = std::move(*crl),
                    .required = config.required,
                    .at = config.at};
}

bool ask_for_certificates(SSL_CTX* context, const ClientAuth& auth) {
  X509_STORE* const store = SSL_CTX_get_cert_store(context);
  const bool trusts = each_certificate(auth.ca_pem, [&](X509* authority) {
    // The names tell clients which of their certificates is meant.
    return X509_STORE_add_cert(store, authority) == 1 &&
           SSL_CTX_add_client_CA(context, authority) == 1;
  });
  if (!trusts) return false;
  if (!auth.crl_pem.empty()) {
    const auto add = [&](X509_CRL* list) { return X509_STORE_add_crl(store, list) == 1; };
    if (!each_list(auth.crl_pem, add)) return false;
    // Every link, so that a revoked intermediate counts too; without its list a link is refused.
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  }
  const int required = auth.required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | required, nullptr);
  SSL_CTX_set_verify_depth(context, kDepthMax);
  // A session would outlive the certificate, its revocation, and what the listener asks for.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
  return SSL_CTX_set_num_tickets(context, 0) == 1;
}

void ask_as(SSL* connection, SSL_CTX* site) noexcept {
  // Authorities and lists belong to the context; these three were copied when the connection began.
  SSL_set_verify(connection, SSL_CTX_get_verify_mode(site), nullptr);
  SSL_set_verify_depth(connection, kDepthMax);
  if ((SSL_CTX_get_options(site) & SSL_OP_NO_TICKET) == 0) return;
  SSL_set_options(connection, SSL_OP_NO_TICKET);
  static_cast<void>(SSL_set_num_tickets(connection, 0));
}

std::optional<ClientCertificate> read_client_certificate(std::span<X509* const> chain) {
  X509* const certificate = chain.front();
  // Whoever signs for itself is its own issuer.
  X509* const issuer = chain[std::min<std::size_t>(1, chain.size() - 1)];
  ClientCertificate out;
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  const int count = names == nullptr ? 0 : sk_GENERAL_NAME_num(names.get());
  if (count > kNamesMax) return std::nullopt;
  for (int i = 0; i < count; ++i) {
    if (!add_name(sk_GENERAL_NAME_value(names.get(), i), out)) return std::nullopt;
  }
  const std::string der = der_of(certificate);
  const std::string issuer_der = der_of(issuer);
  auto subject = written(X509_get_subject_name(certificate));
  auto issued_by = written(X509_get_subject_name(issuer));
  if (der.empty() || issuer_der.empty() || !subject || !issued_by) return std::nullopt;
  out.thumbprint = to_url(base64(sha256(der)));
  out.field = ":" + base64(der) + ":";
  out.subject = std::move(*subject);
  out.issuer = std::move(*issued_by);
  for (const char byte : sha256(issuer_der)) {
    fmt::format_to(std::back_inserter(out.issuer_sha256), "{:02x}",
                   static_cast<unsigned char>(byte));
  }
  for (X509* const one : chain) {
    const auto end = end_of(one);
    if (!end.has_value()) return std::nullopt;
    out.good_until = std::min(out.good_until, *end);
  }
  return out;
}

}  // namespace merlon::tls
