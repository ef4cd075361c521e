#include "identity/provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "config/waivers.h"
#include "identity/base64url.h"
#include "tls/client_context.h"

namespace merlon::identity {
namespace {

constexpr std::size_t kFileBytesMax = 16UL * 1024 * 1024;
constexpr std::uint32_t kOpenToOthers = 0007;

/// The text of a file that the configuration names; nullopt after an error at that place.
std::optional<std::string> read_file(const Located<config::FilePath>& file, io::Broker& broker,
                                     Diagnostics& out) {
  auto text = broker.read_file(file->path, kFileBytesMax);
  if (text.has_value()) return std::move(*text);
  out.error(file.at, fmt::format("`{}` cannot be read: {}", file->written, text.error().text()));
  return std::nullopt;
}

std::shared_ptr<const KeySet> load_keys(const Located<config::FilePath>& file, AlgorithmSet allowed,
                                        io::Broker& broker, Diagnostics& out) {
  const auto text = read_file(file, broker, out);
  if (!text.has_value()) return nullptr;
  auto set = read_jwks(*text);
  if (!set.has_value()) {
    out.error(file.at, fmt::format("`{}` is not a key set: {}", file->written, set.error()));
    return nullptr;
  }
  for (const std::string& skipped : set->skipped) {
    out.warning(file.at, fmt::format("`{}`: {}", file->written, skipped));
  }
  if (set->keys->has_key_for(allowed)) return set->keys;
  out.error(file.at, fmt::format("`{}` has no key for any of the `algorithms`", file->written));
  return nullptr;
}

std::shared_ptr<const Revocations> load_revocations(const Located<config::FilePath>& file,
                                                    io::Broker& broker, Diagnostics& out) {
  auto text = read_file(file, broker, out);
  return text.has_value() ? Revocations::read(file->path, std::move(*text), out) : nullptr;
}

void judge_mode(const Located<config::FilePath>& file, io::Broker& broker, Diagnostics& out) {
  const auto status = broker.status(file->path);
  if (!status.has_value() || (status->mode & kOpenToOthers) == 0) return;
  config::refuse_always(out, "key-permissions", file.at,
                        fmt::format("other users have access to `{}`: its mode is {:04o}",
                                    file->written, status->mode));
}

std::shared_ptr<const ApiKeys> load_api_keys(const Located<config::FilePath>& file,
                                             io::Broker& broker, Diagnostics& out) {
  judge_mode(file, broker, out);
  auto text = read_file(file, broker, out);
  return text.has_value() ? ApiKeys::read(file->path, std::move(*text), out) : nullptr;
}

/// One line of up to 1024 bytes.
std::optional<std::string> load_secret(const Located<config::FilePath>& file, io::Broker& broker,
                                       Diagnostics& out) {
  judge_mode(file, broker, out);
  auto secret = read_file(file, broker, out);
  if (!secret.has_value()) return std::nullopt;
  while (secret->ends_with('\n') || secret->ends_with('\r')) secret->pop_back();
  if (!secret->empty() && secret->size() <= 1024 && !secret->contains('\n')) return secret;
  out.error(file.at, fmt::format("`{}` does not hold a secret on one line of up to 1024 bytes",
                                 file->written));
  return std::nullopt;
}

/// What `load` makes of a file; after an error, what is `kept`.
template <class Part, class Load>
Part or_kept(const Part& kept, Diagnostics& out, const Load& load) {
  Diagnostics own;  // an error elsewhere is none of this file
  Part loaded = load(own);
  for (const Diagnostic& finding : own.all()) out.add(finding);
  return own.ok() ? loaded : kept;
}

TokenRules rules_of(const ProviderConfig& config, std::vector<std::string> claims) {
  TokenRules rules;
  if (config.issuer.has_value()) rules.issuer = **config.issuer;
  for (const auto& audience : config.audiences) rules.audiences.push_back(*audience);
  if (config.algorithms.has_value()) {
    rules.algorithms = {};
    for (const auto& algorithm : *config.algorithms) rules.algorithms.add(*algorithm);
  }
  if (config.leeway.has_value()) rules.leeway_s = config.leeway->value.count() / 1000;
  if (config.lifetime_max.has_value()) {
    rules.lifetime_max_s = config.lifetime_max->value.count() / 1000;
  }
  rules.access_token_type = config.type.has_value() && **config.type == TokenType::kAccessToken;
  rules.claims = std::move(claims);
  return rules;
}

std::uint64_t id_of(std::string_view text) {
  const Sha256 digest = sha256(text);
  std::uint64_t id = 0;
  std::memcpy(&id, digest.data(), sizeof id);
  return id;
}

tls::UpstreamTls tls_of(const ProviderConfig& config) {
  tls::UpstreamTls tls;
  tls.at = config.at;
  if (config.tls.has_value()) tls.ca = config.tls->ca;
  return tls;
}

/// Tells the contents of files apart; that of the system's authorities, by no name, is always "".
std::string digest_of(const std::optional<Located<config::FilePath>>& file, io::Broker& broker) {
  if (!file.has_value()) return {};
  const auto text = broker.read_file((*file)->path, kFileBytesMax);
  return text.has_value() ? base64url_encode(as_text(sha256(*text))) : std::string();
}

/// RFC 9728 §3: the well-known part stands between host and path.
std::string resource_metadata_url(const upstream::HttpsUrl& resource) {
  const std::string path = resource.path == "/" ? "" : resource.path;
  return "https://" + resource.authority() + "/.well-known/oauth-protected-resource" + path;
}

}  // namespace

std::shared_ptr<const Provider> Provider::load(const std::string& name,
                                               const ProviderConfig& config,
                                               std::vector<std::string> claims, io::Broker& broker,
                                               Diagnostics& out, const Provider* in_force) {
  const Provider nothing;
  const Provider& kept = in_force == nullptr ? nothing : *in_force;
  auto made = std::make_shared<Provider>();
  made->name_ = name;
  made->rules_ = rules_of(config, std::move(claims));
  made->describe(config);
  if (config.api_keys.has_value()) {
    made->api_keys_ = or_kept(kept.api_keys_, out, [&](Diagnostics& own) {
      return load_api_keys(config.api_keys->file, broker, own);
    });
  }
  if (config.jwks_file.has_value()) {
    made->keys_ = or_kept(kept.keys_, out, [&](Diagnostics& own) {
      return load_keys(*config.jwks_file, made->rules_.algorithms, broker, own);
    });
  }
  if (config.fetches_keys()) {
    made->source_ = or_kept(kept.source_, out, [&](Diagnostics& own) {
      return made->load_key_source(config, broker, own);
    });
  }
  if (config.introspection.has_value()) {
    made->load_introspection(config, kept.introspection(), broker, out);
  }
  if (config.revocations.has_value()) {
    made->revocations_ = or_kept(kept.revocations_, out, [&](Diagnostics& own) {
      return load_revocations(*config.revocations, broker, own);
    });
  }
  made->seal();
  return made->has_all_of(config) ? made : nullptr;
}

/// False after an error in a file in whose place nothing stays.
bool Provider::has_all_of(const ProviderConfig& config) const noexcept {
  return (api_keys_ != nullptr || !config.api_keys.has_value()) &&
         (keys_ != nullptr || !config.jwks_file.has_value()) &&
         (source_ != nullptr || !config.fetches_keys()) &&
         (introspection_ != nullptr || !config.introspection.has_value()) &&
         (revocations_ != nullptr || !config.revocations.has_value());
}

std::shared_ptr<const Provider> Provider::closed(const std::string& name,
                                                 const ProviderConfig& config,
                                                 std::vector<std::string> claims) {
  auto made = std::make_shared<Provider>();
  made->name_ = name;
  made->rules_ = rules_of(config, std::move(claims));
  made->describe(config);
  made->seal();
  return made;
}

/// What needs no file.
void Provider::describe(const ProviderConfig& config) {
  if (config.api_keys.has_value()) {
    kind_ = Kind::kApiKeys;
    header_ = *config.api_keys->header;
  } else if (config.introspection.has_value()) {
    kind_ = Kind::kOpaqueTokens;
  }
  if (config.dpop.has_value()) {
    dpop_required_ = config.dpop->required;
    dpop_nonce_ = config.dpop->nonce;
  }
  if (config.resource.has_value()) metadata_url_ = resource_metadata_url((*config.resource)->url);
}

std::shared_ptr<const KeySource> Provider::load_key_source(const ProviderConfig& config,
                                                           io::Broker& broker,
                                                           Diagnostics& out) const {
  auto source = std::make_shared<KeySource>();
  source->issuer = rules_.issuer;
  source->algorithms = rules_.algorithms;
  if (config.jwks_uri.has_value()) source->jwks_uri = **config.jwks_uri;
  for (const auto& host : config.hosts) source->hosts.push_back(*host);
  if (config.stale_for.has_value()) {
    source->stale_for = std::chrono::floor<seconds>(config.stale_for->value);
  }
  source->tls = tls_of(config);
  source->ca_digest = digest_of(source->tls.ca, broker);
  const auto issuer = upstream::parse_https_url(source->issuer);
  const std::string host = source->jwks_uri.has_value() ? source->jwks_uri->host
                           : issuer.has_value()         ? issuer->host
                                                        : std::string();
  source->own_host = tls::ClientContext::load(source->tls, host, false, {"http/1.1"}, broker,
                                              SystemClock().wall_now(), out);
  const std::string where =
      source->jwks_uri.has_value()
          ? source->jwks_uri->authority() + source->jwks_uri->path + "?" + source->jwks_uri->query
          : "discovery";
  source->live = LiveKeys::of(source->issuer + "\n" + where);
  return source;
}

/// Its secret and its authorities are two files: each that is an error stays as `in_force` has it.
void Provider::load_introspection(const ProviderConfig& config, const IntrospectionSource* in_force,
                                  io::Broker& broker, Diagnostics& out) {
  const IntrospectionConfig& from = *config.introspection;
  const tls::UpstreamTls tls = tls_of(config);
  auto made = std::make_unique<IntrospectionSource>();
  made->url = *from.url;
  made->cache = std::chrono::floor<seconds>(from.cache.value);
  made->tls = tls::ClientContext::load(tls, made->url.host, false, {"http/1.1"}, broker,
                                       SystemClock().wall_now(), out,
                                       in_force == nullptr ? nullptr : in_force->tls.get());
  const std::size_t errors_before = out.error_count();
  if (auto secret = load_secret(from.secret_file, broker, out)) {
    made->authorization = Secret(basic_authorization(from.client_id, *secret));
    wipe_memory(secret->data(), secret->size());
  }
  if (out.error_count() != errors_before) {
    if (in_force == nullptr) return;
    made->authorization = Secret(std::string(in_force->authorization.reveal()));
  }
  if (made->tls == nullptr) return;
  introspection_ = std::move(made);
  server_id_ =
      id_of(fmt::format("{}\n{}\n{}\n{}\n{}", introspection_->url.authority(),
                        introspection_->url.path, introspection_->url.query,
                        introspection_->authorization.reveal(), digest_of(tls.ca, broker)));
}

/// The policy's id is made of all that a token was judged by.
void Provider::seal() {
  std::string all = fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n", rules_.issuer, rules_.leeway_s,
                                rules_.lifetime_max_s, rules_.access_token_type, server_id_,
                                introspection_ == nullptr ? 0 : introspection_->cache.count());
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    all += rules_.algorithms.contains(static_cast<Algorithm>(i)) ? '1' : '0';
  }
  for (const auto* list : {&rules_.audiences, &rules_.claims}) {
    all += '\n';
    for (const std::string& one : *list) all += fmt::format("{}:{}", one.size(), one);
  }
  policy_id_ = id_of(all);
}

