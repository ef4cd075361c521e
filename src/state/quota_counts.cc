#include "state/quota_counts.h"

#include <algorithm>

namespace merlon::state {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::months;
using std::chrono::sys_days;
using std::chrono::sys_seconds;

struct Window {
  sys_seconds start;
  sys_seconds end;
};

Window window_at(SharedRule::Kind kind, WallTime now) {
  if (kind == SharedRule::Kind::kHour) {
    const auto start = std::chrono::floor<hours>(now);
    return {.start = start, .end = start + hours{1}};
  }
  const sys_days day = std::chrono::floor<days>(now);
  if (kind != SharedRule::Kind::kMonth) return {.start = day, .end = day + days{1}};
  const std::chrono::year_month_day date{day};
  const auto first = date.year() / date.month() / 1;
  return {.start = sys_days{first}, .end = sys_days{first + months{1}}};
}

}  // namespace

SharedAnswer QuotaCounts::take(const SharedRule& rule, const LimitedParty& party, WallTime now) {
  const Window window = window_at(rule.kind, now);
  Count& count = counts_[{party.scope, std::string(party.name)}];
  // Times that lie back count in the window that has begun, as in Redis.
  if (count.window < window.start) count = {.window = window.start, .used = 0};
  const nanoseconds left = std::max<nanoseconds>(window.end - now, nanoseconds{0});
  if (count.used >= rule.quota) return {.retry_after = left, .reset = left};
  ++count.used;
  return {.admitted = true, .remaining = rule.quota - count.used, .reset = left};
}

}  // namespace merlon::state
