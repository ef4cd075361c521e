#include "upstream/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "upstream/test_pair_broker.h"

namespace merlon::upstream {
namespace {

Endpoint endpoint(std::uint16_t port) {
  return {.address = *IpAddress::parse("192.0.2.1"), .port = port};
}

constexpr Error kLate{.code = code::kUpstreamTimeout, .blame = Blame::kUpstream};

/// A cluster of three endpoints, ports 1 to 3, of which a test says which are healthy.
class Choosing : public testing::Test {
 protected:
  /// `bounds`: how many connections, and how many requests may wait for one.
  struct Bounds {
    std::uint32_t connections;
    std::uint32_t pending;
  };
  void make(Balance balance, std::size_t endpoints = 3, Bounds bounds = {1024, 1024},
            Protocol protocol = Protocol::kHttp1) {
    auto upstream = std::make_shared<Upstream>();
    upstream->name = "orders";
    upstream->protocol = protocol;
    upstream->balance = balance;
    upstream->connections_max = bounds.connections;
    upstream->pending_max = bounds.pending;
    std::vector<std::shared_ptr<const CheckedEndpoint>> all;
    for (std::uint16_t port = 1; port <= endpoints; ++port) {
      upstream->endpoints.push_back(endpoint(port));
      checked.push_back(std::make_shared<CheckedEndpoint>(endpoint(port)));
      all.push_back(checked.back());
    }
    cluster = std::make_shared<Cluster>(loop, broker, tasks, nullptr, std::move(upstream),
                                        std::make_shared<const UpstreamHealth>(std::move(all)));
  }
  static io::Task<void> open(Cluster& cluster, Instant deadline,
                             std::optional<Result<Lease>>& out) {
    Search search(deadline);
    co_await look(cluster, search, out);
  }
  static io::Task<void> look(Cluster& cluster, Search& search, std::optional<Result<Lease>>& out) {
    Result<Lease> lease = co_await cluster.open(search);
    out.emplace(std::move(lease));
  }
  /// A request: the port that it goes to, 0 for kUpstreamUnhealthy. The lease stays out with
  /// `held`.
  std::uint16_t ask(std::vector<Lease>* held = nullptr) {
    Lease lease = cluster->reuse();
    if (!lease) {
      std::optional<Result<Lease>> opened;
      tasks.spawn(open(*cluster, loop.now() + seconds{10}, opened));
      while (!opened.has_value()) loop.turn(milliseconds{10});
      if (!opened->has_value()) {
        EXPECT_EQ(opened->error().code, code::kUpstreamUnhealthy);
        return 0;
      }
      lease = std::move(**opened);
    }
    const std::uint16_t port = lease.endpoint().port;
    if (held != nullptr) {
      held->push_back(std::move(lease));
    } else {
      lease.keep();
    }
    return port;
  }
  void turn_until(const std::optional<Result<Lease>>& there) {
    for (int i = 0; i < 100 && !there.has_value(); ++i) loop.turn(milliseconds{10});
  }
  std::vector<std::uint16_t> ask_times(int n) {
    std::vector<std::uint16_t> ports;
    while (n-- > 0) ports.push_back(ask());
    return ports;
  }

