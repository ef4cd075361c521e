#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

/// Two 64-bit words changed at once, and a fixed table of them.
namespace merlon::state {

/// What one key holds. Both words change together, by one compare-and-swap of 16 bytes, so a value
/// can never come to stand under another's key.
struct alignas(16) Slot {
  std::uint64_t key = 0;
  std::uint64_t value = 0;
};
static_assert(sizeof(Slot) == 16);

namespace detail {

__extension__ using Wide [[gnu::may_alias]] = unsigned __int128;

[[nodiscard]] inline Wide pack(std::uint64_t key, std::uint64_t value) noexcept {
  const Slot slot{.key = key, .value = value};
  Wide wide;
  __builtin_memcpy(&wide, &slot, sizeof wide);
  return wide;
}
[[nodiscard]] inline std::uint64_t load_key(const Slot& slot) noexcept {
  return __atomic_load_n(&slot.key, __ATOMIC_ACQUIRE);
}
[[nodiscard]] inline std::uint64_t load_value(const Slot& slot) noexcept {
  return __atomic_load_n(&slot.value, __ATOMIC_ACQUIRE);
}
/// True when `slot` held `key` and `from` and now holds `next_key` and `to`.
[[nodiscard]] inline bool swap(Slot& slot, std::uint64_t key, std::uint64_t from,
                               std::uint64_t next_key, std::uint64_t to) noexcept {
  return __sync_bool_compare_and_swap(reinterpret_cast<Wide*>(&slot), pack(key, from),
                                      pack(next_key, to));
}

}  // namespace detail

/// A fixed set-associative table from keyed hashes to 64-bit values, shared by all threads.
///
/// A hash names one set of 15 slots; a key is in one slot of its set at most. A value at or below
/// the caller's horizon is dead: whoever needs room takes its slot, and nobody misses it. When all
/// slots of a set are live nothing is put out and nothing grows: the caller hears kFull.
///
/// What is in the table is read and changed without a lock. Only putting a *new* key in takes the
/// set's own spin bit, for about 50 ns and without a system call, since two threads that each put
/// the key into a slot of their own would count it twice.
///
/// Memory: 256 bytes a set, 17.1 bytes a slot, reserved when it is made; pages are backed by the
/// kernel when first touched. Never moved, never scanned as a whole: there is no pause.
class SlotTable {
 public:
  static constexpr std::size_t kWays = 15;

  /// `sets` must be a power of two.
  explicit SlotTable(std::size_t sets);
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;
  ~SlotTable();

  enum class Outcome : std::uint8_t { kChanged, kLeft, kFull };

  /// Changes the value of `hash` to what `step` makes of it: `step(value)` gives the new value, or
  /// nullopt to leave it, and is called with 0 for a key that is not there. It may be called
  /// several times; the last call tells. `horizon`: see above; new values should be above it.
  template <class Step>
  Outcome update(std::uint64_t hash, std::uint64_t horizon, Step step) noexcept;

  /// The value of `hash`; 0 when it is not there, nullopt when there is no room for it either.
  [[nodiscard]] std::optional<std::uint64_t> find(std::uint64_t hash,
                                                  std::uint64_t horizon) const noexcept;

  [[nodiscard]] std::size_t slots() const noexcept { return sets_ * kWays; }
  [[nodiscard]] std::size_t bytes() const noexcept { return sets_ * sizeof(Set); }
  /// Slots above `horizon` now; for metrics and tests, reads the whole table.
  [[nodiscard]] std::size_t live(std::uint64_t horizon) const noexcept;

 private:
  struct alignas(256) Set {
    std::atomic<std::uint32_t> inserting;  ///< 1 while a key is put in
    Slot ways[kWays];
  };
  static_assert(sizeof(Set) == 256);

  /// Holds a set's spin bit.
  class Inserting {
   public:
    explicit Inserting(Set& set) noexcept;
    Inserting(const Inserting&) = delete;
    Inserting& operator=(const Inserting&) = delete;
    ~Inserting() { set_.inserting.store(0, std::memory_order_release); }

   private:
    Set& set_;
  };

  // The lowest bits of the hash choose the set; 0 is what an untouched slot has.
  [[nodiscard]] static std::uint64_t key_of(std::uint64_t hash) noexcept {
    return hash == 0 ? 1 : hash;
  }
  [[nodiscard]] static Slot* slot_of(Set& set, std::uint64_t key) noexcept {
    for (Slot& slot : set.ways) {
      if (detail::load_key(slot) == key) return &slot;
    }
    return nullptr;
  }
  /// Puts a key in that `update` did not find. nullopt: it is there by now, or a slot was lost.
  [[nodiscard]] static std::optional<Outcome> insert(Set& set, std::uint64_t key,
                                                     std::uint64_t horizon,
                                                     std::uint64_t value) noexcept;

  Set* table_ = nullptr;
  std::size_t sets_ = 0;
};

template <class Step>
SlotTable::Outcome SlotTable::update(std::uint64_t hash, std::uint64_t horizon,
                                     Step step) noexcept {
  const std::uint64_t key = key_of(hash);
  Set& set = table_[key & (sets_ - 1)];
  for (;;) {
    Slot* const slot = slot_of(set, key);
    if (slot == nullptr) {
      const std::optional<std::uint64_t> fresh = step(std::uint64_t{0});
      if (!fresh) return Outcome::kLeft;
      const std::optional<Outcome> put = insert(set, key, horizon, *fresh);
      if (put) return *put;
      continue;
    }
    const std::uint64_t value = detail::load_value(*slot);
    const std::optional<std::uint64_t> next = step(value);
    // Leaving it is a swap, too: it proves that `value` was this key's and not the next owner's.
    if (!detail::swap(*slot, key, value, key, next.value_or(value))) continue;
    return next ? Outcome::kChanged : Outcome::kLeft;
  }
}

}  // namespace merlon::state
