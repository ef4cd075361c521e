#pragma once

#include <string_view>

#include "state/entry_hash.h"
#include "state/limit_table.h"
#include "state/replay_table.h"

namespace merlon::state {

/// How many proofs of one key may be remembered at a time: a sixteenth of the table, so that no
/// client alone can fill it and close it for the others. Half of them at once, and then as many as
/// come to the other half while they are remembered (410 a second with the usual leeway). Any
/// thread.
class ProofBudget {
 public:
  static constexpr std::uint32_t kProofsMax = ReplayTable::kEntries / 16;

  /// `table` must outlive this object.
  explicit ProofBudget(LimitTable& table) noexcept
      : table_(table), scope_(scope_of("proofs of a key")) {}

  /// Before remembering a proof of the key with this thumbprint, for at most `kept`.
  [[nodiscard]] Taken take(std::string_view thumbprint, seconds kept, Instant now) noexcept {
    constexpr std::uint32_t kHalf = kProofsMax / 2;
    return table_.take(scope_, thumbprint, {.interval = nanoseconds(kept) / kHalf, .burst = kHalf},
                       now);
  }

 private:
  LimitTable& table_;
  const std::uint64_t scope_;
};

}  // namespace merlon::state
