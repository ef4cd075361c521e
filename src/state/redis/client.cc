#include "state/redis/client.h"

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>

namespace merlon::state::redis {
namespace {

constexpr int kRedirectionsMax = 2;
// The map of a cluster is asked for again so often, and no more often than this.
constexpr seconds kMapInterval{10};
constexpr milliseconds kMapPause{200};
constexpr std::string_view kAsking[] = {"ASKING"};

/// What Redis says when a server as a whole cannot be used, rather than this one call.
bool is_of_server(const Reply& reply) noexcept {
  constexpr std::string_view kWords[] = {"READONLY", "LOADING", "OOM",    "MASTERDOWN",
                                         "MISCONF",  "NOAUTH",  "NOPERM", "NOREPLICAS"};
  return std::ranges::any_of(kWords, [&](std::string_view word) { return reply.is_error(word); });
}

}  // namespace

Client::Client(io::Loop& loop, io::Broker& broker, std::shared_ptr<const Settings> settings,
               std::span<const Script> scripts, LinkWatcher& watcher)
    : loop_(loop),
      broker_(broker),
      settings_(std::move(settings)),
      scripts_(scripts),
      watcher_(watcher),
      map_is_old_(loop) {}

void Client::start() {
  if (settings_->closed) {
    watcher_.on_down(settings_->endpoints.front(),
                     {.code = code::kStateLost,
                      .blame = Blame::kInternal,
                      .what = "a file that connections to Redis need cannot be used"});
    return;
  }
  if (settings_->topology != Topology::kCluster) {
    static_cast<void>(link_to(settings_->endpoints.front()));
    return;
  }
  by_slot_.assign(kSlots, nullptr);
  for (const Endpoint& seed : settings_->endpoints) static_cast<void>(link_to(seed));
  tasks_.spawn(keep_map());
}

void Client::close() noexcept {
  closed_ = true;
  if (settings_->closed) watcher_.on_gone(settings_->endpoints.front());
  for (const auto& [node, link] : links_) link->close();
  for (const auto& link : leaving_) link->close();
  map_is_old_.cancel();
}

/// The link to a node, begun where there is none; nullptr when there are too many.
Link* Client::link_to(const Endpoint& node) {
  if (const auto known = links_.find(node); known != links_.end()) return known->second.get();
  if (links_.size() >= kNodesMax || closed_) return nullptr;
  auto link = std::make_shared<Link>(loop_, broker_, settings_, scripts_, node, watcher_);
  Link* const made = link.get();
  links_.emplace(node, std::move(link));
  tasks_.spawn(made->run());
  return made;
}

Link* Client::link_for(std::string_view key) noexcept {
  if (links_.empty()) return nullptr;
  if (settings_->topology != Topology::kCluster) return links_.begin()->second.get();
  if (Link* const owner = by_slot_[slot_of(key)]; owner != nullptr) return owner;
  // Any node tells where the slot is.
  for (const auto& [node, link] : links_) {
    if (link->is_up()) return link.get();
  }
  return links_.begin()->second.get();
}

/// For a question: whoever asks may wait while another answer takes the link away.
std::shared_ptr<Link> Client::held(Link* link) {
  return link == nullptr ? nullptr : link->shared_from_this();
}

io::Task<Result<Reply>> Client::run(std::size_t script, std::string_view key,
                                    std::span<const std::string_view> arguments) {
  const Instant deadline = loop_.now() + settings_->timeout;
  std::shared_ptr<Link> link = held(link_for(key));
  if (link == nullptr)
    co_return fail(code::kStateLost, Blame::kInternal, "there is no connection to Redis");
  bool asking = false;
  for (int hop = 0; link != nullptr && !closed_; ++hop) {
    Result<Reply> reply = co_await run_once(*link, script, key, asking, arguments, deadline);
    if (!reply) {
      map_is_old_.notify_one();
      co_return reply;
    }
    if (!reply->is_error()) co_return reply;
    const auto redirection = parse_redirection(reply->text());
    if (!redirection || hop == kRedirectionsMax || settings_->topology != Topology::kCluster) break;
    auto node = node_of(*redirection, link->endpoint());
    if (!node && !has_map_) {
      // A name means something once the map is read, which is about to happen: who comes before is
      // not turned away.
      static_cast<void>(co_await read_map(deadline));
      node = node_of(*redirection, link->endpoint());
    }
    if (!node) break;
    asking = redirection->ask;
    link = held(link_to(*node));
    if (asking) continue;
    by_slot_[redirection->slot] = link.get();
    map_is_old_.notify_one();
  }
  map_is_old_.notify_one();
  co_return fail(code::kStateAnswer, Blame::kUpstream, "Redis answers with an error");
}

/// One server: the script by its digest, or whole where the server does not know it.
io::Task<Result<Reply>> Client::run_once(Link& link, std::size_t script, std::string_view key,
                                         bool asking, std::span<const std::string_view> arguments,
                                         Instant deadline) {
  // ASKING holds for the next command only, so the two go out together.
  const std::string before = asking ? command(kAsking) : std::string();
  const std::uint32_t skip = asking ? 1 : 0;
  Result<Reply> reply = co_await link.ask(
      before + run_command("EVALSHA", scripts_[script].sha1, key, arguments), deadline, skip);
  if (reply && reply->is_error("NOSCRIPT")) {
    reply = co_await link.ask(before + run_command("EVAL", scripts_[script].text, key, arguments),
                              deadline, skip);
  }
  if (!reply) co_return reply;
  if (!reply->is_error()) {
    link.worked();
  } else if (!parse_redirection(reply->text())) {
    link.doubt(reply->text());
    if (is_of_server(*reply)) {
      link.failed({.code = code::kStateAnswer,
                   .blame = Blame::kUpstream,
                   .what = "Redis answers with an error"});
    }
  }
  co_return reply;
}

// ---- The map of a cluster. ----

io::Task<void> Client::keep_map() {
  while (!closed_) {
    // As long as all of its nodes may take.
    const Instant end = loop_.now() + settings_->timeout * static_cast<int>(kNodesMax);
    const bool read = co_await read_map(end);
    if (closed_) break;
    const Instant again = loop_.now() + (read ? milliseconds{kMapInterval} : kMapPause);
    [[maybe_unused]] const Result<void> asked = co_await map_is_old_.wait(again);
    if (closed_) break;
    // Redirections come in crowds: one answer is enough for them.
    co_await loop_.sleep_until(loop_.now() + kMapPause);
  }
}

io::Task<bool> Client::read_map(Instant deadline) {
  constexpr std::string_view kAsk[] = {"CLUSTER", "SLOTS"};
  std::vector<std::shared_ptr<Link>> candidates;
  for (const auto& [node, link] : links_) {
    if (link->is_up()) candidates.push_back(link);
  }
  for (const std::shared_ptr<Link>& link : candidates) {
    const Result<Reply> reply = co_await link->ask(command(kAsk), deadline);
    if (closed_) co_return false;
    if (!reply) continue;
    auto map = parse_slots(*reply, link->endpoint().address);
    if (!map || (map->ranges.empty() && map->unresolved.empty())) continue;
    take_map(std::move(*map), link->endpoint());
    co_return true;
  }
  co_return false;
}

std::optional<Endpoint> Client::node_of(const Redirection& to,
                                        const Endpoint& from) const noexcept {
  if (to.host.empty()) return Endpoint{.address = from.address, .port = to.port};
  if (const auto address = IpAddress::parse(to.host))
    return Endpoint{.address = *address, .port = to.port};
  const auto known = names_.find(to.host);
  if (known == names_.end()) return std::nullopt;
  return Endpoint{.address = known->second, .port = to.port};
}

void Client::take_map(SlotMap map, const Endpoint& told_by) {
  if (!map.unresolved.empty()) watcher_.on_unresolved(told_by, map.unresolved.front());
  names_ = std::move(map.names);
  has_map_ = true;
  std::set<Endpoint> wanted(settings_->endpoints.begin(), settings_->endpoints.end());
  std::ranges::fill(by_slot_, nullptr);
  for (const SlotRange& range : map.ranges) {
    Link* const link = link_to(range.node);
    wanted.insert(range.node);
    std::fill(by_slot_.begin() + range.first, by_slot_.begin() + range.last + 1, link);
  }
  std::erase_if(leaving_, [](const auto& link) { return link->has_ended(); });
  for (auto it = links_.begin(); it != links_.end();) {
    if (wanted.contains(it->first)) {
      ++it;
      continue;
    }
    it->second->close();
    leaving_.push_back(std::move(it->second));
    it = links_.erase(it);
  }
}

}  // namespace merlon::state::redis