std::size_t Provider::claim_number(std::string_view pointer) const noexcept {
  return static_cast<std::size_t>(std::ranges::find(rules_.claims, pointer) -
                                  rules_.claims.begin());
}

Result<void> Provider::judge_again(const Identity& identity, TokenTime now) const noexcept {
  const Result<void> dates = judge_dates(identity, rules_.leeway_s, now);
  if (!dates) return dates;
  if (revocations_ != nullptr && revocations_->contains(identity)) {
    return fail(code::kTokenRevoked, Blame::kClient, "the token was revoked");
  }
  return {};
}

Result<std::shared_ptr<const Identity>> Provider::authenticate_token(std::string_view token,
                                                                     ThreadState& thread,
                                                                     TokenTime now) const {
  const KeySet* const keys = source_ != nullptr ? thread.views.of(*source_->live) : keys_.get();
  if (keys == nullptr) {
    return fail(
        code::kKeysUnavailable, Blame::kInternal,
        source_ != nullptr ? "the issuer's keys are not there" : "the file of keys cannot be used");
  }
  if (token.size() > kTokenBytesMax) {
    return fail(code::kTokenMalformed, Blame::kClient, "the token is too long");
  }
  bool hashed = false;
  const Sha256 digest = thread.reader.signatures().hasher().sha256(token, hashed);
  const TokenCache::Entry* known = hashed ? thread.tokens.find(digest, policy_id_) : nullptr;
  if (known != nullptr && keys->contains(known->key_id)) {
    std::shared_ptr<const Identity> identity = known->identity;
    const Result<void> still = judge_again(*identity, now);
    if (!still) return std::unexpected(still.error());
    return identity;
  }
  std::uint64_t key_id = 0;
  auto identity = thread.reader.accept(token, rules_, *keys, now, key_id);
  if (!identity) return identity;
  if (hashed) thread.tokens.insert(digest, policy_id_, key_id, *identity, now - rules_.leeway_s);
  const Result<void> still = judge_again(**identity, now);
  if (!still) return std::unexpected(still.error());
  return identity;
}

