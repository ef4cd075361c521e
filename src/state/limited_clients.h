#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "state/keyed_hash.h"

namespace merlon::state {

/// A client that was refused by a limit, and how often.
struct LimitedClient {
  IpAddress client;              ///< its /64 for IPv6
  std::string route;             ///< at most 64 bytes
  std::string_view rule;         ///< static: "rate-limited"
  std::string limit_class = {};  ///< that the limit counts it by, at most 64 bytes; empty: none
  std::uint64_t refused = 0;

  bool operator==(const LimitedClient&) const = default;
};

/// What was noted in one window of time.
struct LimitedWindow {
  std::vector<LimitedClient> clients;  ///< those refused most come first
  std::uint64_t others = 0;            ///< refusals of clients for whom there was no room
};

/// Who is refused by limits, for one summary line a client and window. One for each worker, which
/// notes; the control thread takes what is there at the end of a window.
///
/// Holds 512 clients in 128 KiB and never grows: refusals beyond are only counted. Cost of a note:
/// about 40 ns, with a mutex that nobody else wants but once a window.
class LimitedClients {
 public:
  static constexpr std::size_t kClientsMax = 512;

  LimitedClients();

  /// `rule` must be static. Counts `client` under its client_key.
  void note(std::string_view route, std::string_view rule, const IpAddress& client,
            std::string_view limit_class = {}) noexcept;
  /// Adds what was noted since the last call to `into`, unsorted, and starts a new window.
  void take(LimitedWindow& into);

 private:
  static constexpr std::size_t kProbes = 8;
  /// The first bytes of a name.
  class Name {
   public:
    Name() = default;
    explicit Name(std::string_view from) noexcept
        : size_(static_cast<std::uint8_t>(from.copy(bytes_.data(), bytes_.size()))) {}
    [[nodiscard]] std::string_view view() const noexcept { return {bytes_.data(), size_}; }

   private:
    std::array<char, 64> bytes_{};
    std::uint8_t size_ = 0;
  };
  struct Entry {
    IpAddress client;
    Name route;
    Name limit_class;
    std::string_view rule;
    std::uint64_t refused = 0;
  };

  const KeyedHash hash_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::uint64_t others_ = 0;
};

/// Windows as one: a client that several of them have is there once. Those refused most come first.
[[nodiscard]] LimitedWindow merge(std::vector<LimitedWindow> windows);
/// The windows of all workers as one.
[[nodiscard]] LimitedWindow take_all(std::span<LimitedClients* const> workers);

}  // namespace merlon::state