  SystemClock clock;
  io::Loop loop{clock};
  PairBroker broker;
  io::TaskSet tasks;
  std::vector<std::shared_ptr<CheckedEndpoint>> checked;
  std::shared_ptr<Cluster> cluster;
};
using Ports = std::vector<std::uint16_t>;

TEST_F(Choosing, RoundRobinLeavesOutWhatIsUnhealthy) {
  make(Balance::kRoundRobin);
  EXPECT_EQ(ask_times(4), (Ports{1, 2, 3, 1}));
  checked[1]->set_in_use(false);
  const Ports ports = ask_times(6);
  EXPECT_EQ(std::ranges::count(ports, 2), 0);
  EXPECT_GE(std::ranges::count(ports, 1), 2);
  EXPECT_GE(std::ranges::count(ports, 3), 2);
  checked[1]->set_in_use(true);
  EXPECT_EQ(std::ranges::count(ask_times(6), 2), 2);
}

TEST_F(Choosing, TheTurnsOfOneThatIsOutAreEverybodys) {
  make(Balance::kRoundRobin, 4);
  checked[0]->set_in_use(false);
  const Ports ports = ask_times(12);
  for (const int port : {2, 3, 4}) EXPECT_EQ(std::ranges::count(ports, port), 4) << port;
}

TEST_F(Choosing, LeastRequestsLeavesItOutHoweverIdleItIs) {
  make(Balance::kLeastRequests);
  checked[2]->set_in_use(false);
  std::vector<Lease> held;
  Ports ports;
  for (int i = 0; i < 6; ++i) ports.push_back(ask(&held));
  EXPECT_EQ(std::ranges::count(ports, 1), 3);
  EXPECT_EQ(std::ranges::count(ports, 2), 3);
  checked[2]->set_in_use(true);
  EXPECT_EQ(ask(&held), 3) << "it is the least busy one";
}

TEST_F(Choosing, WhereAllAreUnhealthyNobodyIsAsked) {
  for (const Balance balance : {Balance::kRoundRobin, Balance::kLeastRequests}) {
    checked.clear();
    make(balance);
    EXPECT_FALSE(cluster->none_healthy());
    EXPECT_NE(ask(), 0) << "and a connection is idle now";
    for (const auto& one : checked) one->set_in_use(false);
    EXPECT_TRUE(cluster->none_healthy());
    broker.forget();
    EXPECT_EQ(ask_times(4), (Ports{0, 0, 0, 0}));
    EXPECT_TRUE(broker.asked().empty());
    checked[2]->set_in_use(true);
    EXPECT_EQ(ask_times(3), (Ports{3, 3, 3}));
    cluster.reset();
  }
}

TEST_F(Choosing, TheOnlyEndpointIsNoException) {
  make(Balance::kRoundRobin, 1);
  EXPECT_EQ(ask(), 1);
  checked[0]->set_in_use(false);
  EXPECT_EQ(ask(), 0);
  checked[0]->set_in_use(true);
  EXPECT_EQ(ask(), 1);
}

TEST_F(Choosing, OneThatFailsIsTriedWhenTheOthersAreUnhealthy) {
  make(Balance::kRoundRobin);
  checked[0]->set_in_use(false);
  checked[1]->set_in_use(false);
  cluster->note_failure(endpoint(3), kLate);
  EXPECT_EQ(ask_times(3), (Ports{3, 3, 3})) << "never one of the unhealthy ones in its place";
}

TEST_F(Choosing, ACheckThatFindsItWellEndsThePassingOver) {
  make(Balance::kRoundRobin);
  for (int i = 0; i < 7; ++i) cluster->note_failure(endpoint(2), kLate);  // for 32 s
  EXPECT_EQ(std::ranges::count(ask_times(6), 2), 0);
  checked[1]->set_in_use(false);
  checked[1]->set_in_use(true);
  EXPECT_EQ(std::ranges::count(ask_times(6), 2), 2);
  cluster->note_failure(endpoint(2), kLate);
  EXPECT_EQ(std::ranges::count(ask_times(6), 2), 0) << "a failure after that counts";
}

TEST_F(Choosing, ARefusedConnectionGoesToAnotherHealthyEndpoint) {
  make(Balance::kRoundRobin);
  checked[1]->set_in_use(false);
  broker.refuse(1);
  EXPECT_EQ(ask(), 3);
  EXPECT_EQ(broker.asked(), (Ports{1, 3}));
}

TEST_F(Choosing, LeastRequestsGoesByWeight) {
  auto upstream = std::make_shared<Upstream>();
  upstream->balance = Balance::kLeastRequests;
  for (const std::uint16_t port : Ports{1, 2, 1, 1}) upstream->endpoints.push_back(endpoint(port));
  cluster = std::make_shared<Cluster>(loop, broker, tasks, nullptr, std::move(upstream));
  std::vector<Lease> held;
  Ports ports;
  for (int i = 0; i < 12; ++i) ports.push_back(ask(&held));
  EXPECT_EQ(std::ranges::count(ports, 1), 9) << "three times as many as the other holds";
  EXPECT_EQ(std::ranges::count(ports, 2), 3);
}

TEST_F(Choosing, AConnectionThatComesFreeGoesToWhoeverWaitsLongest) {
  make(Balance::kRoundRobin, 1, {1, 2});
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  std::optional<Result<Lease>> waiting[3];
  for (auto& one : waiting) tasks.spawn(open(*cluster, loop.now() + seconds{10}, one));
  ASSERT_TRUE(waiting[2].has_value()) << "no more than `pending` wait";
  EXPECT_EQ(waiting[2]->error().code, code::kUpstreamLimit);
  held[0].keep();
  EXPECT_FALSE(cluster->reuse()) << "nobody goes before those who wait";
  turn_until(waiting[0]);
  ASSERT_TRUE(waiting[0].has_value() && waiting[0]->has_value());
  EXPECT_TRUE((*waiting[0])->reused());
  EXPECT_FALSE(waiting[1].has_value());
  (*waiting[0])->close();
  turn_until(waiting[1]);
  ASSERT_TRUE(waiting[1].has_value() && waiting[1]->has_value());
  EXPECT_FALSE((*waiting[1])->reused()) << "the other was closed, which left its place";
  EXPECT_EQ(broker.asked(), (Ports{1, 1}));
}

// Each of many requests that met the same failure doubled the time: to 32 s, after one moment.
TEST_F(Choosing, WhatFailsTogetherFailsOnce) {
  make(Balance::kRoundRobin, 2);
  for (int i = 0; i < 20; ++i) cluster->note_failure(endpoint(1), kLate);
  EXPECT_EQ(ask_times(4), (Ports{2, 2, 2, 2}));
  const Instant begun = loop.now();
  while (ask() != 1 && loop.now() < begun + seconds{20}) loop.turn(milliseconds{10});
  EXPECT_LT(loop.now(), begun + seconds{20});
  cluster->note_failure(endpoint(1), kLate);
  EXPECT_EQ(ask_times(2), (Ports{2, 2}));
}

/// SETTINGS with MAX_CONCURRENT_STREAMS.
std::string greeting(char streams) {
  return std::string("\0\0\6\4\0\0\0\0\0\0\3\0\0\0", 14) + streams;
}

TEST_F(Choosing, ConnectionsOfAnEndpointThatIsOutTakeNoPlaceOfOthers) {
  broker.greet_with(greeting(100));
  make(Balance::kRoundRobin, 2, {1, 9}, Protocol::kHttp2);
  EXPECT_EQ(ask_times(2), (Ports{1, 1})) << "there is one connection for both";
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  checked[0]->set_in_use(false);
  EXPECT_EQ(ask_times(2), (Ports{2, 2})) << "also while the other is busy";
  held.clear();
  checked[0]->set_in_use(true);
  cluster->close_idle();
  while (cluster->open_connections() > 0) loop.turn(milliseconds{10});
}

TEST_F(Choosing, NorDoThoseThatAreIdleWhereAnEndpointFails) {
  broker.greet_with(greeting(100));
  make(Balance::kRoundRobin, 2, {1, 9}, Protocol::kHttp2);
  EXPECT_EQ(ask_times(2), (Ports{1, 1}));
  cluster->note_failure(endpoint(1), kLate);
  EXPECT_EQ(ask(), 2);
  cluster->close_idle();
  while (cluster->open_connections() > 0) loop.turn(milliseconds{10});
}

TEST_F(Choosing, WhoWaitsForAConnectionThatIsBeingMadeWaitsForNoPlace) {
  broker.greet_with(greeting(100));
  make(Balance::kRoundRobin, 1, {1, 2}, Protocol::kHttp2);
  std::optional<Result<Lease>> found[9];
  for (auto& one : found) tasks.spawn(open(*cluster, loop.now() + seconds{10}, one));
  for (auto& one : found) {
    turn_until(one);
    ASSERT_TRUE(one.has_value() && one->has_value());
    (*one)->close();
  }
  cluster->close_idle();
  while (cluster->open_connections() > 0) loop.turn(milliseconds{10});
}

TEST_F(Choosing, AStreamThatComesFreeGoesToWhoeverWaitsLongest) {
  broker.greet_with(greeting(1));
  make(Balance::kRoundRobin, 1, {1, 9}, Protocol::kHttp2);
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  std::optional<Result<Lease>> waiting[3];
  for (int i = 0; i < 2; ++i) tasks.spawn(open(*cluster, loop.now() + seconds{10}, waiting[i]));
  held[0].close();
  EXPECT_FALSE(cluster->reuse()) << "nobody goes before those who wait";
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, waiting[2]));
  for (auto& one : waiting) {
    turn_until(one);
    ASSERT_TRUE(one.has_value() && one->has_value());
    for (auto* later = &one + 1; later != std::end(waiting); ++later)
      EXPECT_FALSE(later->has_value());
    (*one)->close();
  }
  EXPECT_TRUE(cluster->reuse()) << "nobody waits any more";
  cluster->close_idle();
  while (cluster->open_connections() > 0) loop.turn(milliseconds{10});
}

