#include "gateway/overload.h"

#include <gtest/gtest.h>

namespace merlon::gateway {
namespace {

TEST(OverloadGuard, ShedsConnectionsFirstAndThenRequests) {
  OverloadGuard guard;
  EXPECT_EQ(guard.judge({.memory = 0.89}), Shed::kNothing);
  EXPECT_EQ(guard.judge({.memory = 0.90}), Shed::kConnections);
  EXPECT_EQ(guard.cause(), "memory");
  EXPECT_EQ(guard.judge({.descriptors = 0.97}), Shed::kRequests);
  EXPECT_EQ(guard.cause(), "file descriptors");
}

TEST(OverloadGuard, EachBoundCounts) {
  EXPECT_EQ(OverloadGuard().judge({.memory = 1}), Shed::kRequests);
  EXPECT_EQ(OverloadGuard().judge({.descriptors = 1}), Shed::kRequests);
}

TEST(OverloadGuard, OneLongTurnIsNoOverloadAndTwoAre) {
  OverloadGuard guard;
  EXPECT_EQ(guard.judge({.lag = 3}), Shed::kNothing) << "a paused machine, say";
  for (int i = 0; i < 8; ++i) EXPECT_EQ(guard.judge({}), Shed::kNothing);
  EXPECT_EQ(guard.judge({.lag = 3}), Shed::kNothing) << "long after";
  for (int i = 0; i < 7; ++i) EXPECT_EQ(guard.judge({}), Shed::kNothing);
  EXPECT_EQ(guard.judge({.lag = 1}), Shed::kRequests);
  EXPECT_EQ(guard.cause(), "event loop lag");
}

TEST(OverloadGuard, ATurnThatDoesNotEndIsOverload) {
  OverloadGuard guard;
  EXPECT_EQ(guard.judge({.lag = 0.5}), Shed::kNothing);
  EXPECT_EQ(guard.judge({.lag = 1.0}), Shed::kNothing);
  for (int i = 3; i < 40; ++i) EXPECT_EQ(guard.judge({.lag = 0.5 * i}), Shed::kRequests);
}

TEST(OverloadGuard, DoesNotFlapAroundABound) {
  OverloadGuard guard;
  ASSERT_EQ(guard.judge({.memory = 0.91}), Shed::kConnections);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(guard.judge({.memory = 0.85}), Shed::kConnections);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guard.judge({.memory = 0.5}), Shed::kConnections);
  EXPECT_EQ(guard.judge({.memory = 0.85}), Shed::kConnections) << "not calm for long enough";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guard.judge({.memory = 0.5}), Shed::kConnections);
  EXPECT_EQ(guard.judge({.memory = 0.5}), Shed::kNothing);
}

TEST(OverloadGuard, ComesBackStepByStep) {
  OverloadGuard guard;
  ASSERT_EQ(guard.judge({.lag = 1.5}), Shed::kNothing);
  ASSERT_EQ(guard.judge({.lag = 1.5}), Shed::kRequests);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guard.judge({.lag = 0.86}), Shed::kRequests);
  EXPECT_EQ(guard.judge({.lag = 0.86}), Shed::kNothing) << "0.86 would not have begun anything";
}

TEST(HeadroomWatch, WarnsOnceAfterHalfAMinute) {
  using Says = HeadroomWatch::Says;
  HeadroomWatch watch;
  Instant now{seconds{100}};
  EXPECT_EQ(watch.judge(0.29, now), Says::kNothing);
  EXPECT_EQ(watch.judge(0.29, now + milliseconds{29'999}), Says::kNothing);
  EXPECT_EQ(watch.judge(0.05, now + seconds{30}), Says::kLow);
  EXPECT_EQ(watch.judge(0.05, now + seconds{90}), Says::kNothing) << "said once";
  EXPECT_EQ(watch.judge(0.35, now + seconds{91}), Says::kNothing);
  EXPECT_EQ(watch.judge(0.40, now + seconds{92}), Says::kFineAgain);
  EXPECT_EQ(watch.judge(0.90, now + seconds{93}), Says::kNothing);
}

TEST(HeadroomWatch, ABreakStartsTheCountAgain) {
  using Says = HeadroomWatch::Says;
  HeadroomWatch watch;
  Instant now{seconds{100}};
  EXPECT_EQ(watch.judge(0.1, now), Says::kNothing);
  EXPECT_EQ(watch.judge(0.5, now + seconds{20}), Says::kNothing);
  EXPECT_EQ(watch.judge(0.1, now + seconds{21}), Says::kNothing);
  EXPECT_EQ(watch.judge(0.1, now + seconds{50}), Says::kNothing);
  EXPECT_EQ(watch.judge(0.1, now + seconds{51}), Says::kLow);
}

}  // namespace
}  // namespace merlon::gateway
