#include "policy/rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "policy/field_text.h"
#include "policy/shared_limit.h"
#include "state/entry_hash.h"

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;
using state::Gcra;
using state::Taken;

constexpr std::size_t kLimitsMax = 8;
// Intervals are counted in nanoseconds: above this rate rounding would exceed 0.1 %.
constexpr std::uint64_t kPerSecondMax = 1'000'000;
// Redis counts in sixteenths of a microsecond: to 0.6 % at this rate.
constexpr std::uint64_t kSharedPerSecondMax = 100'000;
constexpr std::uint32_t kBurstMax = 1'000'000;
// A request that waits holds its memory and its connection.
constexpr seconds kWaitMax{30};

/// Whether `a` is no higher than `b`: events / per, compared without division.
bool at_most(const Rate& a, const Rate& b) {
  __extension__ using Wide = unsigned __int128;
  return Wide{a.events} * static_cast<std::uint64_t>(b.per.count()) <=
         Wide{b.events} * static_cast<std::uint64_t>(a.per.count());
}

void check_one(const RateLimitConfig& limit, Reader& reader) {
  if (!at_most(*limit.rate, {.events = kPerSecondMax, .per = seconds{1}})) {
    reader.error(limit.rate.at, fmt::format("a rate is at most {}/s", kPerSecondMax));
    return;
  }
  const Gcra gcra = limit.gcra();
  const auto span = static_cast<double>(gcra.interval.count()) * *limit.burst;
  if (span > static_cast<double>(Gcra::kHorizonMax.count())) {
    reader.error(limit.burst.at.known() ? limit.burst.at : limit.at,
                 "at this rate it takes more than 32 days until such a burst is free again",
                 "lower `burst`, or use a higher rate");
    return;
  }
  if (*limit.shared && !at_most(*limit.rate, {.events = kSharedPerSecondMax, .per = seconds{1}})) {
    reader.error(limit.rate.at,
                 fmt::format("a rate that nodes share is at most {}/s", kSharedPerSecondMax));
  }
  if (!limit.delay) return;
  if (*limit.shared) {
    reader.error(limit.shared.at, "`delay` and `shared` do not go together",
                 "requests wait for their turn on one node");
  } else if (*limit.burst < 2) {
    reader.error(limit.at, "`delay` delays nothing: with a burst of 1 no request can wait",
                 "`burst` is how many requests may be on their way or wait");
  } else if (gcra.tolerance() - gcra.interval > kWaitMax) {
    reader.error(limit.burst.at,
                 fmt::format("the last of such a burst would wait {} s, and requests wait for {} s "
                             "at most",
                             std::chrono::ceil<seconds>(gcra.tolerance() - gcra.interval).count(),
                             kWaitMax.count()),
                 "lower `burst`, or leave out `delay`");
  }
}

const Object<RateLimitConfig>& schema() {
  static const auto schema =
      Object<RateLimitConfig>(
          "rate limit",
          "How many requests are let through in a time; 429 with Retry-After above it. Counted "
          "over all workers exactly; preflights and requests that are refused further on count.")
          .required("rate", &RateLimitConfig::rate, config::rate(),
                    "The rate in the long run, at most 1000000/s.")
          .field("burst", &RateLimitConfig::burst, config::integer(1, kBurstMax),
                 "How many may come at once. Over any time, `burst` and what the rate gives in "
                 "that time are let through.")
          .field(
              "per", &RateLimitConfig::per, limit_per_type(),
              "Whose requests are counted together: those of a `client` (an IPv4 address, or "
              "the /64 of an IPv6 one), those of an `identity`, wherever it comes from, or all of "
              "the `route`.")
          .field("delay", &RateLimitConfig::delay, config::boolean(),
                 "Requests of a burst wait for their turn, one at a time at the rate, in place of "
                 "going on at once; for at most 30 s. What is beyond the burst is refused.")
          .field("shared", &RateLimitConfig::shared, config::boolean(),
                 "Whether all nodes count together, in `shared_state`; else each node enforces the "
                 "limit by itself.")
          .later("classes", "exceptions to a limit by network or identity")
          .mark(&RateLimitConfig::at)
          .check(check_one);
  return schema;
}

