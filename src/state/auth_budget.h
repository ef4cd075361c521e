#pragma once

#include "state/entry_hash.h"
#include "state/limit_table.h"

namespace merlon::state {

/// How often one client may fail to authenticate: 20 times at once, then 10 times a minute. A
/// client (an IPv4 address, or the /64 of an IPv6 one) that has spent it is answered 429 before any
/// of its credentials is looked at, so that guessing is slow and costs the gateway nothing.
/// Successes count nothing. Any thread.
class AuthBudget {
 public:
  static constexpr Gcra kBudget{.interval = seconds{6}, .burst = 20};

  /// `table` must outlive this object.
  explicit AuthBudget(LimitTable& table) noexcept
      : table_(table), scope_(scope_of("failed authentications")) {}

  /// Before looking at credentials. Not `admitted`: refuse with 429 and `retry_after`.
  [[nodiscard]] Taken check(const IpAddress& client, Instant now) const noexcept {
    return table_.peek(scope_, client, kBudget, now);
  }
  /// After credentials were found wrong, or absent where they are asked for.
  void failed(const IpAddress& client, Instant now) noexcept {
    static_cast<void>(table_.take(scope_, client, kBudget, now));
  }

 private:
  LimitTable& table_;
  const std::uint64_t scope_;
};

}  // namespace merlon::state
