#include "identity/live_keys.h"

#include <gtest/gtest.h>

namespace merlon::identity {
namespace {

using Asking = LiveKeys::Asking;

std::shared_ptr<const KeySet> some_keys() { return std::make_shared<const KeySet>(KeySet({})); }

TEST(LiveKeys, AreTheSameForTheSameSource) {
  const auto one = LiveKeys::of("a");
  EXPECT_EQ(one, LiveKeys::of("a"));
  EXPECT_NE(one, LiveKeys::of("b"));
}

TEST(LiveKeys, ViewsFollowWhatIsPublished) {
  const auto live = LiveKeys::of("views");
  KeyViews views;
  EXPECT_EQ(views.of(*live), nullptr);
  const auto first = some_keys();
  live->publish(first);
  EXPECT_EQ(views.of(*live), first.get());
  live->publish(nullptr);
  EXPECT_EQ(views.of(*live), nullptr);
}

TEST(LiveKeys, ViewsOfManySourcesAreBoundedAndRight) {
  KeyViews views;
  std::vector<std::shared_ptr<LiveKeys>> all;
  std::vector<std::shared_ptr<const KeySet>> sets;
  for (int i = 0; i < 600; ++i) {
    all.push_back(LiveKeys::of("source " + std::to_string(i)));
    sets.push_back(some_keys());
    all.back()->publish(sets.back());
  }
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(views.of(*all[i]), sets[i].get());
}

TEST(LiveKeys, WhatWasLookedForInVainIsNotWorthAsking) {
  const auto live = LiveKeys::of("asking");
  const Instant now{seconds{1000}};
  EXPECT_EQ(live->asking("k1", now), Asking::kWorthIt);
  live->note_unknown("k1", now + seconds{30});
  EXPECT_EQ(live->asking("k1", now), Asking::kInVain);
  EXPECT_EQ(live->asking("k2", now), Asking::kWorthIt);
  live->ask_not_before(now + seconds{5});
  EXPECT_EQ(live->asking("k1", now), Asking::kInVain);
  EXPECT_EQ(live->asking("k2", now), Asking::kTooSoon);
  EXPECT_EQ(live->until_next_ask(now + seconds{2}), seconds{3});
  EXPECT_EQ(live->asking("k2", now + seconds{5}), Asking::kWorthIt);
  EXPECT_EQ(live->until_next_ask(now + seconds{5}), seconds{0});
  live->forget_unknown();
  EXPECT_EQ(live->asking("k1", now + seconds{5}), Asking::kWorthIt);
}

TEST(LiveKeys, WhatWasLookedForInVainIsWorthAskingAfterItsTime) {
  const auto live = LiveKeys::of("in vain for a while");
  const Instant now{milliseconds{1'000'250}};
  live->note_unknown("k1", now + seconds{30});
  EXPECT_EQ(live->asking("k1", now + seconds{29}), Asking::kInVain);
  EXPECT_EQ(live->asking("k1", now + seconds{30}), Asking::kWorthIt);
}

}  // namespace
}  // namespace merlon::identity
