#include "upstream/resolver.h"

#include <gtest/gtest.h>

#include <optional>

namespace merlon::upstream {
namespace {

using Answer = Result<std::vector<IpAddress>>;

io::Task<void> look_up(Resolver& resolver, std::string host, Instant deadline,
                       std::optional<Answer>& out) {
  Answer answer = co_await resolver.resolve(std::move(host), deadline);
  out = std::move(answer);
}

Answer resolve(const std::string& host) {
  const SystemClock clock;
  io::Loop loop(clock);
  Resolver resolver(loop);
  io::TaskSet tasks;
  std::optional<Answer> answer;
  tasks.spawn(look_up(resolver, host, loop.now() + seconds{10}, answer));
  while (!answer.has_value()) loop.turn(milliseconds{100});
  return *answer;
}

TEST(Resolver, ALiteralIsItself) {
  EXPECT_EQ(resolve("192.0.2.7")->front().to_string(), "192.0.2.7");
  EXPECT_EQ(resolve("2001:db8::7")->front().to_string(), "2001:db8::7");
}

TEST(Resolver, TheHostsFileIsLookedAt) {
  const Answer answer = resolve("localhost");
  ASSERT_TRUE(answer.has_value());
  for (const IpAddress& address : *answer) EXPECT_TRUE(address.is_loopback());
}

TEST(Resolver, WhatHasNoAddressIsAnError) {
  // RFC 6761 §6.4: no name server knows it; without one there is no answer either.
  const Answer answer = resolve("nobody.invalid");
  ASSERT_FALSE(answer.has_value());
}

TEST(Resolver, QuestionsEndWhenItIsCancelled) {
  const SystemClock clock;
  io::Loop loop(clock);
  Resolver resolver(loop);
  io::TaskSet tasks;
  std::optional<Answer> answer;
  tasks.spawn(look_up(resolver, "nobody.invalid", loop.now() + seconds{60}, answer));
  resolver.cancel();
  while (!answer.has_value()) loop.turn(milliseconds{10});
  EXPECT_FALSE(answer->has_value());
}

}  // namespace
}  // namespace merlon::upstream
