#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "policy/compile.h"
#include "policy/limit_per.h"
#include "policy/policy.h"
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
  Mark at;

  [[nodiscard]] state::Gcra gcra() const noexcept { return state::Gcra::of(*rate, *burst); }
};

[[nodiscard]] config::Type<std::vector<RateLimitConfig>> rate_limit_type();

/// Reports limits that limit nothing: given twice, or outdone by a stricter one of the route.
/// The reader stands at `rate_limit`.
void check_rate_limits(const std::vector<RateLimitConfig>& limits, config::Reader& reader);

/// One limit of a route, compiled.
struct RateLimitRule {
  state::Gcra gcra;
  LimitPer per = LimitPer::kClient;
  bool delay = false;
  std::uint64_t scope = 0;  ///< in the table, see state::scope_of
  std::string name;         ///< in the RateLimit fields: "client", "route", "client-2"
  Mark at;
};

/// Refuses requests beyond the rates of a route (429, RFC 6585 §4), with Retry-After and the fields
/// RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10); those go on every
/// response, so that clients can slow down before they are refused.
///
/// Each limit is counted in the table that all workers share. Those of clients are asked before
/// that of the route, so that a client which is over its own limit takes nothing of what all share;
/// among them the one with the highest rate first, so that what it refuses costs the slower ones
/// nothing.
class RateLimit final : public Policy {
 public:
  /// `place` is where the limits stand ("routes.orders.rate_limit"): with the rule itself it is
  /// what counts are kept by, so that a reload which changes neither keeps them.
  ///
  /// Takes the limits of one step only: those by client and route stand at kClientLimit, those by
  /// identity at kIdentityLimit, when it is known who asks.
  RateLimit(const std::vector<RateLimitConfig>& limits, std::string_view place,
            Step step = Step::kClientLimit);

  [[nodiscard]] std::string_view name() const noexcept override { return "rate_limit"; }
  [[nodiscard]] Step step() const noexcept override { return step_; }
  [[nodiscard]] const Mark& at() const noexcept override { return rules_.front().at; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

  /// In the order in which they are asked.
  [[nodiscard]] const std::vector<RateLimitRule>& rules() const noexcept { return rules_; }

 private:
  [[nodiscard]] Decision refuse(const RateLimitRule& rule, const state::Taken& taken,
                                Context& context) const noexcept;
  void tell(const RateLimitRule& rule, const state::Taken& taken, Context& context) const noexcept;

  const Step step_;
  std::vector<RateLimitRule> rules_;
  std::string policy_field_;  ///< the value of RateLimit-Policy
};

/// `rate_limit` of a route, see policy_list.h.
struct RateLimits {
  using Config = std::vector<RateLimitConfig>;
  using Member = Config;
  static constexpr std::string_view kKey = "rate_limit";
  static constexpr std::string_view kDoc =
      "How many requests are let through in a time; one limit or several.";
  static constexpr std::string_view kExample = "{ rate: 10/s, burst: 20, per: client }";
  static constexpr Step kStep = Step::kClientLimit;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<Config> type() { return rate_limit_type(); }
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

}  // namespace merlon::policy
