#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/time.h"

namespace merlon::tls {

/// Keys of session tickets: made in memory, never written, replaced every 12 hours, the previous
/// ones accepted for another 12. One object lives over reloads and is shared by all workers.
/// Thread-safe.
class TicketKeys {
 public:
  static constexpr std::chrono::hours kRotation{12};
  /// How long a ticket may be used to resume; at most `kRotation`.
  static constexpr std::chrono::hours kTicketLifetime{6};

  struct Key {
    std::array<unsigned char, 16> name;  ///< public, at the start of each ticket
    std::array<unsigned char, 32> aes;
    std::array<unsigned char, 32> mac;
    Instant made;
    Key() = default;
    Key(const Key&) = default;
    Key& operator=(const Key&) = default;
    ~Key();
  };

  explicit TicketKeys(const Clock& clock) noexcept : clock_(clock) {}

  /// The key for new tickets. nullopt when the system gives no random bytes: then no ticket is
  /// given out.
  [[nodiscard]] std::optional<Key> current();
  /// The key with this name if it is still accepted; `renew` tells that it is no longer current.
  [[nodiscard]] std::optional<Key> find(const unsigned char* name, bool& renew);

 private:
  void rotate_locked();

  const Clock& clock_;
  std::mutex mutex_;
  std::optional<Key> current_;
  std::optional<Key> previous_;
};

}  // namespace merlon::tls
