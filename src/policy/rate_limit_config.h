#pragma once

#include <cstdint>
#include <vector>

#include "config/schema.h"
#include "policy/limit_class.h"
#include "policy/limit_per.h"
#include "state/limit_table.h"

namespace merlon::policy {

using config::Located;

/// One entry of `rate_limit` as it is written.
struct RateLimitConfig {
  Located<Rate> rate;
  Located<std::uint32_t> burst{.value = 1, .at = {}};
  Located<LimitPer> per{.value = LimitPer::kClient, .at = {}};
  bool delay = false;
  Located<bool> shared;
  std::vector<LimitClassConfig> classes;
  Mark at;

  [[nodiscard]] state::Gcra gcra() const noexcept { return state::Gcra::of(*rate, *burst); }
};

[[nodiscard]] config::Type<std::vector<RateLimitConfig>> rate_limit_type();

/// Reports limits that limit nothing: given twice, or outdone by a stricter one of the route.
/// The reader stands at `rate_limit`.
void check_rate_limits(const std::vector<RateLimitConfig>& limits, config::Reader& reader);

}  // namespace merlon::policy