// Whoever waited beside a place that nobody had been woken for waited until another came free, and
// so did all that came after it.
TEST_F(Choosing, NobodyWaitsBesideAPlaceThatIsFree) {
  make(Balance::kRoundRobin, 1, {3, 9});
  std::vector<Lease> held;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(&held), 1);
  std::optional<Result<Lease>> first;
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, first));
  EXPECT_FALSE(first.has_value());
  for (Lease& lease : held) lease.keep();  // all in one turn: the first of them wakes it
  Lease second = cluster->reuse();
  EXPECT_TRUE(second) << "two are left";
  Lease third = cluster->reuse();
  EXPECT_TRUE(third) << "and then one";
  EXPECT_FALSE(cluster->reuse()) << "which is for who waits";
  std::optional<Result<Lease>> fourth;
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, fourth));
  turn_until(first);
  ASSERT_TRUE(first.has_value() && first->has_value());
  EXPECT_FALSE(fourth.has_value());
  third.keep();
  turn_until(fourth);
  ASSERT_TRUE(fourth.has_value() && fourth->has_value());
}

TEST_F(Choosing, WhoeverGivesUpLeavesItsPlaceToOthers) {
  make(Balance::kRoundRobin, 1, {1, 1});
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  Search given_up(loop.now() + seconds{10});
  std::optional<Result<Lease>> waiting[2];
  tasks.spawn(look(*cluster, given_up, waiting[0]));
  given_up.cancel();
  turn_until(waiting[0]);
  ASSERT_TRUE(waiting[0].has_value());
  EXPECT_EQ(waiting[0]->error().code, code::kCancelled);
  EXPECT_EQ(given_up.failures(), 0U) << "nobody was tried";
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, waiting[1]));
  EXPECT_FALSE(waiting[1].has_value()) << "it may wait";
  held[0].keep();
  turn_until(waiting[1]);
  ASSERT_TRUE(waiting[1].has_value() && waiting[1]->has_value());
}

