#include "policy/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "policy/shared_limit.h"
#include "state/entry_hash.h"

namespace merlon::policy {
namespace {

using config::Object;
using config::Reader;
using state::SharedRule;
using std::chrono::hours;

// One for each window is all that can have an effect.
constexpr std::size_t kQuotasMax = 3;
constexpr std::uint64_t kQuotaMax = 1'000'000'000;

struct Window {
  SharedRule::Kind kind;
  nanoseconds nominal;  ///< as the unit of the rate says it
  std::string_view name;
};
constexpr Window kWindows[] = {
    {.kind = SharedRule::Kind::kHour, .nominal = hours{1}, .name = "hour"},
    {.kind = SharedRule::Kind::kDay, .nominal = hours{24}, .name = "day"},
    {.kind = SharedRule::Kind::kMonth, .nominal = hours{24 * 30}, .name = "month"},
};

const Window* window_of(const Rate& limit) noexcept {
  const auto* found = std::ranges::find(kWindows, limit.per, &Window::nominal);
  return found == std::end(kWindows) ? nullptr : found;
}

void check_one(const QuotaConfig& quota, Reader& reader) {
  if (window_of(*quota.limit) == nullptr) {
    reader.error(quota.limit.at, "a quota is for an hour (`h`), a day or a month",
                 "`rate_limit` is for shorter times");
  }
}

const Object<QuotaConfig>& schema() {
  static const auto schema =
      Object<QuotaConfig>(
          "quota",
          "How many requests an identity may make in an hour, a day or a month (UTC); 429 with "
          "Retry-After above it. Counted over all nodes in `shared_state`, by the clock of Redis.")
          .required("limit", &QuotaConfig::limit, config::rate(kQuotaMax),
                    "Such as `100000/day`; the count starts again with each hour, day or month.")
          .field("per", &QuotaConfig::per,
                 config::words<LimitPer>({{"identity", LimitPer::kIdentity}}),
                 "Which requests are counted together: those of an identity, from any address.")
          .mark(&QuotaConfig::at)
          .check(check_one);
  return schema;
}

/// The most that `quota` lets through in a window as long as that of `longer`, or longer.
std::uint64_t most_in_window_of(const Rate& longer, const Rate& quota) noexcept {
  constexpr std::uint64_t kDaysOfMonth = 31;
  if (longer.per <= quota.per) return quota.events;
  if (quota.per != hours{1}) return quota.events * kDaysOfMonth;
  return quota.events * 24 * (longer.per == hours{24} ? 1 : kDaysOfMonth);
}

/// A quota limits nothing where another one lets no more through in the same time.
void check_quotas(const std::vector<QuotaConfig>& quotas, Reader& reader) {
  for (std::size_t i = 0; i < quotas.size(); ++i) {
    const Rate& one = *quotas[i].limit;
    for (std::size_t j = 0; j < quotas.size(); ++j) {
      if (i == j) continue;
      const Rate& other = *quotas[j].limit;
      const bool same_window = one.per == other.per;
      const bool outdone = !same_window && most_in_window_of(one, other) <= one.events;
      if (!outdone && !(same_window && j < i)) continue;
      reader.error(quotas[i].at, "this quota limits nothing: another one is at least as strict",
                   fmt::format("the other is at {}", quotas[j].at.to_string()));
      break;
    }
  }
}

}  // namespace

config::Type<std::vector<QuotaConfig>> quota_type() {
  return config::one_or_list(config::object(schema()), 1, kQuotasMax);
}

void Quotas::compile(const Member& config, CompileInput& input, Judges& out) {
  if (config.empty()) return;
  check_quotas(config, input.reader);
  if (input.shared == nullptr) {
    if (!input.shared_is_wrong)
      input.reader.error(config.front().at, "there is no `shared_state` to count quotas in",
                         "say where Redis is");
    return;
  }
  Member sorted = config;
  // The shortest first: what a longer one refuses has then been charged to windows that end sooner,
  // and what a shorter one refuses to nobody's day or month.
  std::ranges::sort(sorted, {}, [](const QuotaConfig& quota) { return quota.limit->per; });
  for (const QuotaConfig& quota : sorted) {
    const Window* window = window_of(*quota.limit);
    if (window == nullptr) continue;
    const std::uint64_t limit = quota.limit->events;
    const auto burst = static_cast<std::uint32_t>(limit);
    const state::Gcra whole = state::Gcra::of({.events = limit, .per = window->nominal}, burst);
    // Without the number: what was used under the old one is used under the new.
    const std::string identity = fmt::format("quota/{}/{}", input.reader.place(), window->name);
    out.push_back(std::make_unique<SharedLimit>(SharedLimit::Setup{
        .name = "quota",
        .label = fmt::format("quota-{}", window->name),
        .per = *quota.per,
        .rule = {.kind = window->kind,
                 .gcra = whole,
                 .quota = limit,
                 .lease = input.shared->leased ? state::lease_of(limit, input.shared->nodes) : 1,
                 .share = state::share_of(whole, input.shared->nodes),
                 .on_failure = input.shared->on_failure,
                 .scope = state::scope_of(identity)},
        .classes = {},
        .at = quota.at,
        .open_waiver = input.shared->open_waiver}));
  }
}

}  // namespace merlon::policy
