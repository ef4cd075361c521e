#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/compile.h"
#include "policy/policy.h"
#include "policy/rate_limit_config.h"
#include "state/limit_table.h"

namespace merlon::policy {

/// By what a limit, or a class of it, counts.
struct RateLimitBounds {
  state::Gcra gcra;
  std::uint64_t scope = 0;  ///< in the table, see state::scope_of
  std::string told;         ///< in RateLimit-Policy: `"client";q=20;w=2`
  Mark at;
};

/// An exception to a limit, compiled.
struct RateLimitClass {
  LimitClass who;
  RateLimitBounds bounds;
};

/// One limit of a route, compiled.
struct RateLimitRule {
  RateLimitBounds bounds;
  LimitPer per = LimitPer::kClient;
  bool delay = false;
  std::string name;  ///< in the RateLimit fields: "client", "route", "client-2"
  std::vector<RateLimitClass> classes;

  /// The class of the request; nullptr when it has none.
  [[nodiscard]] const RateLimitClass* class_of(const Context& context) const noexcept {
    return classes.empty() ? nullptr : class_for(classes, context);
  }
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
  [[nodiscard]] const Mark& at() const noexcept override { return rules_.front().bounds.at; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;
  [[nodiscard]] std::vector<AppliedClass> classes_of(const Context& context) const override;

  /// In the order in which they are asked.
  [[nodiscard]] const std::vector<RateLimitRule>& rules() const noexcept { return rules_; }

 private:
  /// What became of a request at one limit.
  struct Outcome {
    const RateLimitRule* rule = nullptr;
    const RateLimitClass* of_class = nullptr;
    state::Taken taken;

    [[nodiscard]] const RateLimitBounds& bounds() const noexcept {
      return of_class == nullptr ? rule->bounds : of_class->bounds;
    }
  };
  [[nodiscard]] static Outcome take(const RateLimitRule& rule, Context& context) noexcept;
  [[nodiscard]] Decision refuse(const Outcome& outcome, Context& context) const noexcept;
  void tell(const Outcome& outcome, Context& context) const noexcept;
  void tell_policy(Context& context) const noexcept;

  const Step step_;
  std::vector<RateLimitRule> rules_;
  bool has_classes_ = false;
  std::string policy_field_;  ///< the value of RateLimit-Policy for requests of no class
};

/// `rate_limit` of a route, see policy_list.h.
struct RateLimits {
  using Config = std::vector<RateLimitConfig>;
  using Member = Config;
  static constexpr std::string_view kKey = "rate_limit";
  static constexpr std::string_view kDoc =
      "How many requests are allowed per unit of time; one limit or several.";
  static constexpr std::string_view kExample = "{ rate: 10/s, burst: 20, per: client }";
  static constexpr Step kStep = Step::kClientLimit;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<Config> type() { return rate_limit_type(); }
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

}  // namespace merlon::policy