TEST_F(Choosing, WhoeverGivesUpWhileConnectingDoesNotWaitForIt) {
  make(Balance::kRoundRobin, 2, {1, 1});
  Search given_up(loop.now() + seconds{10});
  std::optional<Result<Lease>> found[2];
  tasks.spawn(look(*cluster, given_up, found[0]));
  EXPECT_EQ(broker.asked(), (Ports{1}));
  EXPECT_FALSE(found[0].has_value()) << "it is not known yet whether it can be reached";
  given_up.cancel();
  turn_until(found[0]);
  ASSERT_TRUE(found[0].has_value());
  EXPECT_EQ(found[0]->error().code, code::kCancelled);
  EXPECT_EQ(broker.asked(), (Ports{1})) << "and none of the others was tried";
  EXPECT_EQ(given_up.failures(), 0U) << "no endpoint is to blame";
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, found[1]));
  turn_until(found[1]);
  ASSERT_TRUE(found[1].has_value() && found[1]->has_value()) << "its place is free again";
}

TEST_F(Choosing, WhoeverGivesUpAsItsPlaceComesFreeConnectsNowhere) {
  make(Balance::kRoundRobin, 1, {1, 1});
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  Search given_up(loop.now() + seconds{10});
  std::optional<Result<Lease>> found[2];
  tasks.spawn(look(*cluster, given_up, found[0]));
  held[0].close();
  given_up.cancel();
  turn_until(found[0]);
  ASSERT_TRUE(found[0].has_value());
  ASSERT_FALSE(found[0]->has_value());
  EXPECT_EQ(found[0]->error().code, code::kCancelled);
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, found[1]));
  turn_until(found[1]);
  ASSERT_TRUE(found[1].has_value() && found[1]->has_value()) << "its place is free again";
}

