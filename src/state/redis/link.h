#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/broker.h"
#include "state/redis/connection.h"
#include "state/redis/settings.h"

namespace merlon::state::redis {

/// Hears when a link stops working and when it works again.
class LinkWatcher {
 public:
  virtual ~LinkWatcher() = default;
  virtual void on_down(const Endpoint& server, const Error& why) noexcept = 0;
  virtual void on_up(const Endpoint& server) noexcept = 0;
  /// A link that was down is closed: nobody waits for it any more.
  virtual void on_gone(const Endpoint& server) noexcept = 0;
  /// A cluster announces nodes by host names without addresses: what they have is out of reach.
  virtual void on_unresolved(const Endpoint& told_by, std::string_view name) noexcept = 0;
  /// What was asked was answered with this error, whatever follows from it.
  virtual void on_error(const Endpoint& server, std::string_view text) noexcept = 0;
};

/// Keeps one connection to one server, or to the master that sentinels name: connects, makes itself
/// known, notices a server that is silent or no master any more, and connects again, at growing
/// intervals of up to two seconds while that fails. One worker. Owned by shared pointers.
class Link : public std::enable_shared_from_this<Link> {
 public:
  /// All references outlive the link. `endpoint` is asked of the sentinels when the settings name
  /// them.
  Link(io::Loop& loop, io::Broker& broker, std::shared_ptr<const Settings> settings,
       std::span<const Script> scripts, Endpoint endpoint, LinkWatcher& watcher);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Runs until `close`. The link outlives it.
  [[nodiscard]] io::Task<void> run();
  void close() noexcept;

  /// See Connection::ask; waits until `deadline` at most. While the link is down it fails at once;
  /// while it connects for the first time, or again after it had worked, it waits.
  [[nodiscard]] io::Task<Result<Reply>> ask(std::string commands, Instant deadline,
                                            std::uint32_t skip = 0);
  /// A question was answered with this error, which may be of its key alone: whether the server can
  /// still be used is tried before long.
  void doubt(std::string_view error) noexcept;
  /// What was asked did what it should: the next failure is a first one.
  void worked() noexcept {
    failures_ = 0;
    worked_ = true;
  }
  /// The server cannot be used as it is (its memory is full, it is no master): connects again.
  void failed(Error why) noexcept;

  [[nodiscard]] bool is_up() const noexcept { return up_; }
  /// `run` has ended.
  [[nodiscard]] bool has_ended() const noexcept { return ended_; }
  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }

 private:
  [[nodiscard]] io::Task<void> serve();
  [[nodiscard]] io::Task<Result<void>> greet();
  [[nodiscard]] io::Task<Result<void>> try_scripts();
  [[nodiscard]] io::Task<bool> still_good();
  [[nodiscard]] io::Task<Result<Endpoint>> locate();
  [[nodiscard]] io::Task<Result<Endpoint>> ask_sentinel(Endpoint sentinel);
  [[nodiscard]] milliseconds pause() noexcept;
  void note_failure(const Error& why) noexcept;

  io::Loop& loop_;
  io::Broker& broker_;
  const std::shared_ptr<const Settings> settings_;
  const std::span<const Script> scripts_;
  Endpoint endpoint_;
  LinkWatcher& watcher_;
  io::Signal changed_;  ///< the connection ended, or the link is closed
  io::Signal ready_;    ///< it is up, or known to be down
  std::unique_ptr<Connection> connection_;
  Error why_{};
  std::size_t first_sentinel_ = 0;
  std::uint32_t failures_ = 0;  ///< in a row
  bool up_ = false;
  bool worked_ = false;  ///< on this connection
  bool down_told_ = false;
  bool doubted_ = false;
  bool closed_ = false;
  bool ended_ = false;
};

/// A command of these words, as it is sent.
[[nodiscard]] std::string command(std::span<const std::string_view> words);
/// EVALSHA or EVAL of a script, over one key.
[[nodiscard]] std::string run_command(std::string_view verb, std::string_view script,
                                      std::string_view key,
                                      std::span<const std::string_view> arguments);

}  // namespace merlon::state::redis
