#include "state/slot_table.h"

#include <sched.h>
#include <sys/mman.h>

#include <new>

namespace merlon::state {
namespace {

// A set's bit is held for some 50 ns. Whoever waits longer waits for a thread that was put off its
// core, and lends it this one.
constexpr int kSpinsBeforeYield = 128;

void pause_cpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

SlotTable::SlotTable(std::size_t sets) : sets_(sets) {
  void* const memory = ::mmap(nullptr, sets * sizeof(Set), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Zero pages are sets of free slots as they are. Clients spread over all of them, so a huge page
  // would be filled for a handful.
  static_cast<void>(::madvise(memory, sets * sizeof(Set), MADV_NOHUGEPAGE));
  table_ = static_cast<Set*>(memory);
}

SlotTable::~SlotTable() { ::munmap(table_, sets_ * sizeof(Set)); }

SlotTable::Inserting::Inserting(Set& set) noexcept : set_(set) {
  for (int spins = 0; set_.inserting.exchange(1, std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_cpu();
    } else {
      ::sched_yield();
    }
  }
}

std::optional<SlotTable::Outcome> SlotTable::insert(Set& set, std::uint64_t key,
                                                    std::uint64_t horizon,
                                                    std::uint64_t value) noexcept {
  const Inserting lock(set);
  if (slot_of(set, key) != nullptr) return std::nullopt;
  for (Slot& slot : set.ways) {
    const std::uint64_t old_key = detail::load_key(slot);
    const std::uint64_t old_value = detail::load_value(slot);
    if (old_value > horizon) continue;
    // Fails when the old owner came back this instant: then the slot is live again.
    if (detail::swap(slot, old_key, old_value, key, value)) return Outcome::kChanged;
  }
  return Outcome::kFull;
}

std::optional<std::uint64_t> SlotTable::find(std::uint64_t hash,
                                             std::uint64_t horizon) const noexcept {
  const std::uint64_t key = key_of(hash);
  Set& set = table_[key & (sets_ - 1)];
  for (;;) {
    Slot* const slot = slot_of(set, key);
    if (slot == nullptr) break;
    const std::uint64_t value = detail::load_value(*slot);
    if (detail::swap(*slot, key, value, key, value)) return value;
  }
  const bool room = std::ranges::any_of(
      set.ways, [&](const Slot& slot) { return detail::load_value(slot) <= horizon; });
  return room ? std::optional(std::uint64_t{0}) : std::nullopt;
}

std::size_t SlotTable::live(std::uint64_t horizon) const noexcept {
  std::size_t count = 0;
  for (std::size_t i = 0; i < sets_; ++i) {
    for (const Slot& slot : table_[i].ways) count += detail::load_value(slot) > horizon ? 1 : 0;
  }
  return count;
}

}  // namespace merlon::state
