#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "policy/limit_per.h"
#include "policy/policy.h"
#include "state/shared_rule.h"

namespace merlon::policy {

/// One limit or quota that nodes share. A lease in hand decides at once; else it asks (kAskShared),
/// and judges once more with the answer. Where there is no shared state to ask (`explain`, `limits
/// simulate`) it counts in the tables of the process, as if there were one node.
class SharedLimit final : public Policy {
 public:
  struct Setup {
    std::string_view name;  ///< "rate_limit" or "quota"; static
    std::string label;      ///< in the RateLimit fields
    LimitPer per = LimitPer::kClient;
    state::SharedRule rule;
    Mark at;
    std::optional<std::size_t> open_waiver{};  ///< that lets requests through when Redis fails
  };
  explicit SharedLimit(Setup setup);

  [[nodiscard]] std::string_view name() const noexcept override { return setup_.name; }
  [[nodiscard]] Step step() const noexcept override;
  [[nodiscard]] const Mark& at() const noexcept override { return setup_.at; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;

 private:
  [[nodiscard]] state::LimitedParty party(const Context& context) const noexcept;
  [[nodiscard]] Decision judge(const state::SharedAnswer& answer, Context& context) const noexcept;
  [[nodiscard]] state::SharedAnswer count_here(const state::LimitedParty& party,
                                               Context& context) const noexcept;

  const Setup setup_;
  std::string policy_field_;  ///< the value of RateLimit-Policy
};

}  // namespace merlon::policy
