#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/task.h"
#include "state/redis/link.h"
#include "state/redis/slots.h"

namespace merlon::state::redis {

/// Redis as one worker sees it: a server, the master that sentinels name, or a cluster. Runs
/// scripts, each on one key, wherever that key is.
class Client {
 public:
  /// Nodes of a cluster that are spoken to at a time.
  static constexpr std::size_t kNodesMax = 64;

  /// `scripts` and the references outlive it.
  Client(io::Loop& loop, io::Broker& broker, std::shared_ptr<const Settings> settings,
         std::span<const Script> scripts, LinkWatcher& watcher);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Begins to connect.
  void start();
  /// Ends everything; what waits is failed. Destroy it once `is_closed`.
  void close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept { return tasks_.empty(); }

  /// Runs a script with `key` and `arguments`. What it answers, or the error: kStateAnswer when
  /// Redis answered one. Waits for `timeout` at most, whatever it waits for.
  [[nodiscard]] io::Task<Result<Reply>> run(std::size_t script, std::string_view key,
                                            std::span<const std::string_view> arguments);

 private:
  [[nodiscard]] io::Task<Result<Reply>> run_once(Link& link, std::size_t script,
                                                 std::string_view key, bool asking,
                                                 std::span<const std::string_view> arguments,
                                                 Instant deadline);
  [[nodiscard]] io::Task<void> keep_map();
  [[nodiscard]] io::Task<bool> read_map(Instant deadline);
  [[nodiscard]] Link* link_for(std::string_view key) noexcept;
  Link* link_to(const Endpoint& node);
  [[nodiscard]] static std::shared_ptr<Link> held(Link* link);
  void take_map(SlotMap map, const Endpoint& told_by);
  /// The node that `to` names, as the answer of `from`; nullopt for a name that is not known.
  [[nodiscard]] std::optional<Endpoint> node_of(const Redirection& to,
                                                const Endpoint& from) const noexcept;

  io::Loop& loop_;
  io::Broker& broker_;
  const std::shared_ptr<const Settings> settings_;
  const std::span<const Script> scripts_;
  LinkWatcher& watcher_;
  // Who asks one holds it: the next map may take it away meanwhile.
  std::map<Endpoint, std::shared_ptr<Link>> links_;
  std::vector<std::shared_ptr<Link>> leaving_;  ///< of nodes that left, until they have ended
  std::vector<Link*> by_slot_;                  ///< of a cluster; null: not known
  std::map<std::string, IpAddress, std::less<>> names_;  ///< of its nodes, as it tells them
  io::Signal map_is_old_;
  io::TaskSet tasks_;
  bool has_map_ = false;  ///< was told at least once
  bool closed_ = false;
};

}  // namespace merlon::state::redis
