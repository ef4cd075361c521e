#include "policy/shared_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "policy/field_text.h"
#include "state/shared_limits.h"

namespace merlon::policy {
namespace {

using state::SharedAnswer;
using state::SharedRule;

std::string told(std::string_view label, const SharedRule& rule) {
  const std::uint64_t quantity =
      rule.kind == SharedRule::Kind::kRate ? rule.gcra.burst : rule.quota;
  return fmt::format("\"{}\";q={};w={}", label, quantity, rule.window().count());
}

SharedAnswer count_here(const SharedRule& rule, const state::LimitedParty& who,
                        Context& context) noexcept {
  if (context.quotas != nullptr && rule.kind != SharedRule::Kind::kRate)
    return context.quotas->take(rule, who, context.wall);
  state::LimitTable& table = context.tables.limits;
  const state::Taken taken = who.by_name
                                 ? table.take(who.scope, who.name, rule.gcra, context.now)
                                 : table.take(who.scope, who.client, rule.gcra, context.now);
  return {.by = SharedAnswer::By::kShare,
          .admitted = taken.admitted,
          .remaining = taken.admitted ? taken.remaining(rule.gcra) : 0,
          .retry_after = taken.retry_after,
          .reset = taken.admitted ? taken.backlog : taken.retry_after};
}

}  // namespace

SharedLimit::SharedLimit(Setup setup) : setup_(std::move(setup)) {
  policy_field_ = told(setup_.label, setup_.rule);
  for (Class& each : setup_.classes) each.policy_field = told(setup_.label, each.rule);
}

Step SharedLimit::step() const noexcept {
  return setup_.per == LimitPer::kIdentity ? Step::kIdentityLimit : Step::kClientLimit;
}

const SharedLimit::Class* SharedLimit::class_of(const Context& context) const noexcept {
  return setup_.classes.empty() ? nullptr : class_for(setup_.classes, context);
}

std::vector<AppliedClass> SharedLimit::classes_of(const Context& context) const {
  const Class* of_class = class_of(context);
  if (of_class == nullptr) return {};
  return {{.name = of_class->who.name(), .line = &of_class->who.at()}};
}

state::LimitedParty SharedLimit::party(const SharedRule& rule,
                                       const Context& context) const noexcept {
  if (setup_.per == LimitPer::kClient)
    return {.scope = rule.scope,
            .by_name = false,
            .client = context.reading.client.address,
            .name = {}};
  const LimitName entry = limit_name(setup_.per, rule.scope, context);
  return {.scope = entry.scope, .by_name = true, .client = {}, .name = entry.name};
}

Decision SharedLimit::check(Context& context) const noexcept {
  const Class* of_class = class_of(context);
  if (context.answer) return judge(*std::exchange(context.answer, std::nullopt), of_class, context);
  const SharedRule& rule = of_class == nullptr ? setup_.rule : of_class->rule;
  const state::LimitedParty who = party(rule, context);
  if (context.shared == nullptr) return judge(count_here(rule, who, context), of_class, context);
  if (const auto spent = context.shared->spend(rule, who, context.now))
    return judge(*spent, of_class, context);
  context.question = {.rule = &rule, .party = who};
  return Decision::ask_shared();
}

Decision SharedLimit::judge(const SharedAnswer& answer, const Class* of_class,
                            Context& context) const noexcept {
  const Mark& line = of_class == nullptr ? setup_.at : of_class->who.at();
  const std::string_view class_name =
      of_class == nullptr ? std::string_view() : std::string_view(of_class->who.name());
  if (answer.by == SharedAnswer::By::kNobody) {
    if (answer.admitted) {
      if (setup_.open_waiver) context.observations.used(*setup_.open_waiver);
      return Decision::next();
    }
    return Decision::refuse({.status = 503,
                             .error = {.code = code::kStateUnavailable,
                                       .blame = Blame::kInternal,
                                       .what = "the state that nodes share cannot be reached"},
                             .step = setup_.name,
                             .line = &line,
                             .limit_class = class_name});
  }
  FieldText text;
  text.add("\"").add(setup_.label).add("\";r=").add(answer.admitted ? answer.remaining : 0);
  if (answer.reset > nanoseconds{0})
    text.add(";t=").add(static_cast<std::uint64_t>(ceil_seconds(answer.reset)));
  static_cast<void>(context.fields.add("RateLimit-Policy",
                                       of_class == nullptr ? policy_field_ : of_class->policy_field,
                                       http::FieldId::kRateLimitPolicy));
  static_cast<void>(context.fields.add_copy("RateLimit", text.view(), http::FieldId::kRateLimit));
  if (answer.admitted) return Decision::next();
  FieldText after;
  after.add(
      static_cast<std::uint64_t>(std::max<std::int64_t>(ceil_seconds(answer.retry_after), 1)));
  static_cast<void>(
      context.fields.add_copy("Retry-After", after.view(), http::FieldId::kRetryAfter));
  const bool rate = setup_.rule.kind == SharedRule::Kind::kRate;
  return Decision::refuse({.status = 429,
                           .error = {.code = rate ? code::kRateLimited : code::kQuotaExceeded,
                                     .blame = Blame::kClient,
                                     .what = rate ? "more requests than the limit lets through"
                                                  : "the quota is used up"},
                           .step = setup_.name,
                           .line = &line,
                           .limit_class = class_name});
}

}  // namespace merlon::policy
