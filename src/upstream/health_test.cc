#include "upstream/health.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "io/simulation.h"
#include "upstream/endpoint_checks.h"
#include "upstream/upstream.h"

namespace merlon::upstream {
namespace {

using Change = HealthCount::Change;
using Outcome = ProbeResult::Outcome;

const Endpoint kEndpoint{.address = *IpAddress::parse("192.0.2.1"), .port = 80};

HealthCheck check_with(std::uint32_t unhealthy_after, std::uint32_t healthy_after) {
  HealthCheck check;
  check.path = "/healthz";
  check.unhealthy_after = unhealthy_after;
  check.healthy_after = healthy_after;
  return check;
}

struct CountCase {
  const char* name;
  std::uint32_t unhealthy_after;
  std::uint32_t healthy_after;
  const char* checks;   // '+' passed, '-' failed
  const char* changes;  // after each: '.' none, 'u' unhealthy, 'h' healthy
};
constexpr CountCase kCounts[] = {
    {"the_first_alone_takes_it_out", 3, 2, "-", "u"},
    {"the_first_good_one_changes_nothing", 3, 2, "+---", "...u"},
    {"two_of_three_are_not_enough", 3, 2, "+--+--+--+", ".........."},
    {"as_many_in_a_row", 3, 2, "+--+---", "......u"},
    {"back_after_two", 3, 2, "-++", "u.h"},
    {"one_failure_begins_the_count_anew", 3, 2, "-+-+-++", "u.....h"},
    {"down_again_takes_all_three", 3, 2, "-++---++", "u.h..u.h"},
    {"thresholds_of_one", 1, 1, "+-+-", ".uhu"},
    {"more_failures_change_nothing", 1, 1, "+-----+", ".u....h"},
};
class Counts : public testing::TestWithParam<CountCase> {};
TEST_P(Counts, ChecksInARowChangeTheState) {
  const HealthCheck check = check_with(GetParam().unhealthy_after, GetParam().healthy_after);
  HealthCount count;
  std::string changes;
  for (const char* c = GetParam().checks; *c != '\0'; ++c) {
    const Change change = count.take(*c == '+', check);
    changes += change == Change::kNone ? '.' : change == Change::kHealthy ? 'h' : 'u';
  }
  EXPECT_EQ(changes, GetParam().changes);
}
INSTANTIATE_TEST_SUITE_P(Health, Counts, testing::ValuesIn(kCounts),
                         [](const auto& test) { return test.param.name; });

TEST(HealthCount, TellsHowManyMadeTheChange) {
  HealthCount count;
  const HealthCheck check = check_with(3, 2);
  for (const bool passed : {true, false, false, false})
    static_cast<void>(count.take(passed, check));
  EXPECT_EQ(count.in_a_row(), 3U);
  EXPECT_FALSE(count.healthy());
}

TEST(UpstreamHealth, CountsWhatIsInUse) {
  const auto one = std::make_shared<CheckedEndpoint>(kEndpoint);
  const auto two = std::make_shared<CheckedEndpoint>(Endpoint{kEndpoint.address, 81});
  const UpstreamHealth health({one, two});
  EXPECT_EQ(health.in_use(), 2U) << "before the first check nothing speaks against them";
  EXPECT_EQ(health.find({kEndpoint.address, 81}), two.get());
  EXPECT_EQ(health.find({kEndpoint.address, 82}), nullptr);
  one->set_in_use(false);
  EXPECT_FALSE(health.none_in_use());
  two->set_in_use(false);
  EXPECT_TRUE(health.none_in_use());
  EXPECT_EQ(two->recoveries(), 0U);
  two->set_in_use(true);
  EXPECT_EQ(two->recoveries(), 1U);
  EXPECT_FALSE(health.none_in_use());
}

/// Answers what is in its script, a little later each time; then it passes.
class ScriptedProber final : public Prober {
 public:
  struct Call {
    Instant at;
    Instant deadline;
  };
  ScriptedProber(io::Loop& loop, std::vector<Call>& calls, std::deque<Outcome>& script)
      : loop_(loop), calls_(calls), script_(script), wake_(loop) {}

  io::Task<ProbeResult> probe(std::shared_ptr<const Upstream> upstream, Endpoint endpoint,
                              Instant deadline) override {
    EXPECT_TRUE(upstream->health.has_value());
    EXPECT_EQ(endpoint, kEndpoint);
    calls_.push_back({.at = loop_.now(), .deadline = deadline});
    const Outcome outcome = script_.empty() ? Outcome::kPassed : script_.front();
    if (!script_.empty()) script_.pop_front();
    // One that times out takes all of its time.
    const Instant until = outcome == Outcome::kTimedOut ? deadline : loop_.now() + milliseconds{3};
    const Result<void> waited = co_await wake_.wait(until);
    const bool cancelled = waited.has_value() || waited.error().code != code::kTimedOut;
    co_return ProbeResult{.outcome = cancelled ? Outcome::kNotMade : outcome, .reason = "scripted"};
  }
  void cancel() noexcept override { wake_.cancel(); }

 private:
  io::Loop& loop_;
  std::vector<Call>& calls_;
  std::deque<Outcome>& script_;
  io::Signal wake_;
};

/// The checks of one endpoint in simulated time.
class Checking : public testing::Test {
 protected:
  explicit Checking(std::size_t slots = 4)
      : loop(clock, std::make_unique<io::SimulatedPoller>(clock)), slots(loop, slots) {
    auto made = std::make_shared<Upstream>();
    made->name = "orders";
    made->health = check_with(2, 2);
    upstream = std::move(made);
  }
  void begin() {
    checks = std::make_unique<EndpointChecks>(
        ground, upstream, endpoint, std::make_unique<ScriptedProber>(loop, calls, script));
    tasks.spawn(run(*checks));
  }
  static io::Task<void> run(EndpointChecks& checks) { co_await checks.run(); }
  void pass(milliseconds time) {
    for (const Instant end = clock.now() + time; clock.now() < end;) loop.turn(milliseconds{1});
  }
  void TearDown() override {
    if (checks != nullptr) checks->stop();
    slots.close();
    pass(milliseconds{10});
    EXPECT_TRUE(tasks.empty());
  }
  [[nodiscard]] milliseconds between(std::size_t a, std::size_t b) const {
    return std::chrono::duration_cast<milliseconds>(calls[b].at - calls[a].at);
  }

