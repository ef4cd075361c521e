#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "identity/key_set.h"

namespace merlon::identity {

/// The keys of an issuer that are fetched: the agent puts them here, workers look. One object for
/// each source, also over reloads, so that a reload loses no keys. Whoever sees here what a fetch
/// came to sees its keys, too.
class LiveKeys {
 public:
  /// That of `source`, a text that says where the keys come from; made when there is none.
  [[nodiscard]] static std::shared_ptr<LiveKeys> of(std::string_view source);
  LiveKeys(const LiveKeys&) = delete;
  LiveKeys& operator=(const LiveKeys&) = delete;

  /// Different for each object of the process.
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// Changes with the keys.
  [[nodiscard]] std::uint64_t version() const noexcept {
    return version_.load(std::memory_order_acquire);
  }
  /// Those in force; null: none. Takes a mutex: ask only when `version` changed.
  [[nodiscard]] std::shared_ptr<const KeySet> keys() const;
  /// True from the beginning until the first attempt to fetch has ended.
  [[nodiscard]] bool starting() const noexcept { return starting_.load(std::memory_order_acquire); }
  /// True when the last fetch failed: what is not known now may be known to the issuer.
  [[nodiscard]] bool failing() const noexcept { return failing_.load(std::memory_order_acquire); }
  /// What a fetch for the sake of an unknown `kid` is worth.
  enum class Asking : std::uint8_t {
    kWorthIt,
    kInVain,   ///< it was looked for of late, and was not there
    kTooSoon,  ///< nobody looked for it yet, and the budget for such fetches is spent
  };
  [[nodiscard]] Asking asking(std::string_view kid, Instant now) const noexcept;
  /// How long that budget stays spent; 0: it is not.
  [[nodiscard]] nanoseconds until_next_ask(Instant now) const noexcept;

  // ---- For the agent. ----
  void publish(std::shared_ptr<const KeySet> keys);
  void attempted(bool succeeded) noexcept;
  /// No fetch for an unknown `kid` before this.
  void ask_not_before(Instant when) noexcept {
    ask_again_ns_.store(when.time_since_epoch().count(), std::memory_order_release);
  }
  /// `kid` was looked for in vain: it is not worth asking before `until`.
  void note_unknown(std::string_view kid, Instant until) noexcept;
  void forget_unknown() noexcept;

 private:
  LiveKeys();
  static constexpr std::size_t kUnknownSlots = 256;

  const std::uint64_t id_;
  std::atomic<std::uint64_t> version_{1};
  std::atomic<bool> starting_{true};
  std::atomic<bool> failing_{false};
  std::atomic<std::int64_t> ask_again_ns_{INT64_MIN};
  /// Of names that the issuer does not have: the high half of a keyed hash, and below it the second
  /// of the monotonic clock until which that is believed. In one word, so that no thread sees the
  /// one without the other; two names that meet in all of it share their wait, which harms nobody.
  std::array<std::atomic<std::uint64_t>, kUnknownSlots> unknown_{};
  mutable std::mutex mutex_;
  std::shared_ptr<const KeySet> keys_;
};

/// What one thread has seen of live keys: on the way of a request, no lock is taken unless the keys
/// have just changed.
class KeyViews {
 public:
  /// The keys in force; null when there are none. Valid until the next call.
  [[nodiscard]] const KeySet* of(const LiveKeys& live);
  /// `of` would give the same as the last time. False for what it never gave.
  [[nodiscard]] bool is_current(const LiveKeys& live) const noexcept;

 private:
  // Reloads may leave behind views of issuers that are gone: the oldest gives way.
  static constexpr std::size_t kViewsMax = 256;
  struct View {
    std::uint64_t id = 0;
    std::uint64_t version = 0;
    std::shared_ptr<const KeySet> keys;
  };
  std::vector<View> views_;
};

}  // namespace merlon::identity
