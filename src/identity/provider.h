#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/diagnostics.h"
#include "identity/api_keys.h"
#include "identity/key_set.h"
#include "identity/provider_config.h"
#include "identity/revocations.h"
#include "identity/thread_state.h"
#include "identity/token.h"
#include "io/broker.h"

namespace merlon::identity {

/// An entry of `identity:` in force: its rules with its keys. Immutable, shared by all workers;
/// part of a plan.
class Provider {
 public:
  /// Reads the files that it names. `claims` are the JSON Pointers of the claims that routes ask
  /// for. nullptr after an error in `out`. Blocks on files: for the control thread.
  [[nodiscard]] static std::shared_ptr<const Provider> load(const std::string& name,
                                                            const ProviderConfig& config,
                                                            std::vector<std::string> claims,
                                                            io::Broker& broker, Diagnostics& out);

  /// The same rules with nothing to judge by: everybody is answered kKeysUnavailable. For a start
  /// with a file that cannot be used, which must not keep the rest from being served.
  [[nodiscard]] static std::shared_ptr<const Provider> closed(const std::string& name,
                                                              const ProviderConfig& config,
                                                              std::vector<std::string> claims);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// True: tokens; false: API keys.
  [[nodiscard]] bool takes_tokens() const noexcept { return header_.empty(); }
  [[nodiscard]] const TokenRules& rules() const noexcept { return rules_; }
  /// The field that API keys come in.
  [[nodiscard]] const std::string& header() const noexcept { return header_; }
  [[nodiscard]] const KeySet* keys() const noexcept { return keys_.get(); }
  [[nodiscard]] bool is_closed() const noexcept { return keys_ == nullptr && api_keys_ == nullptr; }

  /// Who sent this token: from the cache when it was verified before, and else by its signature.
  /// Dates, revocations and the key are judged either way.
  [[nodiscard]] Result<std::shared_ptr<const Identity>> authenticate_token(std::string_view token,
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

  std::string name_;
  std::string header_;
  TokenRules rules_;
  std::uint64_t policy_id_ = 0;  ///< equal rules have equal ids, also over a reload
  std::shared_ptr<const KeySet> keys_;
  std::shared_ptr<const Revocations> revocations_;
  std::shared_ptr<const ApiKeys> api_keys_;
};

}  // namespace merlon::identity
