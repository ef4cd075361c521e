#include "policy/rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "policy/field_text.h"
#include "policy/shared_limit.h"
#include "state/entry_hash.h"

namespace merlon::policy {
namespace {

using state::Taken;

Step step_of(LimitPer per) {
  return per == LimitPer::kIdentity ? Step::kIdentityLimit : Step::kClientLimit;
}

/// What counts of a limit are kept by, and those of a class of it.
std::string identity_of(const RateLimitConfig& limit, std::string_view place) {
  return fmt::format("{}/{}/{}/{}/{}/{}", place, limit_per_name(*limit.per), limit.rate->events,
                     limit.rate->per.count(), *limit.burst, limit.delay);
}

std::string identity_of(const LimitClassConfig& each, std::string_view of_limit) {
  return fmt::format("{}/class/{}/{}/{}/{}", of_limit, each.name, each.rate->events,
                     each.rate->per.count(), *each.burst);
}

/// Limits of a route may have the same numbers and other classes: each counts for itself.
class Identities {
 public:
  [[nodiscard]] std::string distinct(std::string identity) {
    const int nth = ++seen_[identity];
    return nth == 1 ? identity : fmt::format("{}/{}", identity, nth);
  }

 private:
  std::map<std::string, int> seen_;
};

void name_bounds(RateLimitBounds& bounds, std::string_view name) {
  bounds.told = fmt::format("\"{}\";q={};w={}", name, bounds.gcra.burst,
                            ceil_seconds(bounds.gcra.tolerance()));
}

RateLimitRule rule_of(const RateLimitConfig& limit, std::string_view identity) {
  RateLimitRule rule{.bounds = {.gcra = limit.gcra(),
                                .scope = state::scope_of(identity),
                                .told = {},
                                .at = limit.at},
                     .per = *limit.per,
                     .delay = limit.delay,
                     .name = {},
                     .classes = {}};
  for (const LimitClassConfig& each : limit.classes) {
    rule.classes.push_back({.who = LimitClass(each),
                            .bounds = {.gcra = state::Gcra::of(*each.rate, *each.burst),
                                       .scope = state::scope_of(identity_of(each, identity)),
                                       .told = {},
                                       .at = each.at}});
  }
  return rule;
}

}  // namespace

RateLimit::RateLimit(const std::vector<RateLimitConfig>& limits, std::string_view place, Step step)
    : step_(step) {
  Identities identities;
  for (const RateLimitConfig& limit : limits) {
    if (step_of(*limit.per) != step || *limit.shared) continue;
    rules_.push_back(rule_of(limit, identities.distinct(identity_of(limit, place))));
  }
  std::ranges::sort(rules_, [](const RateLimitRule& a, const RateLimitRule& b) {
    if (a.per != b.per) return a.per < b.per;
    if (a.bounds.gcra.interval != b.bounds.gcra.interval)
      return a.bounds.gcra.interval < b.bounds.gcra.interval;
    return a.bounds.gcra.burst < b.bounds.gcra.burst;
  });
  std::map<LimitPer, int> of_kind;
  for (RateLimitRule& rule : rules_) {
    const int nth = ++of_kind[rule.per];
    rule.name = limit_per_name(rule.per);
    if (nth > 1) rule.name += fmt::format("-{}", nth);
    name_bounds(rule.bounds, rule.name);
    for (RateLimitClass& each : rule.classes) name_bounds(each.bounds, rule.name);
    has_classes_ = has_classes_ || !rule.classes.empty();
    policy_field_ += fmt::format("{}{}", policy_field_.empty() ? "" : ", ", rule.bounds.told);
  }
}

RateLimit::Outcome RateLimit::take(const RateLimitRule& rule, Context& context) noexcept {
  Outcome out{.rule = &rule, .of_class = rule.class_of(context), .taken = {}};
  const RateLimitBounds& bounds = out.bounds();
  state::LimitTable& table = context.tables.limits;
  if (rule.per == LimitPer::kClient) {
    out.taken = table.take(bounds.scope, context.reading.client.address, bounds.gcra, context.now);
    return out;
  }
  const LimitName entry = limit_name(rule.per, bounds.scope, context);
  out.taken = table.take(entry.scope, entry.name, bounds.gcra, context.now);
  return out;
}

/// What holds for this request: of a class, its own numbers.
void RateLimit::tell_policy(Context& context) const noexcept {
  if (!has_classes_) {
    static_cast<void>(
        context.fields.add("RateLimit-Policy", policy_field_, http::FieldId::kRateLimitPolicy));
    return;
  }
  FieldText<512> text;
  for (const RateLimitRule& rule : rules_) {
    const RateLimitClass* of_class = rule.class_of(context);
    if (&rule != &rules_.front()) text.add(", ");
    text.add(of_class == nullptr ? rule.bounds.told : of_class->bounds.told);
  }
  static_cast<void>(
      context.fields.add_copy("RateLimit-Policy", text.view(), http::FieldId::kRateLimitPolicy));
}

void RateLimit::tell(const Outcome& outcome, Context& context) const noexcept {
  const state::Gcra& gcra = outcome.bounds().gcra;
  const Taken& taken = outcome.taken;
  const std::uint64_t remaining = taken.admitted ? taken.remaining(gcra) : 0;
  // Until all of it is there again; or, when nothing is left, until one request is.
  const nanoseconds reset =
      remaining > 0 ? taken.backlog : taken.backlog + gcra.interval - gcra.tolerance();
  FieldText text;
  text.add("\"").add(outcome.rule->name).add("\";r=").add(remaining);
  text.add(";t=").add(static_cast<std::uint64_t>(ceil_seconds(reset)));
  tell_policy(context);
  static_cast<void>(context.fields.add_copy("RateLimit", text.view(), http::FieldId::kRateLimit));
}

Decision RateLimit::refuse(const Outcome& outcome, Context& context) const noexcept {
  tell(outcome, context);
  FieldText after;
  after.add(static_cast<std::uint64_t>(
      std::max<std::int64_t>(ceil_seconds(outcome.taken.retry_after), 1)));
  static_cast<void>(
      context.fields.add_copy("Retry-After", after.view(), http::FieldId::kRetryAfter));
  return Decision::refuse({.status = 429,
                           .error = {.code = code::kRateLimited,
                                     .blame = Blame::kClient,
                                     .what = "more requests than the limit lets through"},
                           .step = "rate_limit",
                           .line = &outcome.bounds().at,
                           .limit_class = outcome.of_class == nullptr
                                              ? std::string_view()
                                              : std::string_view(outcome.of_class->who.name())});
}

Decision RateLimit::check(Context& context) const noexcept {
  Outcome scarcest;
  nanoseconds wait{0};
  for (const RateLimitRule& rule : rules_) {
    const Outcome outcome = take(rule, context);
    if (!outcome.taken.admitted) return refuse(outcome, context);
    if (rule.delay) wait = std::max(wait, outcome.taken.wait);
    if (scarcest.rule == nullptr || outcome.taken.remaining(outcome.bounds().gcra) <
                                        scarcest.taken.remaining(scarcest.bounds().gcra))
      scarcest = outcome;
  }
  if (scarcest.rule != nullptr) tell(scarcest, context);
  if (wait > nanoseconds{0}) return Decision::wait(std::chrono::ceil<milliseconds>(wait));
  return Decision::next();
}

std::vector<AppliedClass> RateLimit::classes_of(const Context& context) const {
  std::vector<AppliedClass> out;
  for (const RateLimitRule& rule : rules_) {
    if (const RateLimitClass* of_class = rule.class_of(context))
      out.push_back({.name = of_class->who.name(), .line = &of_class->bounds.at});
  }
  return out;
}

namespace {

state::SharedRule shared_rule(const state::Gcra& gcra, const SharedSetup& setup,
                              std::string_view identity) {
  return {.kind = state::SharedRule::Kind::kRate,
          .gcra = gcra,
          .quota = 0,
          .lease = setup.leased ? state::lease_of(gcra.burst, setup.nodes) : 1,
          .share = state::share_of(gcra, setup.nodes),
          .on_failure = setup.on_failure,
          .scope = state::scope_of(identity)};
}

/// Those that nodes share: a judge for each, since each may have to wait for an answer.
void compile_shared(const std::vector<RateLimitConfig>& limits, CompileInput& input, Judges& out) {
  std::map<LimitPer, int> of_kind;
  Identities identities;
  for (const RateLimitConfig& limit : limits) {
    if (!*limit.shared) continue;
    if (input.shared == nullptr) {
      if (!input.shared_is_wrong)
        input.reader.error(limit.shared.at, "there is no `shared_state` to count it in",
                           "say where Redis is");
      continue;
    }
    const int nth = ++of_kind[*limit.per];
    // The number of nodes and the mode are left out: counts stay when they change.
    const std::string identity = identities.distinct(
        fmt::format("shared/{}/{}/{}/{}/{}", input.reader.place(), limit_per_name(*limit.per),
                    limit.rate->events, limit.rate->per.count(), *limit.burst));
    SharedLimit::Setup setup{.name = "rate_limit",
                             .label = fmt::format("{}-shared{}", limit_per_name(*limit.per),
                                                  nth > 1 ? fmt::format("-{}", nth) : ""),
                             .per = *limit.per,
                             .rule = shared_rule(limit.gcra(), *input.shared, identity),
                             .classes = {},
                             .at = limit.at,
                             .open_waiver = input.shared->open_waiver};
    for (const LimitClassConfig& each : limit.classes) {
      setup.classes.push_back({.who = LimitClass(each),
                               .rule = shared_rule(state::Gcra::of(*each.rate, *each.burst),
                                                   *input.shared, identity_of(each, identity)),
                               .policy_field = {}});
    }
    out.push_back(std::make_unique<SharedLimit>(std::move(setup)));
  }
}

}  // namespace

void RateLimits::compile(const Member& config, CompileInput& input, Judges& out) {
  if (config.empty()) return;
  check_rate_limits(config, input.reader);
  for (const Step step : {Step::kClientLimit, Step::kIdentityLimit}) {
    auto judge = std::make_unique<RateLimit>(config, input.reader.place(), step);
    if (!judge->rules().empty()) out.push_back(std::move(judge));
  }
  compile_shared(config, input, out);
}

}  // namespace merlon::policy