  ManualClock clock;
  io::Loop loop;
  CheckSlots slots;
  double chance = 0.5;
  std::vector<ScriptedProber::Call> calls;
  std::deque<Outcome> script;
  std::vector<std::pair<Outcome, Change>> told;
  const EndpointChecks::Ground ground{
      .loop = loop,
      .slots = slots,
      .random = [this] { return chance; },
      .told = [this](const EndpointChecks&, const ProbeResult& found,
                     Change change) { told.emplace_back(found.outcome, change); }};
  std::shared_ptr<const Upstream> upstream;
  std::shared_ptr<CheckedEndpoint> endpoint = std::make_shared<CheckedEndpoint>(kEndpoint);
  std::unique_ptr<EndpointChecks> checks;
  io::TaskSet tasks;
};

TEST_F(Checking, TheFirstComesAtOnceAndTheSecondWhenChanceSays) {
  chance = 0.25;
  begin();
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(calls[0].deadline - calls[0].at, milliseconds{1000});
  pass(seconds{12});
  ASSERT_GE(calls.size(), 3U);
  EXPECT_NEAR(static_cast<double>(between(0, 1).count()), 1250, 10);
  EXPECT_NEAR(static_cast<double>(between(1, 2).count()), 4750, 10) << "0.9 + 0.2 * 0.25 of 5 s";
}

TEST_F(Checking, TheIntervalCountsFromTheBeginningOfASlowCheck) {
  script = {Outcome::kPassed, Outcome::kTimedOut, Outcome::kTimedOut};
  begin();
  pass(seconds{20});
  ASSERT_GE(calls.size(), 4U);
  EXPECT_NEAR(static_cast<double>(between(2, 3).count()), 5000, 10);
}

TEST_F(Checking, AnEndpointGoesOutOfUseAndComesBack) {
  script = {Outcome::kPassed, Outcome::kBadAnswer, Outcome::kUnreachable, Outcome::kPassed};
  begin();
  pass(seconds{7});  // two of them
  EXPECT_TRUE(endpoint->in_use()) << "one of two failures";
  pass(seconds{4});
  EXPECT_FALSE(endpoint->in_use());
  pass(seconds{5});
  EXPECT_FALSE(endpoint->in_use()) << "one of two good ones";
  pass(seconds{5});
  EXPECT_TRUE(endpoint->in_use());
  EXPECT_EQ(endpoint->recoveries(), 1U);
  ASSERT_GE(told.size(), 5U);
  EXPECT_EQ(told[2], std::pair(Outcome::kUnreachable, Change::kUnhealthy));
  EXPECT_EQ(told[4], std::pair(Outcome::kPassed, Change::kHealthy));
}

TEST_F(Checking, WhatCouldNotBeMadeSaysNothingOfTheEndpoint) {
  script = {Outcome::kNotMade, Outcome::kNotMade, Outcome::kNotMade, Outcome::kTimedOut};
  begin();
  pass(seconds{13});
  EXPECT_GE(told.size(), 3U);
  EXPECT_TRUE(endpoint->in_use());
  pass(seconds{5});
  EXPECT_FALSE(endpoint->in_use()) << "the first that was made decides alone";
}

TEST_F(Checking, AReloadBringsNewThresholdsAndKeepsWhatIsKnown) {
  script = {Outcome::kBadAnswer};
  begin();
  pass(milliseconds{10});
  ASSERT_FALSE(endpoint->in_use());
  auto changed = std::make_shared<Upstream>(*upstream);
  changed->health->healthy_after = 1;
  checks->update(changed);
  EXPECT_FALSE(endpoint->in_use());
  pass(seconds{3});
  EXPECT_TRUE(endpoint->in_use());
}

TEST_F(Checking, AStopEndsAWaitAndACheckInProgress) {
  script = {Outcome::kTimedOut};
  begin();
  pass(milliseconds{5});
  ASSERT_FALSE(tasks.empty());
  checks->stop();
  pass(milliseconds{2});
  EXPECT_TRUE(tasks.empty());
  EXPECT_TRUE(told.empty()) << "a check that was stopped says nothing";
  EXPECT_TRUE(endpoint->in_use());
}

class OneSlot : public Checking {
 protected:
  OneSlot() : Checking(1) {}
  static io::Task<void> hold(CheckSlots& slots, bool& entered) { entered = co_await slots.take(); }
};

TEST_F(OneSlot, ChecksWaitForEachOther) {
  bool entered = false;
  tasks.spawn(hold(slots, entered));
  ASSERT_TRUE(entered);
  begin();
  pass(seconds{1});
  EXPECT_TRUE(calls.empty()) << "the only place is taken";
  slots.give_back();
  pass(milliseconds{2});
  EXPECT_EQ(calls.size(), 1U);
}

TEST_F(OneSlot, WhoWaitsIsToldOfTheEnd) {
  bool entered = false;
  tasks.spawn(hold(slots, entered));
  begin();
  slots.close();
  pass(milliseconds{2});
  EXPECT_TRUE(tasks.empty());
  EXPECT_TRUE(calls.empty());
}

}  // namespace
}  // namespace merlon::upstream
