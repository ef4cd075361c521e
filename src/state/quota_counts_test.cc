#include "state/quota_counts.h"

#include <gtest/gtest.h>

namespace merlon::state {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::sys_days;
using std::chrono::year;

constexpr WallTime kLate = sys_days{year{2026} / 11 / 30} + hours{23} + minutes{59};

LimitedParty named(std::string_view name) {
  return {.scope = 1, .by_name = true, .client = {}, .name = name};
}

TEST(QuotaCounts, BeginAnewWithTheirWindow) {
  struct Case {
    SharedRule::Kind kind;
    minutes same;  ///< after kLate, still in the window
    minutes next;
  };
  for (const Case& each : {Case{SharedRule::Kind::kHour, minutes{0}, minutes{1}},
                           Case{SharedRule::Kind::kDay, minutes{0}, minutes{1}},
                           Case{SharedRule::Kind::kMonth, minutes{0}, minutes{1}},
                           Case{SharedRule::Kind::kDay, -hours{23}, minutes{1}},
                           Case{SharedRule::Kind::kMonth, -hours{24 * 29}, minutes{1}}}) {
    QuotaCounts counts;
    const SharedRule rule{.kind = each.kind, .gcra = {}, .quota = 2, .share = {}};
    EXPECT_EQ(counts.take(rule, named("ann"), kLate + each.same).remaining, 1U);
    EXPECT_TRUE(counts.take(rule, named("ann"), kLate).admitted);
    const SharedAnswer refused = counts.take(rule, named("ann"), kLate);
    EXPECT_FALSE(refused.admitted);
    EXPECT_EQ(refused.retry_after, minutes{1});
    EXPECT_TRUE(counts.take(rule, named("bob"), kLate).admitted);
    EXPECT_TRUE(counts.take(rule, named("ann"), kLate + each.next).admitted);
  }
}

TEST(QuotaCounts, WhatComesLateCountsInTheWindowThatHasBegun) {
  QuotaCounts counts;
  const SharedRule rule{.kind = SharedRule::Kind::kHour, .gcra = {}, .quota = 1, .share = {}};
  EXPECT_TRUE(counts.take(rule, named("ann"), kLate + minutes{1}).admitted);
  EXPECT_FALSE(counts.take(rule, named("ann"), kLate).admitted);
}

}  // namespace
}  // namespace merlon::state
