#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/diagnostics.h"
#include "identity/api_keys.h"
#include "identity/errand.h"
#include "identity/introspection.h"
#include "identity/key_set.h"
#include "identity/key_source.h"
#include "identity/provider_config.h"
#include "identity/revocations.h"
#include "identity/thread_state.h"
#include "identity/token.h"
#include "io/broker.h"

namespace merlon::identity {

/// An entry of `identity:` in force: its rules with its keys. Immutable, shared by all workers;
/// part of a plan.
class Provider : public std::enable_shared_from_this<Provider> {
 public:
  /// What it judges.
  enum class Kind : std::uint8_t { kTokens, kOpaqueTokens, kApiKeys };

  /// Reads the files that it names. `claims` are the JSON Pointers of the claims that routes ask
  /// for. In place of each file that is an error in `out`, what `in_force` has of it stays, so that
  /// a broken file holds back no revocation in another; nullptr when that has nothing of it, or
  /// there is none. Blocks on files: for the control thread.
  [[nodiscard]] static std::shared_ptr<const Provider> load(const std::string& name,
                                                            const ProviderConfig& config,
                                                            std::vector<std::string> claims,
                                                            io::Broker& broker, Diagnostics& out,
                                                            const Provider* in_force = nullptr);

  /// The same rules with nothing to judge by: everybody is answered kKeysUnavailable. For a start
  /// with a file that cannot be used, which must not keep the rest from being served.
  [[nodiscard]] static std::shared_ptr<const Provider> closed(const std::string& name,
                                                              const ProviderConfig& config,
                                                              std::vector<std::string> claims);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  /// True: tokens; false: API keys.
  [[nodiscard]] bool takes_tokens() const noexcept { return kind_ != Kind::kApiKeys; }
  [[nodiscard]] const TokenRules& rules() const noexcept { return rules_; }
  /// The field that API keys come in.
  [[nodiscard]] const std::string& header() const noexcept { return header_; }
  /// Where its keys are fetched; null when they are not.
  [[nodiscard]] const std::shared_ptr<const KeySource>& key_source() const noexcept {
    return source_;
  }
  /// Whom it asks about tokens; null when it does not.
  [[nodiscard]] const IntrospectionSource* introspection() const noexcept {
    return introspection_.get();
  }
  /// What is asked of proofs beyond RFC 9449.
  [[nodiscard]] bool dpop_required() const noexcept { return dpop_required_; }
  [[nodiscard]] bool dpop_nonce() const noexcept { return dpop_nonce_; }
  /// Where the metadata of what it opens stands (RFC 9728 §3); "" when there is none.
  [[nodiscard]] const std::string& metadata_url() const noexcept { return metadata_url_; }
  [[nodiscard]] bool is_closed() const noexcept {
    return keys_ == nullptr && api_keys_ == nullptr && source_ == nullptr &&
           introspection_ == nullptr;
  }
  /// Equal rules have equal ids, also over a reload.
  [[nodiscard]] std::uint64_t policy_id() const noexcept { return policy_id_; }
  /// Tells servers that are asked about tokens apart, with the credentials that they are shown.
  [[nodiscard]] std::uint64_t server_id() const noexcept { return server_id_; }

  /// Who sent this token: from the cache when it was verified before, and else by its signature.
  /// Dates, revocations and the key are judged either way.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> authenticate_token(std::string_view token,
                                                                           ThreadState& thread,
                                                                           TokenTime now) const;
  /// The errand that might change what `authenticate_token` said; null when none does.
  [[nodiscard]] std::shared_ptr<Errand> errand_after(const Error& error, std::string_view token,
                                                     ThreadState& thread, Instant now) const;
  /// True for a token whose key nobody looked for yet, since the issuer was asked a moment ago.
  [[nodiscard]] bool may_have_key(std::string_view token, ThreadState& thread, Instant now) const;
  /// Who sent this opaque token, when it was asked about of late; null with an errand otherwise.
  /// `now` and `at` are the same time: by the one a token ends, by the other, which nobody sets, an
  /// answer grows old.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> recall_token(
      std::string_view token, ThreadState& thread, TokenTime now, Instant at,
      std::shared_ptr<Errand>& errand) const;
  /// Takes in what was found out about an opaque token.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> take_answer(const Errand& errand,
                                                                    ThreadState& thread,
                                                                    TokenTime now) const;
  [[nodiscard]] Result<std::shared_ptr<const Identity>> authenticate_key(std::string_view key,
                                                                         const IpAddress& client,
                                                                         ThreadState& thread,
                                                                         TokenTime now) const;
  /// The number of the claim with this pointer in Identity; it is one of `claims`.
  [[nodiscard]] std::size_t claim_number(std::string_view pointer) const noexcept;

 private:
  [[nodiscard]] Result<void> judge_again(const Identity& identity, TokenTime now) const noexcept;
  void seal();
  void describe(const ProviderConfig& config);
  [[nodiscard]] bool has_all_of(const ProviderConfig& config) const noexcept;
  [[nodiscard]] std::shared_ptr<const KeySource> load_key_source(const ProviderConfig& config,
                                                                 io::Broker& broker,
                                                                 Diagnostics& out) const;
  void load_introspection(const ProviderConfig& config, const IntrospectionSource* in_force,
                          io::Broker& broker, Diagnostics& out);

  std::string name_;
  Kind kind_ = Kind::kTokens;
  bool dpop_required_ = false;
  bool dpop_nonce_ = false;
  std::string metadata_url_;
  std::string header_;
  TokenRules rules_;
  std::uint64_t policy_id_ = 0;
  std::uint64_t server_id_ = 0;
  std::shared_ptr<const KeySource> source_;
  std::unique_ptr<const IntrospectionSource> introspection_;
  std::shared_ptr<const KeySet> keys_;
  std::shared_ptr<const Revocations> revocations_;
  std::shared_ptr<const ApiKeys> api_keys_;
};

}  // namespace merlon::identity