TEST_F(Choosing, AnAttemptThatFailedIsNoted) {
  make(Balance::kRoundRobin);
  broker.refuse(1);
  Search search(loop.now() + seconds{10});
  std::optional<Result<Lease>> found;
  tasks.spawn(look(*cluster, search, found));
  turn_until(found);
  ASSERT_TRUE(found.has_value() && found->has_value());
  EXPECT_EQ((*found)->endpoint().port, 2);
  EXPECT_EQ(search.failures(), 1U);
  EXPECT_EQ(search.failed_endpoint(), "192.0.2.1:1");
}

TEST_F(Choosing, AnIdleConnectionGivesItsPlaceToAnotherEndpoint) {
  make(Balance::kRoundRobin, 2, {1, 1});
  EXPECT_EQ(ask_times(4), (Ports{1, 2, 1, 2}));
  EXPECT_EQ(cluster->open_connections(), 1U);
  std::vector<Lease> held;
  EXPECT_EQ(ask(&held), 1);
  std::optional<Result<Lease>> waiting;
  tasks.spawn(open(*cluster, loop.now() + seconds{10}, waiting));
  EXPECT_FALSE(waiting.has_value());
  held[0].keep();
  turn_until(waiting);
  ASSERT_TRUE(waiting.has_value() && waiting->has_value());
  EXPECT_EQ((*waiting)->endpoint().port, 2) << "whose turn it is";
  EXPECT_EQ(cluster->open_connections(), 1U);
}

TEST_F(Choosing, WhatIsOpenLivesByTheTimeoutsOfTheLastUpdate) {
  for (const Protocol protocol : {Protocol::kHttp1, Protocol::kHttp2}) {
    if (protocol == Protocol::kHttp2) broker.greet_with(greeting(100));
    make(Balance::kRoundRobin, 1, {4, 4}, protocol);
    std::vector<Lease> held;
    ask(&held);
    ask();
    if (protocol == Protocol::kHttp1) EXPECT_EQ(cluster->idle_connections(), 1U);
    auto shorter = std::make_shared<Upstream>(cluster->upstream());
    shorter->idle_timeout = milliseconds{20};
    cluster->update(std::move(shorter), nullptr);
    held[0].keep();
    held.clear();
    for (int i = 0; i < 500 && cluster->open_connections() > 0; ++i) loop.turn(milliseconds{10});
    EXPECT_EQ(cluster->open_connections(), 0U) << static_cast<int>(protocol);
  }
}

}  // namespace
}  // namespace merlon::upstream
