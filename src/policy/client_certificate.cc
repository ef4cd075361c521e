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

}  // namespace

CertificateCheck::CertificateCheck(const ClientCertConfig& config, bool alone)
    : at_(config.at), alone_(alone) {
  for (const auto& name : config.names) {
    names_.push_back({.kind = kind_of_name(*name),
                      .text = *name,
                      .identity = identity::Identity::make(
                          {.method = identity::Method::kClientCertificate, .subject = *name})});
  }
}

Decision CertificateCheck::check(Context& context) const noexcept {
  const tls::TlsStream* tls = context.connection.tls;
  const tls::ClientCertificate* shown = tls == nullptr ? nullptr : tls->client_certificate();
  if (shown == nullptr) {
    return refused(code::kClientCertificateMissing, "the client showed no certificate",
                   "authentication", at_);
  }
  for (const Name& name : names_) {
    const auto& held = names_of(*shown, name.kind);
    if (std::ranges::find(held, name.text) == held.end()) continue;
    if (alone_) {
      context.identity = name.identity;
      context.authenticated = true;
    }
    return Decision::next();
  }
  return refused(code::kCertificateName, "the certificate has none of the names", "authorization",
                 at_);
}

}  // namespace merlon::policy
