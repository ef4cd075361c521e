#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/limit_class.h"
#include "policy/limit_per.h"
#include "policy/policy.h"
#include "state/shared_rule.h"

namespace merlon::policy {

/// One limit or quota that nodes share. A lease in hand decides at once; else it asks (kAskShared),
/// and judges once more with the answer. Where there is no shared state to ask (`explain`, `limits
/// simulate`) it counts in the tables of the process, as if there were one node.
class SharedLimit final : public Policy {
 public:
  /// An exception to it: those of the class are counted by a rule of their own.
  struct Class {
    LimitClass who;
    state::SharedRule rule;
    std::string policy_field;  ///< the value of RateLimit-Policy
  };
  struct Setup {
    std::string_view name;  ///< "rate_limit" or "quota"; static
    std::string label;      ///< in the RateLimit fields
    LimitPer per = LimitPer::kClient;
    state::SharedRule rule;
    std::vector<Class> classes;
    Mark at;
    std::optional<std::size_t> open_waiver{};  ///< that lets requests through when Redis fails
  };
  explicit SharedLimit(Setup setup);

  [[nodiscard]] std::string_view name() const noexcept override { return setup_.name; }
  [[nodiscard]] Step step() const noexcept override;
  [[nodiscard]] const Mark& at() const noexcept override { return setup_.at; }
  [[nodiscard]] Decision check(Context& context) const noexcept override;
  [[nodiscard]] std::vector<AppliedClass> classes_of(const Context& context) const override;

 private:
  /// The class of the request; nullptr when it has none. The same before and after Redis is asked.
  [[nodiscard]] const Class* class_of(const Context& context) const noexcept;
  [[nodiscard]] state::LimitedParty party(const state::SharedRule& rule,
                                          const Context& context) const noexcept;
  [[nodiscard]] Decision judge(const state::SharedAnswer& answer, const Class* of_class,
                               Context& context) const noexcept;

  Setup setup_;
  std::string policy_field_;  ///< the value of RateLimit-Policy
};

}  // namespace merlon::policy
