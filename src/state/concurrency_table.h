#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/ip.h"
#include "state/keyed_hash.h"
#include "state/slot_table.h"

namespace merlon::state {

class ConcurrencyTable;

/// A place that a request in progress takes at one limit; given back when it dies.
class Hold {
 public:
  Hold() = default;
  Hold(Hold&& other) noexcept
      : table_(std::exchange(other.table_, nullptr)), key_(other.key_), coarse_(other.coarse_) {}
  Hold& operator=(Hold&& other) noexcept {
    std::swap(table_, other.table_);
    std::swap(key_, other.key_);
    std::swap(coarse_, other.coarse_);
    return *this;
  }
  ~Hold() { release(); }
  void release() noexcept;

 private:
  friend class ConcurrencyTable;
  Hold(ConcurrencyTable& table, std::uint64_t key, bool coarse) noexcept
      : table_(&table), key_(key), coarse_(coarse) {}

  ConcurrencyTable* table_ = nullptr;
  std::uint64_t key_ = 0;  ///< the hash, or the index of a coarse slot
  bool coarse_ = false;
};

/// The places that one request holds. A route has at most as many limits.
class Holds {
 public:
  static constexpr std::size_t kMax = 4;

  /// False when there is no room: the place is given back.
  bool add(Hold hold) noexcept {
    if (size_ == kMax) return false;
    holds_[size_++] = std::move(hold);
    return true;
  }
  void release() noexcept {
    while (size_ > 0) holds_[--size_].release();
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::array<Hold, kMax> holds_;
  std::size_t size_ = 0;
};

/// How many requests are in progress, by limit and client or name; exact over all threads.
///
/// Fixed size and the same rules as LimitTable: an entry whose count is 0 is free, live ones are
/// never evicted, and where a set is full (which the bound on requests in flight keeps from
/// happening in earnest) the neighbours of a /24 or /48 are counted together.
class ConcurrencyTable {
 public:
  /// 122,880 entries in 2 MiB.
  ConcurrencyTable() : ConcurrencyTable(1U << 13, 1U << 14) {}
  /// Both are powers of two.
  ConcurrencyTable(std::size_t sets, std::size_t coarse_slots);

  /// A place for a request of `client`, unless `limit` of them are in progress. The table must
  /// outlive it.
  [[nodiscard]] std::optional<Hold> enter(std::uint64_t scope, const IpAddress& client,
                                          std::uint32_t limit) noexcept;
  /// The same for a name.
  [[nodiscard]] std::optional<Hold> enter(std::uint64_t scope, std::string_view name,
                                          std::uint32_t limit) noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept {
    return slots_.bytes() + coarse_slots_ * sizeof(std::atomic<std::uint64_t>);
  }
  /// Entries in use. Reads the whole table: for tests.
  [[nodiscard]] std::size_t live() const noexcept { return slots_.live(0); }

 private:
  friend class Hold;
  [[nodiscard]] std::optional<Hold> enter(std::uint64_t hash, std::uint64_t coarse_hash,
                                          std::uint32_t limit) noexcept;
  void leave(std::uint64_t key, bool coarse) noexcept;

  const KeyedHash hash_;
  const std::size_t coarse_slots_;
  SlotTable slots_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> coarse_;
};

}  // namespace merlon::state
