#include "policy/client_certificate.h"

#include <algorithm>

#include "tls/client_auth.h"
#include "tls/tls_stream.h"

namespace merlon::policy {
namespace {

const std::vector<std::string>& names_of(const tls::ClientCertificate& certificate,
                                         NameKind kind) noexcept {
  switch (kind) {
    case NameKind::kDns:
      return certificate.dns;
    case NameKind::kUri:
      return certificate.uris;
    case NameKind::kEmail:
      return certificate.emails;
  }
  return certificate.dns;
}

Decision refused(std::uint16_t code, const char* what, std::string_view step,
                 const Mark& at) noexcept {
  return Decision::refuse({.status = 403,
                           .error = {.code = code, .blame = Blame::kClient, .what = what},
                           .step = step,
                           .line = &at});
}

/// By its name, or, where it has none, by itself.
std::shared_ptr<const identity::Identity> holder_of(const tls::ClientCertificate& shown) {
  constexpr auto kMethod = identity::Method::kClientCertificate;
  auto named = shown.subject.empty()
                   ? nullptr
                   : identity::Identity::make({.method = kMethod, .subject = shown.subject});
  // One that is too long names nobody.
  return named != nullptr
             ? named
             : identity::Identity::make({.method = kMethod, .subject = shown.thumbprint});
}

}  // namespace

CertificateCheck::CertificateCheck(const ClientCertConfig& config, bool alone)
    : at_(config.at), alone_(alone) {
  for (const auto& name : config.names) {
    names_.push_back({.kind = kind_of_name(*name),
                      .text = *name,
                      .identity = identity::Identity::make(
                          {.method = identity::Method::kClientCertificate, .subject = *name})});
  }
  for (const auto& issuer : config.issuers) {
    const bool digest = issuer->starts_with(kIssuerDigest);
    issuers_.push_back(
        {.digest = digest, .text = digest ? issuer->substr(kIssuerDigest.size()) : *issuer});
  }
}

const CertificateCheck::Name* CertificateCheck::held_by(
    const tls::ClientCertificate& shown) const noexcept {
  const auto found = std::ranges::find_if(names_, [&](const Name& name) {
    const auto& held = names_of(shown, name.kind);
    return std::ranges::find(held, name.text) != held.end();
  });
  return found == names_.end() ? nullptr : &*found;
}

bool CertificateCheck::issued(const tls::ClientCertificate& shown) const noexcept {
  return issuers_.empty() || std::ranges::any_of(issuers_, [&](const Issuer& one) {
           return one.text == (one.digest ? shown.issuer_sha256 : shown.issuer);
         });
}

Decision CertificateCheck::check(Context& context) const noexcept {
  const tls::TlsStream* tls = context.connection.tls;
  const tls::ClientCertificate* shown = tls == nullptr ? nullptr : tls->client_certificate();
  if (shown == nullptr) {
    const bool open = context.connection.certificate_open;
    return refused(code::kClientCertificateMissing,
                   open ? kShownAtRunTime : "the client showed no certificate", "authentication",
                   at_);
  }
  const Name* const name = held_by(*shown);
  if (!names_.empty() && name == nullptr) {
    return refused(code::kCertificateName, "the certificate has none of the names", "authorization",
                   at_);
  }
  if (!issued(*shown)) {
    return refused(code::kCertificateIssuer, "the certificate comes from none of the issuers",
                   "authorization", at_);
  }
  if (!alone_) return Decision::next();
  context.identity = name != nullptr ? name->identity : holder_of(*shown);
  context.authenticated = true;
  return Decision::next();
}

}  // namespace merlon::policy
