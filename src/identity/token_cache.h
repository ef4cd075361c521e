#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "identity/digest.h"
#include "identity/identity.h"

namespace merlon::identity {

/// Tokens that were verified, by the whole of their SHA-256: verifying costs a hundred times more
/// than hashing. It remembers what a signature proved and nothing else: what passes with time, is
/// revoked or depends on the route is judged at each use by the caller.
///
/// One per thread. Bounded in bytes; its table grows with what it holds, so that the tokens of few
/// callers lie together. A set of slots that is full gives up what has expired, or else, in a table
/// that may grow no more, what was used longest ago. Only verified tokens get in, so an attacker
/// cannot fill it.
class TokenCache {
 public:
  /// Beyond this many bytes, its own table included, something has to go for each that comes.
  explicit TokenCache(std::size_t bytes_max);

  struct Entry {
    Sha256 token{};
    std::uint64_t policy_id = 0;  ///< of the rules it was judged by: a reload may change them
    std::uint64_t key_id = 0;     ///< that verified it: it does not outlive the key
    std::shared_ptr<const Identity> identity;
    std::uint64_t used = 0;
    /// Of an introspected token: the answer is not used from then on.
    Instant good_until = Instant::max();
  };

  /// nullptr when it is not there. Valid until the next `insert`.
  [[nodiscard]] const Entry* find(const Sha256& token, std::uint64_t policy_id) noexcept;
  /// `now` tells which entries have expired.
  void insert(const Sha256& token, std::uint64_t policy_id, std::uint64_t key_id,
              std::shared_ptr<const Identity> identity, TokenTime now,
              Instant good_until = Instant::max());
  void erase(const Sha256& token, std::uint64_t policy_id) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t kWays = 8;
  [[nodiscard]] std::span<Entry> set_of(const Sha256& token) noexcept;
  [[nodiscard]] Entry& slot_for(const Sha256& token, std::uint64_t policy_id,
                                TokenTime now) noexcept;
  [[nodiscard]] bool grow();
  void clear(Entry& entry) noexcept;

  std::size_t bytes_max_;
  std::size_t sets_max_;
  std::size_t set_mask_ = 0;
  std::vector<Entry> entries_;  ///< made at the first insert: workers without tokens need none
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  std::uint64_t clock_ = 0;
};

}  // namespace merlon::identity