std::shared_ptr<Errand> Provider::errand_after(const Error& error, std::string_view token,
                                               ThreadState& thread, Instant now) const {
  if (source_ == nullptr) return nullptr;
  std::string kid;
  bool useful = false;
  if (error.code == code::kTokenKeyUnknown) {
    const auto head = thread.reader.read_head(token);
    if (!head || !head->has_kid) return nullptr;
    kid = head->kid;
    useful = source_->live->asking(kid, now) == LiveKeys::Asking::kWorthIt;
  } else {
    if (error.code != code::kKeysUnavailable) return nullptr;
    useful = source_->live->starting();
  }
  // Looked at last: a fetch that ended since the token was judged has perhaps brought the key.
  if (!useful && thread.views.is_current(*source_->live)) return nullptr;
  auto errand = std::make_shared<Errand>();
  errand->kind = Errand::Kind::kKeys;
  errand->provider = shared_from_this();
  errand->subject = std::move(kid);
  return errand;
}

bool Provider::may_have_key(std::string_view token, ThreadState& thread, Instant now) const {
  const auto head = thread.reader.read_head(token);
  return source_ != nullptr && head && head->has_kid &&
         source_->live->asking(head->kid, now) != LiveKeys::Asking::kInVain;
}

Result<std::shared_ptr<const Identity>> Provider::recall_token(
    std::string_view token, ThreadState& thread, TokenTime now, Instant at,
    std::shared_ptr<Errand>& errand) const {
  if (introspection_ == nullptr) {
    return fail(code::kIntrospectionFailed, Blame::kInternal,
                "the authorisation server cannot be asked");
  }
  if (token.size() > kTokenBytesMax || !is_bearer_token(token)) {
    return fail(code::kTokenMalformed, Blame::kClient, "this is no token");
  }
  bool hashed = false;
  const Sha256 digest = thread.reader.signatures().hasher().sha256(token, hashed);
  if (!hashed) {
    return fail(code::kIntrospectionFailed, Blame::kInternal, "the token cannot be hashed");
  }
  const TokenCache::Entry* known = thread.tokens.find(digest, policy_id_);
  if (known != nullptr && at < known->good_until) {
    std::shared_ptr<const Identity> identity = known->identity;
    const Result<void> still = judge_again(*identity, now);
    if (!still) return std::unexpected(still.error());
    return identity;
  }
  if (known != nullptr) thread.tokens.erase(digest, policy_id_);
  errand = std::make_shared<Errand>();
  errand->kind = Errand::Kind::kIntrospection;
  errand->provider = shared_from_this();
  errand->subject = token;
  errand->token_digest = digest;
  return nullptr;
}

Result<std::shared_ptr<const Identity>> Provider::take_answer(const Errand& errand,
                                                              ThreadState& thread,
                                                              TokenTime now) const {
  if (!errand.answer) return std::unexpected(errand.answer.error());
  const std::shared_ptr<const Identity>& identity = *errand.answer;
  thread.tokens.insert(errand.token_digest, policy_id_, 0, identity, now - rules_.leeway_s,
                       errand.good_until);
  const Result<void> still = judge_again(*identity, now);
  if (!still) return std::unexpected(still.error());
  return identity;
}

Result<std::shared_ptr<const Identity>> Provider::authenticate_key(std::string_view key,
                                                                   const IpAddress& client,
                                                                   ThreadState& thread,
                                                                   TokenTime now) const {
  if (api_keys_ == nullptr) {
    return fail(code::kKeysUnavailable, Blame::kInternal, "the file of keys cannot be used");
  }
  return api_keys_->authenticate(key, client, now, thread.reader.signatures().hasher());
}

}  // namespace merlon::identity
