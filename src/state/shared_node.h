#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"
#include "base/time.h"
#include "state/keyed_hash.h"
#include "state/lease_table.h"
#include "state/shared_rule.h"
#include "telemetry/events.h"

namespace merlon::state {

/// This process as Redis and the other nodes know it: its name, its leases, and whether it reaches
/// Redis. One for the process, used by all workers.
class SharedNode {
 public:
  SharedNode();

  /// 16 hexadecimal digits, different for each start of a process.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Rises with each call: tells older messages about leases from newer ones.
  [[nodiscard]] std::uint64_t next_generation() noexcept {
    return generation_.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  [[nodiscard]] LeaseTable& leases() noexcept { return leases_; }
  /// What leases are found by, the same for all workers.
  [[nodiscard]] const KeyedHash& hash() const noexcept { return hash_; }

  // When the window of quotas of a kind ends, as Redis told last; for what leases answer.
  void note_window(SharedRule::Kind kind, Instant end) noexcept {
    window_ends_[static_cast<std::size_t>(kind)].store(end, std::memory_order_relaxed);
  }
  [[nodiscard]] Instant window_end(SharedRule::Kind kind) const noexcept {
    return window_ends_[static_cast<std::size_t>(kind)].load(std::memory_order_relaxed);
  }

  // A worker lost a server, or reaches it again. The first loss and the last return are told.
  void note_down(const Endpoint& server, const Error& why, Instant now,
                 telemetry::EventLog& events);
  void note_up(const Endpoint& server, Instant now, telemetry::EventLog& events);
  /// A cluster announces a node by a name without an address. Told once a minute.
  void note_unresolved(const Endpoint& told_by, std::string_view name, Instant now,
                       telemetry::EventLog& events);
  /// A server answers with an error. Told once a minute.
  void note_error(const Endpoint& server, std::string_view text, Instant now,
                  telemetry::EventLog& events);
  /// A worker that had lost it needs it no more: a reload names another, or made anew what speaks
  /// to it. The last one is told.
  void note_gone(const Endpoint& server, telemetry::EventLog& events);

  [[nodiscard]] std::uint64_t outages() const noexcept { return outages_.load(); }
  [[nodiscard]] std::uint64_t recoveries() const noexcept { return recoveries_.load(); }
  /// Servers that some worker cannot reach now.
  [[nodiscard]] std::size_t servers_down() const noexcept { return down_count_.load(); }

 private:
  struct Down {
    std::uint32_t workers = 0;
    Instant since;
  };

  const KeyedHash hash_;
  std::string name_;
  std::atomic<std::uint64_t> generation_{0};
  LeaseTable leases_;
  std::array<std::atomic<Instant>, 4> window_ends_{};
  std::mutex mutex_;  ///< of what follows
  std::map<Endpoint, Down> down_;
  std::optional<Instant> unresolved_told_;
  std::optional<Instant> error_told_;
  std::atomic<std::size_t> down_count_{0};
  std::atomic<std::uint64_t> outages_{0};
  std::atomic<std::uint64_t> recoveries_{0};
};

}  // namespace merlon::state
