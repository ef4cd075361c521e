#include "policy/auth_config.h"

#include <algorithm>
#include <set>

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;
using config::Type;

constexpr std::size_t kScopesMax = 32;
constexpr std::size_t kClaimsMax = 16;
constexpr std::size_t kClaimValuesMax = 64;

Type<std::string> scope() {
  return config::where<std::string>(config::text(1, 256), [](const std::string& text) {
    for (const char c : text) {
      // RFC 6749 §3.3
      if (c <= 0x20 || c > 0x7e || c == '"' || c == '\\') {
        return "a scope is printable ASCII without space, quote and backslash";
      }
    }
    return "";
  });
}

Type<std::string> claim_name() {
  return config::where<std::string>(config::text(1, 256), [](const std::string& text) {
    for (std::size_t i = 0; text[0] == '/' && i < text.size(); ++i) {
      const bool escape = i + 1 < text.size() && (text[i + 1] == '0' || text[i + 1] == '1');
      if (text[i] == '~' && !escape) return "in a JSON Pointer `~` is written `~0`, `/` is `~1`";
    }
    return "";
  });
}

/// What is wrong with a name of a certificate, or "".
std::string problem_of_name(const std::string& text) {
  for (const char c : text) {
    if (c <= 0x20 || c > 0x7e) return "a name is visible ASCII";
  }
  if (text.contains('*')) return "names are compared whole: `*` matches nothing but itself";
  if (kind_of_name(text) != NameKind::kDns) return {};
  for (const char c : text) {
    if (c >= 'A' && c <= 'Z') return "DNS names are written in lower case";
  }
  return {};
}

std::string problem_of_issuer(const std::string& text) {
  constexpr std::size_t kDigits = 64;
  if (!text.starts_with(kIssuerDigest)) {
    return text.contains('=') ? "" : "a distinguished name is written as CN=Partners,O=Example";
  }
  const std::string_view digits = std::string_view(text).substr(kIssuerDigest.size());
  const bool hex = digits.size() == kDigits && std::ranges::all_of(digits, [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  return hex ? "" : "a digest has 64 hexadecimal digits in lower case";
}

const Object<ClientCertConfig>& client_cert_schema() {
  static const auto schema =
      Object<ClientCertConfig>("client cert",
                               "Which of the certificates that the listener's `client_auth` "
                               "verified are accepted: by name, by issuer, or by both.")
          .field("san", &ClientCertConfig::names,
                 config::list_of(config::located(config::where<std::string>(config::text(1, 512),
                                                                            problem_of_name)),
                                 1, 256),
                 "The certificate must have one of these subject alternative names: a URI such as "
                 "`spiffe://example.org/orders`, an e-mail address, or a DNS name. Names are "
                 "compared whole, and only with names of the same kind.")
          .field("issuer", &ClientCertConfig::issuers,
                 config::list_of(config::located(config::where<std::string>(config::text(1, 1024),
                                                                            problem_of_issuer)),
                                 1, 64),
                 "One of these must have issued the certificate. Write its distinguished name as "
                 "in RFC 4514, such as `CN=Partners,O=Example`, which is compared whole, or "
                 "`sha256:` and the 64 hexadecimal digits of the issuing certificate's digest. The "
                 "issuer is taken from the verified chain.")
          .mark(&ClientCertConfig::at)
          .check([](const ClientCertConfig& asked, Reader& reader) {
            if (asked.names.empty() && asked.issuers.empty()) {
              reader.error(asked.at, "anyone with a certificate would get in",
                           "name `san`, `issuer` or both");
            }
          });
  return schema;
}

void check_auth(const AuthConfig& auth, Reader& reader) {
  const Located<std::string>* first = nullptr;
  for (const auto* one : {&auth.jwt, &auth.introspect, &auth.api_key}) {
    if (!one->has_value()) continue;
    if (first != nullptr) {
      reader.error((*one)->at,
                   "one kind of credentials is enough: `jwt`, `introspect` or `api_key`");
    }
    first = &**one;
  }
  if (auth.provider() == nullptr && (!auth.scopes.empty() || !auth.claims.empty())) {
    reader.error(auth.at, "certificates have neither scopes nor claims", "name `jwt` as well");
  }
  if (auth.provider() == nullptr && !auth.client_cert.has_value()) {
    reader.error(auth.at, "`auth` asks for nothing", "a public route says `auth: none`");
  }
  if (auth.api_key.has_value() && !auth.claims.empty()) {
    reader.error(auth.claims.begin()->second.front().at, "API keys have no claims",
                 "ask for `scopes`");
  }
  std::set<std::string_view> seen;
  for (const auto& one : auth.scopes) {
    if (!seen.insert(*one).second) reader.error(one.at, "this scope is listed twice");
  }
}

}  // namespace

const Object<AuthConfig>& auth_schema() {
  static const auto schema =
      Object<AuthConfig>("auth",
                         "Who may use a route. Missing or invalid credentials get 401; valid ones "
                         "that do not suffice get 403.")
          .field("jwt", &AuthConfig::jwt, config::name(),
                 "An issuer under `identity`; clients send its token in `Authorization: Bearer`.")
          .field("api_key", &AuthConfig::api_key, config::name(),
                 "API keys under `identity`; clients send one in the field that the entry names.")
          .field("scopes", &AuthConfig::scopes,
                 config::list_of(config::located(scope()), 1, kScopesMax),
                 "Scopes that the caller must have; all are required.")
          .field("claims", &AuthConfig::claims,
                 config::map_of(
                     claim_name(),
                     config::one_or_list(config::located(config::text(1, 512)), 1, kClaimValuesMax),
                     1, kClaimsMax),
                 "Claims that the token must have, each with one of the values. A nested claim is "
                 "named by a JSON Pointer such as `/realm_access/roles`. If a claim is a list, one "
                 "of its items must be among the values.")
          .field("introspect", &AuthConfig::introspect, config::name(),
                 "An entry under `identity` with `introspection`; clients send a token in "
                 "`Authorization: Bearer` that its server reports as active.")
          .field("client_cert", &AuthConfig::client_cert, config::object(client_cert_schema()),
                 "A client certificate. With `jwt`, `introspect` or `api_key` beside it, both are "
                 "required.")
          .mark(&AuthConfig::at)
          .check(check_auth);
  return schema;
}

NameKind kind_of_name(std::string_view name) noexcept {
  if (name.contains("://")) return NameKind::kUri;
  return name.contains('@') ? NameKind::kEmail : NameKind::kDns;
}

std::string claim_pointer(std::string_view name) {
  if (name.starts_with('/')) return std::string(name);
  std::string pointer = "/";
  for (const char c : name) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
  return pointer;
}

}  // namespace merlon::policy
