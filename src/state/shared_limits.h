#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>

#include "io/task.h"
#include "state/keyed_hash.h"
#include "state/limit_script.h"
#include "state/redis/client.h"
#include "state/shared_node.h"
#include "state/shared_rule.h"
#include "telemetry/counters.h"

namespace merlon::state {

/// `shared_state`, compiled. Immutable; shared by all workers.
struct SharedSettings {
  std::shared_ptr<const redis::Settings> redis;
  std::uint32_t nodes = 1;
  /// Of everything that decides whom a connection reaches and as whom: connections outlive a reload
  /// that leaves it as it is.
  std::string identity;
};

/// What became of a request at a shared limit.
struct SharedAnswer {
  enum class By : std::uint8_t {
    kRedis,   ///< Redis, or a lease that it gave, decided
    kShare,   ///< Redis did not: this node's own share did
    kNobody,  ///< Redis did not, and `on_failure` is not `local`
  };
  By by = By::kRedis;
  bool admitted = false;
  std::uint64_t remaining = 0;  ///< requests that would be admitted at once now
  nanoseconds retry_after{0};   ///< of one that was refused
  /// Until all of a burst is there again, or a quota begins anew; 0 where it is not known, as of a
  /// rate that a lease answers.
  nanoseconds reset{0};
};

/// Counts requests of shared limits: out of leases that the node holds, or by asking Redis. One for
/// each worker; `take` never waits longer than the settings say.
class SharedLimits final : private redis::LinkWatcher {
 public:
  /// All references outlive it.
  SharedLimits(io::Loop& loop, io::Broker& broker, std::shared_ptr<const SharedSettings> settings,
               SharedNode& node, LimitTable& local, telemetry::EventLog& events,
               telemetry::SharedCounters& counters);

  void start();
  /// Gives back what leases have left, for a second at most, then fails what waits; destroy it
  /// once `is_closed`.
  void close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept { return client_.is_closed() && tasks_.empty(); }
  [[nodiscard]] const SharedSettings& settings() const noexcept { return *settings_; }

  /// The answer when a lease in hand has one; about 70 ns, and no waiting.
  [[nodiscard]] std::optional<SharedAnswer> spend(const SharedRule& rule, const LimitedParty& party,
                                                  Instant now) noexcept;
  /// Asks Redis, and falls back where that fails. `rule` and the name of `party` outlive it.
  [[nodiscard]] io::Task<SharedAnswer> take(const SharedRule& rule, LimitedParty party);

  /// The key in Redis: "merlon:1:" and 128 bits of SHA-256 over a secret that all nodes have, the
  /// limit and the party. Of bounded length, whatever a client sends.
  static constexpr std::size_t kKeyBytes = 9 + 32;
  using Key = std::array<char, kKeyBytes>;
  [[nodiscard]] Key key_of(const LimitedParty& party) const noexcept;

 private:
  /// A lease of this worker, to be given back when it ends.
  struct Held {
    Instant ends;
    std::uint64_t hash = 0;
    SharedRule rule;
    std::int64_t window_start = 0;  ///< of a quota
    Key key{};
  };
  /// What Redis granted.
  struct Grant {
    std::uint32_t tokens = 0;
    SharedAnswer answer;  ///< what remains is what Redis has
    std::int64_t window_start = 0;
  };

  void on_down(const Endpoint& server, const Error& why) noexcept override;
  void on_up(const Endpoint& server) noexcept override;
  void on_gone(const Endpoint& server) noexcept override;
  void on_unresolved(const Endpoint& told_by, std::string_view name) noexcept override;
  void on_error(const Endpoint& server, std::string_view text) noexcept override;
  /// Sentinels name now one server, now another: they are one to those who watch.
  [[nodiscard]] const Endpoint& known_as(const Endpoint& server) const noexcept;

  [[nodiscard]] std::uint64_t hash_of(const LimitedParty& party) const noexcept;
  [[nodiscard]] io::Task<Result<Grant>> ask(const SharedRule& rule, Key key, std::uint32_t tokens,
                                            std::uint64_t generation, std::uint32_t back,
                                            std::int64_t window_start);
  [[nodiscard]] SharedAnswer fall_back(const SharedRule& rule, const LimitedParty& party) noexcept;
  void hold(const SharedRule& rule, std::uint64_t hash, const Key& key, const Grant& grant,
            Instant sent);
  [[nodiscard]] io::Task<void> give_back_in_time();
  [[nodiscard]] io::Task<void> leave();
  void end_first_lease();
  [[nodiscard]] io::Task<void> give_back(Held held, std::uint32_t tokens, std::uint64_t generation);
  void distrust(const SharedRule& rule, std::uint64_t hash) noexcept;

  io::Loop& loop_;
  const std::shared_ptr<const SharedSettings> settings_;
  SharedNode& node_;
  LimitTable& local_;
  telemetry::EventLog& events_;
  telemetry::SharedCounters& counters_;
  std::array<unsigned char, 32> key_secret_{};
  redis::Client client_;
  std::deque<Held> held_;  ///< the one that ends first comes first
  io::Signal held_changed_;
  std::size_t returning_ = 0;  ///< leases on their way back
  io::Signal returned_;
  io::TaskSet tasks_;
  bool closed_ = false;
};

}  // namespace merlon::state
