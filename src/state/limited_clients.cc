#include "state/limited_clients.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "state/entry_hash.h"

namespace merlon::state {

LimitedClients::LimitedClients() : entries_(kClientsMax) {}

void LimitedClients::note(std::string_view route, std::string_view rule, const IpAddress& client,
                          std::string_view limit_class) noexcept {
  const Name route_name(route);
  const Name class_name(limit_class);
  const IpAddress key = client.client_key();
  const std::uint64_t hash = entry_hash(hash_, reinterpret_cast<std::uintptr_t>(rule.data()), key);
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < kProbes; ++i) {
    Entry& entry = entries_[(hash + i) % kClientsMax];
    const bool same = entry.client == key && entry.rule == rule &&
                      entry.route.view() == route_name.view() &&
                      entry.limit_class.view() == class_name.view();
    if (entry.refused != 0 && !same) continue;
    if (entry.refused++ == 0) {
      entry.client = key;
      entry.rule = rule;
      entry.route = route_name;
      entry.limit_class = class_name;
    }
    return;
  }
  ++others_;
}

void LimitedClients::take(LimitedWindow& into) {
  const std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.refused == 0) continue;
    into.clients.push_back({.client = entry.client,
                            .route = std::string(entry.route.view()),
                            .rule = entry.rule,
                            .limit_class = std::string(entry.limit_class.view()),
                            .refused = entry.refused});
    entry = Entry{};
  }
  into.others += std::exchange(others_, 0);
}

LimitedWindow take_all(std::span<LimitedClients* const> workers) {
  LimitedWindow all;
  for (LimitedClients* const worker : workers) worker->take(all);
  std::vector<LimitedWindow> one;
  one.push_back(std::move(all));
  return merge(std::move(one));
}

LimitedWindow merge(std::vector<LimitedWindow> windows) {
  LimitedWindow all;
  for (LimitedWindow& window : windows) {
    std::ranges::move(window.clients, std::back_inserter(all.clients));
    all.others += window.others;
  }
  std::map<std::tuple<IpAddress, std::string, std::string_view, std::string>, std::uint64_t> merged;
  for (LimitedClient& one : all.clients)
    merged[{one.client, std::move(one.route), one.rule, std::move(one.limit_class)}] += one.refused;
  all.clients.clear();
  for (const auto& [who, refused] : merged) {
    const auto& [client, route, rule, limit_class] = who;
    all.clients.push_back({.client = client,
                           .route = route,
                           .rule = rule,
                           .limit_class = limit_class,
                           .refused = refused});
  }
  std::ranges::sort(all.clients, [](const LimitedClient& a, const LimitedClient& b) {
    return std::tie(b.refused, a.client, a.route, a.rule, a.limit_class) <
           std::tie(a.refused, b.client, b.route, b.rule, b.limit_class);
  });
  return all;
}

}  // namespace merlon::state
