#include "policy/concurrency.h"

#include <fmt/format.h>

#include <algorithm>

#include "state/entry_hash.h"

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;

// A limit for each LimitPer is all that can have an effect.
constexpr std::size_t kLimitsMax = state::Holds::kMax;
constexpr std::uint64_t kLimitMax = 1'000'000;

const Object<ConcurrencyConfig>& schema() {
  static const auto schema =
      Object<ConcurrencyConfig>(
          "concurrency",
          "How many requests may be in progress at a time; 429 with Retry-After above it.")
          .required("limit", &ConcurrencyConfig::limit, config::integer(1, kLimitMax),
                    "Maximum requests in progress, counted exactly over all workers.")
          .field("per", &ConcurrencyConfig::per, limit_per_type(),
                 "Which requests are counted together: those of a `client` (an IPv4 address, or "
                 "the /64 of an IPv6 address), those of an `identity` from any address, or all of "
                 "the `route`.")
          .mark(&ConcurrencyConfig::at);
  return schema;
}

bool outdoes(const ConcurrencyConfig& strict, const ConcurrencyConfig& loose) {
  if (*strict.per != *loose.per && *strict.per != LimitPer::kRoute) return false;
  return *strict.limit <= *loose.limit;
}

}  // namespace

config::Type<std::vector<ConcurrencyConfig>> concurrency_type() {
  return config::one_or_list(config::object(schema()), 1, kLimitsMax);
}

void check_concurrency(const std::vector<ConcurrencyConfig>& limits, Reader& reader) {
  for (std::size_t i = 0; i < limits.size(); ++i) {
    for (std::size_t j = 0; j < limits.size(); ++j) {
      if (i == j || !outdoes(limits[j], limits[i])) continue;
      if (outdoes(limits[i], limits[j]) && i < j) continue;
      reader.error(
          limits[i].at,
          fmt::format("this limit limits nothing: {} per {} at a time is at least as strict",
                      *limits[j].limit, limit_per_name(*limits[j].per)),
          fmt::format("the other is at {}", limits[j].at.to_string()));
      break;
    }
  }
}

Concurrency::Concurrency(const std::vector<ConcurrencyConfig>& limits, std::string_view place) {
  for (const ConcurrencyConfig& limit : limits) {
    // Without the number: places taken under the old number are places under the new one.
    const std::string identity = fmt::format("{}/{}", place, limit_per_name(*limit.per));
    rules_.push_back({.limit = *limit.limit,
                      .per = *limit.per,
                      .scope = state::scope_of(identity),
                      .at = limit.at});
  }
  std::ranges::sort(rules_, {}, &Rule::per);
}

Decision Concurrency::check(Context& context) const noexcept {
  for (const Rule& rule : rules_) {
    state::ConcurrencyTable& table = context.tables.in_progress;
    const LimitName entry = limit_name(rule.per, rule.scope, context);
    std::optional<state::Hold> hold =
        rule.per == LimitPer::kClient
            ? table.enter(rule.scope, context.reading.client.address, rule.limit)
            : table.enter(entry.scope, entry.name, rule.limit);
    if (hold && context.holds.add(std::move(*hold))) continue;
    static_cast<void>(context.fields.add("Retry-After", "1", http::FieldId::kRetryAfter));
    return Decision::refuse({.status = 429,
                             .error = {.code = code::kConcurrencyLimited,
                                       .blame = Blame::kClient,
                                       .what = "too many requests at a time"},
                             .step = "concurrency",
                             .line = &rule.at});
  }
  return Decision::next();
}

void Concurrencies::compile(const Member& config, CompileInput& input, Judges& out) {
  if (config.empty()) return;
  check_concurrency(config, input.reader);
  out.push_back(std::make_unique<Concurrency>(config, input.reader.place()));
}

}  // namespace merlon::policy
