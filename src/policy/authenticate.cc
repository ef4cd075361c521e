#include "policy/authenticate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "base/ascii.h"
#include "policy/client_certificate.h"
#include "tls/client_auth.h"
#include "tls/tls_stream.h"

namespace merlon::policy {
namespace {

constexpr std::string_view kBearer = "Bearer";
constexpr std::string_view kDpop = "DPoP";
// Longer ones, with a long URL in them, are allocated.
constexpr std::size_t kChallengeBytes = 512;

// Where nobody may be asked. Told from others by their address.
constexpr const char kAskedAtRunTime[] = "the authorisation server is asked at run time only";
constexpr const char kFetchedAtRunTime[] = "the issuer's keys are fetched at run time only";

/// Failures that speak against the client. Sending nothing, keys that are not there or of which the
/// issuer has two by one name, being told a nonce for the first time, and being told to wait do
/// not. A key that is looked for later does, and a token that its server calls nonsense: who
/// guesses is answered so, too.
bool counts_as_failure(std::uint16_t code) noexcept {
  switch (code) {
    case code::kCredentialsMissing:
    case code::kKeysUnavailable:
    case code::kTokenKeyAmbiguous:
    case code::kIntrospectionFailed:
    case code::kProofNonce:
    case code::kProofsFull:
    case code::kProofsOfKey:
    case code::kAuthenticationBudget:
      return false;
    default:
      return true;
  }
}

unsigned status_of(std::uint16_t code) noexcept {
  switch (code) {
    case code::kCredentialsInQuery:
      return 400;
    case code::kKeysUnavailable:
    case code::kIntrospectionFailed:
    case code::kIntrospectionRefused:
    case code::kTokenKeyPending:
    case code::kProofsFull:
      return 503;
    case code::kAuthenticationBudget:
    case code::kProofsOfKey:
      return 429;
    default:
      return 401;
  }
}

/// The parameter `error` of a challenge (RFC 6750 §3.1, RFC 9449 §7.1, §9); "" for none.
std::string_view challenge_error(std::uint16_t code) noexcept {
  switch (code) {
    case code::kCredentialsMissing:
      return "";
    case code::kCredentialsInQuery:
      return "invalid_request";
    case code::kProofMissing:
    case code::kProofInvalid:
    case code::kProofReplayed:
      return "invalid_dpop_proof";
    case code::kProofNonce:
      return "use_dpop_nonce";
    default:
      return "invalid_token";
  }
}

bool is_about_proof(std::uint16_t code) noexcept {
  return code >= code::kProofMissing && code <= code::kProofNonce;
}

/// True when the connection's certificate is the one that the token is bound to, if it is to one
/// (RFC 8705 §3).
bool is_certificate_shown(const identity::Identity& who,
                          const ConnectionFacts& connection) noexcept {
  if (who.certificate_thumbprint().empty()) return true;
  const tls::ClientCertificate* shown =
      connection.tls == nullptr ? nullptr : connection.tls->client_certificate();
  return shown != nullptr && shown->thumbprint == who.certificate_thumbprint();
}

/// The request as a proof must name it.
identity::ProofTarget target_of(const Context& context) noexcept {
  const Reading& reading = context.reading;
  const bool told = reading.client.peer_trusted && reading.client.scheme != http::Scheme::kUnknown;
  return {
      .method = context.head.method_text,
      .host = reading.host.name,
      .port = reading.host.port,
      .path = reading.path,
      .secure = told ? reading.client.scheme == http::Scheme::kHttps : context.connection.secure()};
}

void add_retry_after(ResponseFields& fields, nanoseconds wait) noexcept {
  char text[24];
  const auto whole = std::max<std::int64_t>(std::chrono::ceil<seconds>(wait).count(), 1);
  const auto end = std::to_chars(text, text + sizeof text, whole).ptr;
  static_cast<void>(fields.add_copy("Retry-After", {text, end}, http::FieldId::kRetryAfter));
}

}  // namespace

bool needs_others(const Error& error) noexcept {
  return error.what == kAskedAtRunTime || error.what == kFetchedAtRunTime ||
         error.what == kShownAtRunTime;
}

Result<Credentials> shown_token(const http::RequestHead& head) noexcept {
  const std::string_view value = head.fields.value(http::FieldId::kAuthorization);
  const std::string_view scheme = value.substr(0, value.find(' '));
  const bool dpop = ascii::iequals(scheme, kDpop);
  if (!dpop && !ascii::iequals(scheme, kBearer)) {
    return fail(code::kCredentialsMissing, Blame::kClient, "there is no token");
  }
  const std::string_view token = value.substr(std::min(value.size(), scheme.size() + 1));
  if (token.empty() || token.find_first_of(" \t,") != std::string_view::npos) {
    return fail(code::kTokenMalformed, Blame::kClient, "one token follows the scheme");
  }
  return Credentials{.token = token, .dpop = dpop};
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
  if (!provider_->takes_tokens()) {
    key_challenge_ = fmt::format("ApiKey header=\"{}\"", provider_->header());
    return;
  }
  for (std::size_t i = 0; i < identity::kAlgorithmCount; ++i) {
    const auto algorithm = static_cast<identity::Algorithm>(i);
    if (!provider_->rules().algorithms.contains(algorithm)) continue;
    if (!dpop_algorithms_.empty()) dpop_algorithms_ += ' ';
    dpop_algorithms_ += identity::name_of(algorithm);
  }
}

Authenticate::Who Authenticate::authenticate_key(Context& context, identity::TokenTime now) const {
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

/// Null with `context.errand` set: it has to be asked for.
Authenticate::Who Authenticate::find_bearer(Context& context, std::string_view token,
                                            identity::TokenTime now) const {
  using identity::Errand;
  const std::shared_ptr<Errand> before = context.errand;
  if (provider_->kind() == identity::Provider::Kind::kOpaqueTokens) {
    if (before != nullptr) return provider_->take_answer(*before, *context.identities, now);
    Who who = provider_->recall_token(token, *context.identities, now, context.now, context.errand);
    if (context.errand == nullptr) return who;
    context.errand->client = context.reading.client.address.client_key();
    if (context.may_ask) return who;
    context.errand = nullptr;
    return fail(code::kIntrospectionFailed, Blame::kInternal, kAskedAtRunTime);
  }
  Who who = provider_->authenticate_token(token, *context.identities, now);
  if (who) return who;
  if (before != nullptr) {
    const bool unknown = who.error().code == code::kTokenKeyUnknown;
    return unknown && !before->answer ? std::unexpected(before->answer.error()) : who;
  }
  if (context.may_ask) {
    context.errand = provider_->errand_after(who.error(), token, *context.identities, context.now);
    if (context.errand != nullptr) return nullptr;
  }
  const auto& source = provider_->key_source();
  if (!context.may_ask && source != nullptr && who.error().code == code::kKeysUnavailable) {
    return fail(code::kKeysUnavailable, Blame::kInternal, kFetchedAtRunTime);
  }
  if (who.error().code != code::kTokenKeyUnknown || source == nullptr) return who;
  if (source->live->failing()) {
    return fail(code::kKeysUnavailable, Blame::kInternal,
                "the issuer cannot be asked whether it has this key");
  }
  return context.may_ask && provider_->may_have_key(token, *context.identities, context.now)
             ? fail(code::kTokenKeyPending, Blame::kClient,
                    "the issuer was asked a moment ago, and is asked for this key later")
             : who;
}

Result<void> Authenticate::judge_binding(Context& context, const identity::Identity& who,
                                         const Credentials& shown, identity::TokenTime now) const {
  if (!is_certificate_shown(who, context.connection)) {
    if (context.connection.certificate_open) {
      return fail(code::kTokenBinding, Blame::kClient, kShownAtRunTime);
    }
    return fail(code::kTokenBinding, Blame::kClient, "the token is bound to a key not shown here");
  }
  if (!shown.dpop) {
    if (who.dpop_thumbprint().empty() && !provider_->dpop_required()) return {};
    // As a bearer it would be worth more than its issuer gave it.
    return fail(code::kTokenAsBearer, Blame::kClient,
                "the token is accepted only with a DPoP proof");
  }
  if (who.dpop_thumbprint().empty()) {
    return fail(code::kTokenBinding, Blame::kClient, "the token is not bound to the key shown");
  }
  const http::Fields& fields = context.head.fields;
  if (fields.count(http::FieldId::kDpop) != 1) {
    return fail(code::kProofMissing, Blame::kClient, "exactly one proof must come with the token");
  }
  const identity::ProofRules rules{
      .algorithms = provider_->rules().algorithms,
      .leeway_s = provider_->rules().leeway_s,
      .nonces = provider_->dpop_nonce() ? &context.identities->nonces : nullptr};
  const Result<identity::Proof> proof =
      identity::judge_proof(fields.value(http::FieldId::kDpop), target_of(context), shown.token,
                            who.dpop_thumbprint(), rules, now, context.identities->proofs);
  if (!proof) return std::unexpected(proof.error());
  constexpr std::int64_t kKept_s = identity::kProofAge_s + identity::kLeewayMax_s;
  const state::Taken room = context.tables.proofs_of_keys.take(
      who.dpop_thumbprint(), seconds{kKept_s + rules.leeway_s}, context.now);
  if (!room.admitted) {
    add_retry_after(context.fields, room.retry_after);
    return fail(code::kProofsOfKey, Blame::kClient, "too many proofs of this key");
  }
  switch (context.tables.proofs.note(proof->known_by, proof->made + kKept_s, now)) {
    case state::ReplayTable::Seen::kNever:
      return {};
    case state::ReplayTable::Seen::kBefore:
      return fail(code::kProofReplayed, Blame::kClient, "the proof was shown before");
    case state::ReplayTable::Seen::kNoRoom:
      break;
  }
  return fail(code::kProofsFull, Blame::kInternal, "there is no room to remember the proof");
}

Authenticate::Who Authenticate::authenticate(Context& context) const {
  const identity::TokenTime now = identity::token_time(context.wall);
  if (!provider_->takes_tokens()) return authenticate_key(context, now);
  if (context.reading.has_query && has_token_in_query(context.reading.query)) {
    return fail(code::kCredentialsInQuery, Blame::kClient, "a token must not be in the URL");
  }
  const Result<Credentials> shown = shown_token(context.head);
  if (!shown) return std::unexpected(shown.error());
  Who who = find_bearer(context, shown->token, now);
  if (!who || *who == nullptr) return who;
  const Result<void> bound = judge_binding(context, **who, *shown, now);
  if (!bound) return std::unexpected(bound.error());
  return who;
}

/// `WWW-Authenticate`: for each scheme that could help, the error only where it was used.
void Authenticate::add_challenges(Context& context, const Error& error) const noexcept {
  const auto add = [&](std::string_view challenge) {
    static_cast<void>(
        context.fields.add_copy("WWW-Authenticate", challenge, http::FieldId::kWwwAuthenticate));
  };
  if (!provider_->takes_tokens()) return add(key_challenge_);
  const bool proof = is_about_proof(error.code);
  const std::string_view said = challenge_error(error.code);
  const auto challenge = [&](std::string_view scheme, std::string_view algorithms) {
    fmt::basic_memory_buffer<char, kChallengeBytes> text;
    text.append(scheme);
    const char* before = " ";
    const auto put = [&](std::string_view name, std::string_view value) {
      if (value.empty()) return;
      fmt::format_to(std::back_inserter(text), "{}{}=\"{}\"", std::exchange(before, ", "), name,
                     value);
    };
    put("realm", provider_->name());
    put("error", said);
    put("algs", algorithms);
    put("resource_metadata", provider_->metadata_url());
    add({text.data(), text.size()});
  };
  if (proof || provider_->dpop_required() || error.code == code::kTokenAsBearer) {
    challenge(kDpop, dpop_algorithms_);
  }
  if (!proof && !provider_->dpop_required()) challenge(kBearer, {});
}

Decision Authenticate::refuse(Context& context, const Error& error) const noexcept {
  const unsigned status = status_of(error.code);
  if (status < 429) add_challenges(context, error);
  if (error.code == code::kTokenKeyPending) {
    add_retry_after(context.fields, provider_->key_source()->live->until_next_ask(context.now));
  }
  if (error.code == code::kAuthenticationBudget) add_retry_after(context.fields, seconds{1});
  if (error.code == code::kProofNonce) {
    const std::string_view nonce =
        context.identities->nonces.current(identity::token_time(context.wall));
    static_cast<void>(context.fields.add_copy("DPoP-Nonce", nonce, http::FieldId::kDpopNonce));
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
  Who who = authenticate(context);
  if (who && *who == nullptr) return Decision::ask();
  if (who) {
    context.identity = std::move(*who);
    return Decision::next();
  }
  if (counts_as_failure(who.error().code)) {
    context.tables.auth_failures.failed(client, context.now);
  }
  return refuse(context, who.error());
}

}  // namespace merlon::policy