/// Whether whatever `strict` lets through is let through by `loose` as well.
bool outdoes(const RateLimitConfig& strict, const RateLimitConfig& loose) {
  // What the route as a whole may do bounds each client; not the other way round.
  if (strict.per.value != loose.per.value && *strict.per != LimitPer::kRoute) return false;
  // One counts over all nodes, the other for each: either may be the stricter.
  if (*strict.shared != *loose.shared) return false;
  // A limit that delays spreads requests out, even those that a stricter one lets through.
  if (loose.delay && !strict.delay) return false;
  return at_most(*strict.rate, *loose.rate) && *strict.burst <= *loose.burst;
}

std::string describe(const RateLimitConfig& limit) {
  return fmt::format("{} with a burst of {} per {}", format_rate(*limit.rate), *limit.burst,
                     limit_per_name(*limit.per));
}

Step step_of(LimitPer per) {
  return per == LimitPer::kIdentity ? Step::kIdentityLimit : Step::kClientLimit;
}

Taken take(const RateLimitRule& rule, Context& context) noexcept {
  state::LimitTable& table = context.tables.limits;
  if (rule.per == LimitPer::kClient)
    return table.take(rule.scope, context.reading.client.address, rule.gcra, context.now);
  const LimitName entry = limit_name(rule.per, rule.scope, context);
  return table.take(entry.scope, entry.name, rule.gcra, context.now);
}

}  // namespace

config::Type<std::vector<RateLimitConfig>> rate_limit_type() {
  return config::one_or_list(config::object(schema()), 1, kLimitsMax);
}

void check_rate_limits(const std::vector<RateLimitConfig>& limits, Reader& reader) {
  for (std::size_t i = 0; i < limits.size(); ++i) {
    for (std::size_t j = 0; j < limits.size(); ++j) {
      if (i == j || !outdoes(limits[j], limits[i])) continue;
      // Of two that are the same, the later one is too much.
      if (outdoes(limits[i], limits[j]) && i < j) continue;
      reader.error(limits[i].at,
                   fmt::format("this limit limits nothing: {} lets no more through, and a request "
                               "passes both",
                               describe(limits[j])),
                   fmt::format("the other is at {}", limits[j].at.to_string()));
      break;
    }
  }
}

RateLimit::RateLimit(const std::vector<RateLimitConfig>& limits, std::string_view place, Step step)
    : step_(step) {
  for (const RateLimitConfig& limit : limits) {
    if (step_of(*limit.per) != step || *limit.shared) continue;
    const std::string identity =
        fmt::format("{}/{}/{}/{}/{}/{}", place, limit_per_name(*limit.per), limit.rate->events,
                    limit.rate->per.count(), *limit.burst, limit.delay);
    rules_.push_back({.gcra = limit.gcra(),
                      .per = *limit.per,
                      .delay = limit.delay,
                      .scope = state::scope_of(identity),
                      .name = {},
                      .at = limit.at});
  }
  std::ranges::sort(rules_, [](const RateLimitRule& a, const RateLimitRule& b) {
    if (a.per != b.per) return a.per < b.per;
    if (a.gcra.interval != b.gcra.interval) return a.gcra.interval < b.gcra.interval;
    return a.gcra.burst < b.gcra.burst;
  });
  std::map<LimitPer, int> of_kind;
  for (RateLimitRule& rule : rules_) {
    const int nth = ++of_kind[rule.per];
    rule.name = limit_per_name(rule.per);
    if (nth > 1) rule.name += fmt::format("-{}", nth);
    policy_field_ += fmt::format("{}\"{}\";q={};w={}", policy_field_.empty() ? "" : ", ", rule.name,
                                 rule.gcra.burst, ceil_seconds(rule.gcra.tolerance()));
  }
}

