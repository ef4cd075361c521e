#include "state/limited_clients.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace merlon::state {
namespace {

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

LimitedWindow take(LimitedClients& clients) {
  LimitedClients* const all[] = {&clients};
  return take_all(all);
}

TEST(LimitedClients, CountsByClientRouteAndRule) {
  LimitedClients clients;
  for (int i = 0; i < 3; ++i) clients.note("orders", "rate-limited", ip("192.0.2.1"));
  clients.note("orders", "rate-limited", ip("192.0.2.1"), "partners");
  clients.note("orders", "rate-limited", ip("2001:db8::1"));
  clients.note("orders", "rate-limited", ip("2001:db8::2"));
  clients.note("login", "rate-limited", ip("192.0.2.1"));
  clients.note("orders", "concurrency-limited", ip("192.0.2.1"));
  const LimitedWindow window = take(clients);
  ASSERT_EQ(window.clients.size(), 5U);
  EXPECT_EQ(
      window.clients[0],
      (LimitedClient{
          .client = ip("192.0.2.1"), .route = "orders", .rule = "rate-limited", .refused = 3}));
  EXPECT_EQ(window.clients[1].client, ip("2001:db8::")) << "a /64 is one client";
  EXPECT_EQ(window.clients[1].refused, 2U);
  EXPECT_EQ(std::ranges::count(window.clients, "partners", &LimitedClient::limit_class), 1);
  EXPECT_EQ(window.others, 0U);
  EXPECT_TRUE(take(clients).clients.empty()) << "a new window";
}

TEST(LimitedClients, IsBoundedWhateverComes) {
  LimitedClients clients;
  const std::string long_name(300, 'x');
  for (std::uint32_t i = 0; i < 100'000; ++i)
    clients.note(long_name, "rate-limited", IpAddress::v4(i));
  const LimitedWindow window = take(clients);
  EXPECT_LE(window.clients.size(), LimitedClients::kClientsMax);
  EXPECT_GT(window.clients.size(), LimitedClients::kClientsMax / 2);
  std::uint64_t refused = window.others;
  for (const LimitedClient& one : window.clients) {
    EXPECT_EQ(one.route.size(), 64U);
    refused += one.refused;
  }
  EXPECT_EQ(refused, 100'000U);
}

TEST(LimitedClients, AClientOfSeveralWorkersIsThereOnce) {
  LimitedClients a;
  LimitedClients b;
  a.note("orders", "rate-limited", ip("192.0.2.1"));
  b.note("orders", "rate-limited", ip("192.0.2.1"));
  b.note("orders", "rate-limited", ip("192.0.2.2"));
  LimitedClients* const all[] = {&a, &b};
  const LimitedWindow window = take_all(all);
  ASSERT_EQ(window.clients.size(), 2U);
  EXPECT_EQ(window.clients[0].refused, 2U);
}

TEST(LimitedClients, NothingIsLostBetweenNotingAndTaking) {
  constexpr std::uint64_t kNotes = 100'000;
  LimitedClients clients;
  std::uint64_t refused = 0;
  std::jthread noting([&] {
    for (std::uint64_t i = 0; i < kNotes; ++i)
      clients.note("orders", "rate-limited", IpAddress::v4(static_cast<std::uint32_t>(i % 50)));
  });
  const auto add = [&] {
    const LimitedWindow window = take(clients);
    refused += window.others;
    for (const LimitedClient& one : window.clients) refused += one.refused;
  };
  for (int i = 0; i < 200; ++i) add();
  noting.join();
  add();
  EXPECT_EQ(refused, kNotes);
}

}  // namespace
}  // namespace merlon::state
