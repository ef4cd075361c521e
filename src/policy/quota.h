#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "policy/compile.h"
#include "policy/limit_per.h"

namespace merlon::policy {

/// One entry of `quota` as it is written.
struct QuotaConfig {
  Located<Rate> limit;
  Located<LimitPer> per{.value = LimitPer::kIdentity, .at = {}};
  Mark at;
};

[[nodiscard]] config::Type<std::vector<QuotaConfig>> quota_type();

/// `quota` of a route, see policy_list.h: how many requests an identity has in an hour, a day or a
/// month of UTC, counted over all nodes in Redis (429 above it).
struct Quotas {
  using Config = std::vector<QuotaConfig>;
  using Member = Config;
  static constexpr std::string_view kKey = "quota";
  static constexpr std::string_view kDoc =
      "How many requests an identity may make in an hour, a day or a month; one quota or several. "
      "Counted in `shared_state`.";
  static constexpr std::string_view kExample = "{ limit: 100000/day, per: identity }";
  static constexpr Step kStep = Step::kIdentityLimit;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<Config> type() { return quota_type(); }
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

}  // namespace merlon::policy
