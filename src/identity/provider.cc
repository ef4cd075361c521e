#include "identity/provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

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
    out.error(file.at, fmt::format("`{}` is no key set: {}", file->written, set.error()));
    return nullptr;
  }
  for (const std::string& skipped : set->skipped) {
    out.warning(file.at, fmt::format("`{}`: {}", file->written, skipped));
  }
  const bool any = std::ranges::any_of(set->keys->keys(), [&](const auto& key) {
    return !key->algorithms().common_with(allowed).empty();
  });
  if (any) return set->keys;
  out.error(file.at, fmt::format("`{}` has no key for any of the `algorithms`", file->written));
  return nullptr;
}

void judge_mode(const Located<config::FilePath>& file, io::Broker& broker, Diagnostics& out) {
  const auto status = broker.status(file->path);
  if (!status.has_value() || (status->mode & kOpenToOthers) == 0) return;
  out.error(file.at,
            fmt::format("others can get at `{}`: its mode is {:04o}", file->written, status->mode),
            fmt::format("chmod o= {}", file->written));
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

}  // namespace

std::shared_ptr<const Provider> Provider::load(const std::string& name,
                                               const ProviderConfig& config,
                                               std::vector<std::string> claims, io::Broker& broker,
                                               Diagnostics& out) {
  const std::size_t errors_before = out.error_count();
  auto made = std::make_shared<Provider>();
  made->name_ = name;
  made->rules_ = rules_of(config, std::move(claims));
  if (config.api_keys.has_value()) {
    made->header_ = *config.api_keys->header;
    judge_mode(config.api_keys->file, broker, out);
    auto text = read_file(config.api_keys->file, broker, out);
    if (text.has_value()) {
      made->api_keys_ = ApiKeys::read(config.api_keys->file->path, std::move(*text), out);
    }
  }
  if (config.jwks_file.has_value()) {
    made->keys_ = load_keys(*config.jwks_file, made->rules_.algorithms, broker, out);
  }
  if (config.revocations.has_value()) {
    auto text = read_file(*config.revocations, broker, out);
    if (text.has_value()) {
      made->revocations_ = Revocations::read((*config.revocations)->path, std::move(*text), out);
    }
  }
  made->seal();
  return out.error_count() == errors_before ? made : nullptr;
}

std::shared_ptr<const Provider> Provider::closed(const std::string& name,
                                                 const ProviderConfig& config,
                                                 std::vector<std::string> claims) {
  auto made = std::make_shared<Provider>();
  made->name_ = name;
  made->rules_ = rules_of(config, std::move(claims));
  if (config.api_keys.has_value()) made->header_ = *config.api_keys->header;
  made->seal();
  return made;
}

/// The policy's id is made of all that a token was judged by.
void Provider::seal() {
  std::string all = fmt::format("{}\n{}\n{}\n{}\n", rules_.issuer, rules_.leeway_s,
                                rules_.lifetime_max_s, rules_.access_token_type);
  for (std::size_t i = 0; i < kAlgorithmCount; ++i) {
    all += rules_.algorithms.contains(static_cast<Algorithm>(i)) ? '1' : '0';
  }
  for (const auto* list : {&rules_.audiences, &rules_.claims}) {
    all += '\n';
    for (const std::string& one : *list) all += fmt::format("{}:{}", one.size(), one);
  }
  const Sha256 digest = sha256(all);
  std::memcpy(&policy_id_, digest.data(), sizeof policy_id_);
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
  if (keys_ == nullptr) {
    return fail(code::kKeysUnavailable, Blame::kInternal, "the issuer's keys are not there");
  }
  if (token.size() > kTokenBytesMax) {
    return fail(code::kTokenMalformed, Blame::kClient, "the token is too long");
  }
  bool hashed = false;
  const Sha256 digest = thread.reader.signatures().hasher().sha256(token, hashed);
  const TokenCache::Entry* known = hashed ? thread.tokens.find(digest, policy_id_) : nullptr;
  if (known != nullptr && keys_->contains(known->key_id)) {
    std::shared_ptr<const Identity> identity = known->identity;
    const Result<void> still = judge_again(*identity, now);
    if (!still) return std::unexpected(still.error());
    return identity;
  }
  std::uint64_t key_id = 0;
  auto identity = thread.reader.accept(token, rules_, *keys_, now, key_id);
  if (!identity) return identity;
  if (hashed) thread.tokens.insert(digest, policy_id_, key_id, *identity, now - rules_.leeway_s);
  const Result<void> still = judge_again(**identity, now);
  if (!still) return std::unexpected(still.error());
  return identity;
}

Result<std::shared_ptr<const Identity>> Provider::authenticate_key(std::string_view key,
                                                                   const IpAddress& client,
                                                                   ThreadState& thread,
                                                                   TokenTime now) const {
  if (api_keys_ == nullptr) {
    return fail(code::kKeysUnavailable, Blame::kInternal, "the file of keys is not there");
  }
  return api_keys_->authenticate(key, client, now, thread.reader.signatures().hasher());
}

}  // namespace merlon::identity
