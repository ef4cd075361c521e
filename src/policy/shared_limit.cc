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

}  // namespace

SharedLimit::SharedLimit(Setup setup) : setup_(std::move(setup)) {
  const SharedRule& rule = setup_.rule;
  const std::uint64_t quantity =
      rule.kind == SharedRule::Kind::kRate ? rule.gcra.burst : rule.quota;
  policy_field_ = fmt::format("\"{}\";q={};w={}", setup_.label, quantity, rule.window().count());
}

Step SharedLimit::step() const noexcept {
  return setup_.per == LimitPer::kIdentity ? Step::kIdentityLimit : Step::kClientLimit;
}

state::LimitedParty SharedLimit::party(const Context& context) const noexcept {
  if (setup_.per == LimitPer::kClient)
    return {.scope = setup_.rule.scope,
            .by_name = false,
            .client = context.reading.client.address,
            .name = {}};
  const LimitName entry = limit_name(setup_.per, setup_.rule.scope, context);
  return {.scope = entry.scope, .by_name = true, .client = {}, .name = entry.name};
}

Decision SharedLimit::check(Context& context) const noexcept {
  if (context.answer) return judge(*std::exchange(context.answer, std::nullopt), context);
  const state::LimitedParty who = party(context);
  if (context.shared == nullptr) return judge(count_here(who, context), context);
  if (const auto spent = context.shared->spend(setup_.rule, who, context.now))
    return judge(*spent, context);
  context.question = {.rule = &setup_.rule, .party = who};
  return Decision::ask_shared();
}

SharedAnswer SharedLimit::count_here(const state::LimitedParty& who,
                                     Context& context) const noexcept {
  state::LimitTable& table = context.tables.limits;
  const SharedRule& rule = setup_.rule;
  const state::Taken taken = who.by_name
                                 ? table.take(who.scope, who.name, rule.gcra, context.now)
                                 : table.take(who.scope, who.client, rule.gcra, context.now);
  return {.by = SharedAnswer::By::kShare,
          .admitted = taken.admitted,
          .remaining = taken.admitted ? taken.remaining(rule.gcra) : 0,
          .retry_after = taken.retry_after,
          .reset = taken.admitted ? taken.backlog : taken.retry_after};
}

Decision SharedLimit::judge(const SharedAnswer& answer, Context& context) const noexcept {
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
                             .line = &setup_.at});
  }
  FieldText text;
  text.add("\"").add(setup_.label).add("\";r=").add(answer.admitted ? answer.remaining : 0);
  if (answer.reset > nanoseconds{0})
    text.add(";t=").add(static_cast<std::uint64_t>(ceil_seconds(answer.reset)));
  static_cast<void>(
      context.fields.add("RateLimit-Policy", policy_field_, http::FieldId::kRateLimitPolicy));
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
                           .line = &setup_.at});
}

}  // namespace merlon::policy
