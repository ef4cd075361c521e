#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "policy/compile.h"
#include "policy/limit_per.h"
#include "policy/policy.h"

namespace merlon::policy {

/// One entry of `concurrency` as it is written.
struct ConcurrencyConfig {
  config::Located<std::uint32_t> limit;
  config::Located<LimitPer> per{.value = LimitPer::kClient, .at = {}};
  Mark at;
};

[[nodiscard]] config::Type<std::vector<ConcurrencyConfig>> concurrency_type();

/// Reports limits that limit nothing. The reader stands at `concurrency`.
void check_concurrency(const std::vector<ConcurrencyConfig>& limits, config::Reader& reader);

/// Refuses requests while too many of the same client or of the route are in progress (429 with
/// Retry-After). A place is taken when the request has passed authentication and is given back when
/// its response is sent or its connection gone.
class Concurrency final : public Policy {
 public:
  /// `place` as for RateLimit.
  Concurrency(const std::vector<ConcurrencyConfig>& limits, std::string_view place);

  [[nodiscard]] std::string_view name() const noexcept override { return "concurrency"; }
  [[nodiscard]] Step step() const noexcept override { return Step::kIdentityLimit; }
  [[nodiscard]] const Mark& at() const noexcept override { return rules_.front().at; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  struct Rule {
    std::uint32_t limit;
    LimitPer per;
    std::uint64_t scope;
    Mark at;
  };
  std::vector<Rule> rules_;  ///< those of clients first
};

/// `concurrency` of a route, see policy_list.h.
struct Concurrencies {
  using Config = std::vector<ConcurrencyConfig>;
  using Member = Config;
  static constexpr std::string_view kKey = "concurrency";
  static constexpr std::string_view kDoc =
      "How many requests may be in progress at a time; one limit or several.";
  static constexpr std::string_view kExample = "{ limit: 20, per: client }";
  static constexpr Step kStep = Step::kIdentityLimit;
  static constexpr bool kObservable = true;

  [[nodiscard]] static config::Type<Config> type() { return concurrency_type(); }
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

}  // namespace merlon::policy
