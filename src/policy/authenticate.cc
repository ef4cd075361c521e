#include "policy/authenticate.h"

#include <fmt/format.h>

#include <charconv>

#include "base/ascii.h"
#include "tls/client_auth.h"
#include "tls/tls_stream.h"

namespace merlon::policy {
namespace {

// RFC 6750 §3.1
constexpr std::string_view kBearer = "Bearer";
constexpr std::string_view kInvalidToken = "Bearer error=\"invalid_token\"";
constexpr std::string_view kInvalidRequest = "Bearer error=\"invalid_request\"";

/// Failures that speak against the client. Sending nothing, and keys that are not there, do not.
bool counts_as_failure(std::uint16_t code) noexcept {
  return code != code::kCredentialsMissing && code != code::kKeysUnavailable &&
         code != code::kIntrospectionFailed;
}

unsigned status_of(std::uint16_t code) noexcept {
  switch (code) {
    case code::kCredentialsInQuery:
      return 400;
    case code::kKeysUnavailable:
    case code::kIntrospectionFailed:
      return 503;
    default:
      return 401;
  }
}

std::string_view challenge_of(std::uint16_t code) noexcept {
  if (code == code::kCredentialsMissing) return kBearer;
  return code == code::kCredentialsInQuery ? kInvalidRequest : kInvalidToken;
}

/// True when the key that a token is bound to, if any, is that of the connection's certificate
/// (RFC 8705 §3).
bool is_shown(const identity::Identity& who, const ConnectionFacts& connection) noexcept {
  if (!who.dpop_thumbprint().empty()) return false;
  if (who.certificate_thumbprint().empty()) return true;
  const tls::ClientCertificate* shown =
      connection.tls == nullptr ? nullptr : connection.tls->client_certificate();
  return shown != nullptr && shown->thumbprint == who.certificate_thumbprint();
}

void add_retry_after(ResponseFields& fields, nanoseconds wait) noexcept {
  char text[24];
  const auto whole = std::chrono::ceil<seconds>(wait).count();
  const auto end = std::to_chars(text, text + sizeof text, whole).ptr;
  static_cast<void>(fields.add_copy("Retry-After", {text, end}, http::FieldId::kRetryAfter));
}

}  // namespace

Result<std::string_view> bearer_token(const http::RequestHead& head) noexcept {
  const std::string_view value = head.fields.value(http::FieldId::kAuthorization);
  const std::string_view scheme = value.substr(0, value.find(' '));
  if (!ascii::iequals(scheme, kBearer)) {
    return fail(code::kCredentialsMissing, Blame::kClient, "there is no token");
  }
  const std::string_view token = value.substr(std::min(value.size(), scheme.size() + 1));
  if (token.empty() || token.find_first_of(" \t,") != std::string_view::npos) {
    return fail(code::kTokenMalformed, Blame::kClient, "one token follows the word Bearer");
  }
  return token;
}

bool has_token_in_query(std::string_view query) noexcept {
  constexpr std::string_view kName = "access_token";
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), one.size() + 1));
    // Decoded on the way, since whoever reads it behind us decodes it too.
    std::size_t matched = 0;
    const std::string_view name = one.substr(0, one.find('='));
    for (std::size_t i = 0; i < name.size() && matched <= kName.size(); ++matched) {
      char c = name[i++];
      if (c == '%' && i + 1 < name.size() && ascii::hex_value(name[i]) >= 0 &&
          ascii::hex_value(name[i + 1]) >= 0) {
        c = static_cast<char>(ascii::hex_value(name[i]) * 16 + ascii::hex_value(name[i + 1]));
        i += 2;
      }
      if (matched == kName.size() || c != kName[matched]) {
        matched = kName.size() + 1;
        break;
      }
    }
    if (matched == kName.size()) return true;
  }
  return false;
}

Authenticate::Authenticate(std::shared_ptr<const identity::Provider> provider, Mark at)
    : provider_(std::move(provider)), at_(std::move(at)) {
  if (!provider_->takes_tokens())
    challenge_ = fmt::format("ApiKey header=\"{}\"", provider_->header());
}

Result<std::shared_ptr<const identity::Identity>> Authenticate::authenticate(
    Context& context) const {
  const identity::TokenTime now = identity::token_time(context.wall);
  if (!provider_->takes_tokens()) {
    const http::Field* key = context.head.fields.find(std::string_view(provider_->header()));
    if (key == nullptr) {
      return fail(code::kCredentialsMissing, Blame::kClient, "there is no API key");
    }
    if (context.head.fields.count(std::string_view(provider_->header())) != 1) {
      return fail(code::kCredentialsSeveral, Blame::kClient, "there are several API keys");
    }
    return provider_->authenticate_key(key->value, context.reading.client.address,
                                       *context.identities, now);
  }
  if (context.reading.has_query && has_token_in_query(context.reading.query)) {
    return fail(code::kCredentialsInQuery, Blame::kClient, "a token does not belong into a URL");
  }
  const Result<std::string_view> token = bearer_token(context.head);
  if (!token) return std::unexpected(token.error());
  auto identity = provider_->authenticate_token(*token, *context.identities, now);
  if (!identity) return identity;
  if (is_shown(**identity, context.connection)) return identity;
  // As a bearer it would be worth more than its issuer gave it.
  return fail(code::kTokenBinding, Blame::kClient, "the token is bound to a key not shown here");
}

Decision Authenticate::refuse(Context& context, const Error& error) const noexcept {
  const unsigned status = status_of(error.code);
  if (status != 503) {
    const std::string_view challenge =
        provider_->takes_tokens() ? challenge_of(error.code) : std::string_view(challenge_);
    static_cast<void>(
        context.fields.add_copy("WWW-Authenticate", challenge, http::FieldId::kWwwAuthenticate));
  }
  return Decision::refuse(
      {.status = status, .error = error, .step = "authentication", .line = &at_});
}

Decision Authenticate::check(Context& context) const noexcept {
  const IpAddress& client = context.reading.client.address;
  const state::Taken budget = context.tables.auth_failures.check(client, context.now);
  if (!budget.admitted) {
    add_retry_after(context.fields, budget.retry_after);
    return Decision::refuse({.status = 429,
                             .error = {.code = code::kAuthenticationBudget,
                                       .blame = Blame::kClient,
                                       .what = "too many failed authentications"},
                             .step = "authentication",
                             .line = &at_});
  }
  if (context.identities == nullptr) {
    return refuse(context, {.code = code::kKeysUnavailable,
                            .blame = Blame::kInternal,
                            .what = "nobody can be authenticated here"});
  }
  auto identity = authenticate(context);
  if (identity) {
    context.identity = std::move(*identity);
    return Decision::next();
  }
  if (counts_as_failure(identity.error().code)) {
    context.tables.auth_failures.failed(client, context.now);
  }
  return refuse(context, identity.error());
}

}  // namespace merlon::policy
