#include "state/concurrency_table.h"

#include "state/entry_hash.h"

namespace merlon::state {

void Hold::release() noexcept {
  if (ConcurrencyTable* const table = std::exchange(table_, nullptr); table != nullptr)
    table->leave(key_, coarse_);
}

ConcurrencyTable::ConcurrencyTable(std::size_t sets, std::size_t coarse_slots)
    : coarse_slots_(coarse_slots),
      slots_(sets),
      coarse_(std::make_unique<std::atomic<std::uint64_t>[]>(coarse_slots)) {}

std::optional<Hold> ConcurrencyTable::enter(std::uint64_t scope, const IpAddress& client,
                                            std::uint32_t limit) noexcept {
  return enter(entry_hash(hash_, scope, client.client_key()),
               entry_hash(hash_, scope, neighbours(client)), limit);
}

std::optional<Hold> ConcurrencyTable::enter(std::uint64_t scope, std::string_view name,
                                            std::uint32_t limit) noexcept {
  const std::uint64_t hash = entry_hash(hash_, scope, name);
  return enter(hash, hash, limit);
}

std::optional<Hold> ConcurrencyTable::enter(std::uint64_t hash, std::uint64_t coarse_hash,
                                            std::uint32_t limit) noexcept {
  const auto step = [limit](std::uint64_t count) -> std::optional<std::uint64_t> {
    return count < limit ? std::optional(count + 1) : std::nullopt;
  };
  switch (slots_.update(hash, 0, step)) {
    case SlotTable::Outcome::kChanged:
      return Hold(*this, hash, false);
    case SlotTable::Outcome::kLeft:
      return std::nullopt;
    case SlotTable::Outcome::kFull:
      break;
  }
  const std::uint64_t index = coarse_hash & (coarse_slots_ - 1);
  std::uint64_t count = coarse_[index].load(std::memory_order_relaxed);
  while (count < limit) {
    if (coarse_[index].compare_exchange_weak(count, count + 1, std::memory_order_relaxed))
      return Hold(*this, index, true);
  }
  return std::nullopt;
}

void ConcurrencyTable::leave(std::uint64_t key, bool coarse) noexcept {
  if (coarse) {
    coarse_[key].fetch_sub(1, std::memory_order_relaxed);
    return;
  }
  // The entry is there: it holds at least this place, and live entries are never evicted.
  static_cast<void>(
      slots_.update(key, 0, [](std::uint64_t count) { return std::optional(count - 1); }));
}

}  // namespace merlon::state