void RateLimit::tell(const RateLimitRule& rule, const Taken& taken,
                     Context& context) const noexcept {
  const std::uint64_t remaining = taken.admitted ? taken.remaining(rule.gcra) : 0;
  // Until all of it is there again; or, when nothing is left, until one request is.
  const nanoseconds reset =
      remaining > 0 ? taken.backlog : taken.backlog + rule.gcra.interval - rule.gcra.tolerance();
  FieldText text;
  text.add("\"").add(rule.name).add("\";r=").add(remaining);
  text.add(";t=").add(static_cast<std::uint64_t>(ceil_seconds(reset)));
  static_cast<void>(
      context.fields.add("RateLimit-Policy", policy_field_, http::FieldId::kRateLimitPolicy));
  static_cast<void>(context.fields.add_copy("RateLimit", text.view(), http::FieldId::kRateLimit));
}

Decision RateLimit::refuse(const RateLimitRule& rule, const Taken& taken,
                           Context& context) const noexcept {
  tell(rule, taken, context);
  FieldText after;
  after.add(static_cast<std::uint64_t>(std::max<std::int64_t>(ceil_seconds(taken.retry_after), 1)));
  static_cast<void>(
      context.fields.add_copy("Retry-After", after.view(), http::FieldId::kRetryAfter));
  return Decision::refuse({.status = 429,
                           .error = {.code = code::kRateLimited,
                                     .blame = Blame::kClient,
                                     .what = "more requests than the limit lets through"},
                           .step = "rate_limit",
                           .line = &rule.at});
}

Decision RateLimit::check(Context& context) const noexcept {
  const RateLimitRule* scarcest = nullptr;
  Taken least;
  nanoseconds wait{0};
  for (const RateLimitRule& rule : rules_) {
    const Taken taken = take(rule, context);
    if (!taken.admitted) return refuse(rule, taken, context);
    if (rule.delay) wait = std::max(wait, taken.wait);
    if (scarcest == nullptr || taken.remaining(rule.gcra) < least.remaining(scarcest->gcra)) {
      scarcest = &rule;
      least = taken;
    }
  }
  if (scarcest != nullptr) tell(*scarcest, least, context);
  if (wait > nanoseconds{0}) return Decision::wait(std::chrono::ceil<milliseconds>(wait));
  return Decision::next();
}

namespace {

/// Those that nodes share: a judge for each, since each may have to wait for an answer.
void compile_shared(const std::vector<RateLimitConfig>& limits, CompileInput& input, Judges& out) {
  std::map<LimitPer, int> of_kind;
  for (const RateLimitConfig& limit : limits) {
    if (!*limit.shared) continue;
    if (input.shared == nullptr) {
      input.reader.error(limit.shared.at, "there is no `shared_state` to count it in",
                         "say where Redis is");
      continue;
    }
    const int nth = ++of_kind[*limit.per];
    // The number of nodes and the mode are left out: counts stay when they change.
    const std::string identity =
        fmt::format("shared/{}/{}/{}/{}/{}", input.reader.place(), limit_per_name(*limit.per),
                    limit.rate->events, limit.rate->per.count(), *limit.burst);
    const SharedSetup& setup = *input.shared;
    out.push_back(std::make_unique<SharedLimit>(SharedLimit::Setup{
        .name = "rate_limit",
        .label = fmt::format("{}-shared{}", limit_per_name(*limit.per),
                             nth > 1 ? fmt::format("-{}", nth) : ""),
        .per = *limit.per,
        .rule = {.kind = state::SharedRule::Kind::kRate,
                 .gcra = limit.gcra(),
                 .quota = 0,
                 .lease = setup.leased ? state::lease_of(*limit.burst, setup.nodes) : 1,
                 .share = state::share_of(limit.gcra(), setup.nodes),
                 .on_failure = setup.on_failure,
                 .scope = state::scope_of(identity)},
        .at = limit.at,
        .open_waiver = setup.open_waiver}));
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
