#include "state/limited_clients.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "state/entry_hash.h"

namespace merlon::state {

LimitedClients::LimitedClients() : entries_(kClientsMax) {}

void LimitedClients::note(std::string_view route, std::string_view rule,
                          const IpAddress& client) noexcept {
  route = route.substr(0, sizeof(Entry::route));
  const IpAddress key = client.client_key();
  const std::uint64_t hash = entry_hash(hash_, reinterpret_cast<std::uintptr_t>(rule.data()), key);
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < kProbes; ++i) {
    Entry& entry = entries_[(hash + i) % kClientsMax];
    const std::string_view known(entry.route.data(), entry.route_size);
    const bool same = entry.client == key && entry.rule == rule && known == route;
    if (entry.refused != 0 && !same) continue;
    if (entry.refused++ == 0) {
      entry.client = key;
      entry.rule = rule;
      entry.route_size =
          static_cast<std::uint8_t>(route.copy(entry.route.data(), entry.route.size()));
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
                            .route = std::string(entry.route.data(), entry.route_size),
                            .rule = entry.rule,
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
  std::map<std::tuple<IpAddress, std::string, std::string_view>, std::uint64_t> merged;
  for (LimitedClient& one : all.clients)
    merged[{one.client, std::move(one.route), one.rule}] += one.refused;
  all.clients.clear();
  for (const auto& [who, refused] : merged) {
    const auto& [client, route, rule] = who;
    all.clients.push_back({.client = client, .route = route, .rule = rule, .refused = refused});
  }
  std::ranges::sort(all.clients, [](const LimitedClient& a, const LimitedClient& b) {
    return std::tie(b.refused, a.client, a.route, a.rule) <
           std::tie(a.refused, b.client, b.route, b.rule);
  });
  return all;
}

}  // namespace merlon::state
