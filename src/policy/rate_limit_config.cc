#include "policy/rate_limit_config.h"

#include <fmt/format.h>

#include <algorithm>

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;
using state::Gcra;

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

/// What a limit lets through, or a class of it.
struct Bounds {
  const Located<Rate>& rate;
  const Located<std::uint32_t>& burst;
  const Mark& at;
};

Bounds bounds_of(const RateLimitConfig& limit) {
  return {.rate = limit.rate, .burst = limit.burst, .at = limit.at};
}

Bounds bounds_of(const LimitClassConfig& each) {
  return {.rate = each.rate, .burst = each.burst, .at = each.at};
}

void check_delay(const Bounds& bounds, Reader& reader) {
  const Gcra gcra = Gcra::of(*bounds.rate, *bounds.burst);
  if (*bounds.burst < 2) {
    reader.error(bounds.at, "`delay` delays nothing: with a burst of 1 no request can wait",
                 "`burst` is how many requests may be on their way or wait");
  } else if (gcra.tolerance() - gcra.interval > kWaitMax) {
    reader.error(bounds.burst.at,
                 fmt::format("the last of such a burst would wait {} s, and requests wait for {} s "
                             "at most",
                             std::chrono::ceil<seconds>(gcra.tolerance() - gcra.interval).count(),
                             kWaitMax.count()),
                 "lower `burst`, or leave out `delay`");
  }
}

void check_bounds(const Bounds& bounds, const RateLimitConfig& limit, Reader& reader) {
  if (!at_most(*bounds.rate, {.events = kPerSecondMax, .per = seconds{1}})) {
    reader.error(bounds.rate.at, fmt::format("a rate is at most {}/s", kPerSecondMax));
    return;
  }
  const Gcra gcra = Gcra::of(*bounds.rate, *bounds.burst);
  const auto span = static_cast<double>(gcra.interval.count()) * *bounds.burst;
  if (span > static_cast<double>(Gcra::kHorizonMax.count())) {
    reader.error(bounds.burst.at.known() ? bounds.burst.at : bounds.at,
                 "at this rate it takes more than 32 days until such a burst is available again",
                 "lower `burst`, or use a higher rate");
    return;
  }
  if (*limit.shared && !at_most(*bounds.rate, {.events = kSharedPerSecondMax, .per = seconds{1}})) {
    reader.error(bounds.rate.at,
                 fmt::format("a rate that nodes share is at most {}/s", kSharedPerSecondMax));
  }
  if (limit.delay && !*limit.shared) check_delay(bounds, reader);
}

bool same_bounds(const Bounds& a, const Bounds& b) {
  return at_most(*a.rate, *b.rate) && at_most(*b.rate, *a.rate) && *a.burst == *b.burst;
}

void check_classes(const RateLimitConfig& limit, Reader& reader) {
  check_limit_classes(limit.classes, reader);
  for (const LimitClassConfig& each : limit.classes) {
    check_bounds(bounds_of(each), limit, reader);
    if (!each.identities.empty() && *limit.per != LimitPer::kIdentity) {
      reader.error(each.identities.front().at, "a class by identity needs a limit `per: identity`",
                   "limits by client and route are counted before the identity is known");
    }
  }
  // One that another follows may keep what the other would take; and of a route it is another
  // count.
  if (limit.classes.empty() || *limit.per == LimitPer::kRoute) return;
  const LimitClassConfig& last = limit.classes.back();
  if (same_bounds(bounds_of(last), bounds_of(limit))) {
    reader.error(last.at, "this class changes nothing: it has the rate and burst of the limit",
                 "leave it out");
  }
}

void check_one(const RateLimitConfig& limit, Reader& reader) {
  check_bounds(bounds_of(limit), limit, reader);
  check_classes(limit, reader);
  if (limit.delay && *limit.shared) {
    reader.error(limit.shared.at, "`delay` and `shared` do not go together",
                 "requests wait for their turn on one node");
  }
}

const Object<RateLimitConfig>& schema() {
  static const auto schema =
      Object<RateLimitConfig>("rate limit",
                              "How many requests are allowed per unit of time; 429 with "
                              "Retry-After above it. The count is exact over all workers. "
                              "Preflights, and requests that a later step refuses, count too.")
          .required("rate", &RateLimitConfig::rate, config::rate(),
                    "The sustained rate, at most 1000000/s.")
          .field("burst", &RateLimitConfig::burst, config::integer(1, kBurstMax),
                 "How many requests may come at once. In any period, `burst` plus what the rate "
                 "allows in that period is let through.")
          .field("per", &RateLimitConfig::per, limit_per_type(),
                 "Which requests are counted together: those of a `client` (an IPv4 address, or "
                 "the /64 of an IPv6 address), those of an `identity` from any address, or all of "
                 "the `route`.")
          .field("delay", &RateLimitConfig::delay, config::boolean(),
                 "Whether requests of a burst are queued and let through one at a time at the "
                 "rate, instead of at once. They wait for at most 30 s, which does not count "
                 "towards the route's `timeout`. Requests beyond the burst are refused.")
          .field("shared", &RateLimitConfig::shared, config::boolean(),
                 "Whether all nodes count together, in `shared_state`. Otherwise each node "
                 "enforces the limit by itself.")
          .field("classes", &RateLimitConfig::classes, limit_classes_type(),
                 "Exceptions by network or identity, each with its own rate and burst; the first "
                 "that fits applies.")
          .mark(&RateLimitConfig::at)
          .check(check_one);
  return schema;
}

bool at_most(const Bounds& a, const Bounds& b) {
  return at_most(*a.rate, *b.rate) && *a.burst <= *b.burst;
}

/// Whether whatever `strict` lets through is let through by `loose` as well.
bool outdoes(const RateLimitConfig& strict, const RateLimitConfig& loose) {
  // What the route as a whole may do bounds each client; not the other way round.
  if (strict.per.value != loose.per.value && *strict.per != LimitPer::kRoute) return false;
  // One counts over all nodes, the other for each: either may be the stricter.
  if (*strict.shared != *loose.shared) return false;
  // A limit that delays spreads requests out, even those that a stricter one lets through.
  if (loose.delay && !strict.delay) return false;
  const bool lower = at_most(bounds_of(strict), bounds_of(loose));
  if (strict.per.value == loose.per.value &&
      std::ranges::equal(strict.classes, loose.classes, same_members)) {
    return lower &&
           std::ranges::equal(strict.classes, loose.classes, [](const auto& a, const auto& b) {
             return at_most(bounds_of(a), bounds_of(b));
           });
  }
  // Classes are counted apart: who is of several may do what they let through together.
  return lower && strict.classes.empty() &&
         std::ranges::all_of(loose.classes, [&](const LimitClassConfig& each) {
           return at_most(bounds_of(strict), bounds_of(each));
         });
}

std::string describe(const RateLimitConfig& limit) {
  return fmt::format("{} with a burst of {} per {}", format_rate(*limit.rate), *limit.burst,
                     limit_per_name(*limit.per));
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
      reader.error(
          limits[i].at,
          fmt::format(
              "this limit limits nothing: {} is at least as strict, and requests must pass both",
              describe(limits[j])),
          fmt::format("the other is at {}", limits[j].at.to_string()));
      break;
    }
  }
}

}  // namespace merlon::policy
