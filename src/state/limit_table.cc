#include "state/limit_table.h"

#include <algorithm>
#include <optional>

#include "state/entry_hash.h"

namespace merlon::state {
namespace {

std::uint64_t ns_of(Instant time) noexcept {
  return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

std::uint64_t ns_of(nanoseconds span) noexcept { return static_cast<std::uint64_t>(span.count()); }

nanoseconds span_of(std::uint64_t ns) noexcept {
  return nanoseconds{static_cast<std::int64_t>(ns)};
}

/// Judges one request whose entry holds `value`. The new value, or nullopt when it is refused.
std::optional<std::uint64_t> judge(const Gcra& limit, std::uint64_t now, std::uint64_t value,
                                   Taken& out) noexcept {
  const std::uint64_t arrival = std::max(value, now);
  const std::uint64_t next = arrival + ns_of(limit.interval);
  const std::uint64_t ahead = next - now;
  const std::uint64_t tolerance = ns_of(limit.tolerance());
  if (ahead > tolerance) {
    out = {.admitted = false,
           .coarse = false,
           .wait = nanoseconds{0},
           .retry_after = span_of(ahead - tolerance),
           // Another limit's arrival time may stand in a coarse slot: never beyond this one's.
           .backlog = span_of(std::min(arrival - now, tolerance))};
    return std::nullopt;
  }
  out = {.admitted = true,
         .coarse = false,
         .wait = span_of(arrival - now),
         .retry_after = nanoseconds{0},
         .backlog = span_of(ahead)};
  return next;
}

}  // namespace

Gcra Gcra::of(const Rate& rate, std::uint32_t burst) noexcept {
  const std::uint64_t per = ns_of(rate.per);
  const std::uint64_t events = std::max<std::uint64_t>(rate.events, 1);
  const std::uint64_t interval = per / events + (per % events != 0 ? 1 : 0);
  return {.interval = span_of(std::max<std::uint64_t>(interval, 1)), .burst = std::max(burst, 1U)};
}

LimitTable::LimitTable(const LimitTableSize& size, const KeyedHash& hash)
    : hash_(hash),
      coarse_slots_(size.coarse_slots),
      clients_(size.client_sets),
      names_(size.name_sets),
      coarse_v4_(std::make_unique<std::atomic<std::uint64_t>[]>(size.coarse_slots)),
      coarse_v6_(std::make_unique<std::atomic<std::uint64_t>[]>(size.coarse_slots)),
      coarse_names_(std::make_unique<std::atomic<std::uint64_t>[]>(size.coarse_slots)) {}

std::atomic<std::uint64_t>& LimitTable::coarse_slot(std::uint64_t scope,
                                                    const IpAddress& client) const noexcept {
  const std::size_t index = entry_hash(hash_, scope, neighbours(client)) & (coarse_slots_ - 1);
  return client.is_v6() ? coarse_v6_[index] : coarse_v4_[index];
}

Taken LimitTable::take_coarse(std::atomic<std::uint64_t>& slot, const Gcra& limit,
                              Instant now) noexcept {
  Taken taken;
  std::uint64_t value = slot.load(std::memory_order_relaxed);
  for (;;) {
    const std::optional<std::uint64_t> next = judge(limit, ns_of(now), value, taken);
    if (!next || slot.compare_exchange_weak(value, *next, std::memory_order_relaxed)) break;
  }
  taken.coarse = true;
  coarse_total_.fetch_add(1, std::memory_order_relaxed);
  return taken;
}

Taken LimitTable::take(std::uint64_t scope, const IpAddress& client, const Gcra& limit,
                       Instant now) noexcept {
  Taken taken;
  const auto step = [&](std::uint64_t value) { return judge(limit, ns_of(now), value, taken); };
  const std::uint64_t hash = entry_hash(hash_, scope, client.client_key());
  if (clients_.update(hash, ns_of(now), step) != SlotTable::Outcome::kFull) return taken;
  return take_coarse(coarse_slot(scope, client), limit, now);
}

Taken LimitTable::take(std::uint64_t scope, std::string_view name, const Gcra& limit,
                       Instant now) noexcept {
  Taken taken;
  const auto step = [&](std::uint64_t value) { return judge(limit, ns_of(now), value, taken); };
  const std::uint64_t hash = entry_hash(hash_, scope, name);
  if (names_.update(hash, ns_of(now), step) != SlotTable::Outcome::kFull) return taken;
  return take_coarse(coarse_names_[hash & (coarse_slots_ - 1)], limit, now);
}

Taken LimitTable::peek(std::uint64_t scope, const IpAddress& client, const Gcra& limit,
                       Instant now) const noexcept {
  Taken taken;
  const std::uint64_t hash = entry_hash(hash_, scope, client.client_key());
  std::optional<std::uint64_t> value = clients_.find(hash, ns_of(now));
  const bool coarse = !value;
  if (coarse) value = coarse_slot(scope, client).load(std::memory_order_relaxed);
  static_cast<void>(judge(limit, ns_of(now), *value, taken));
  taken.coarse = coarse;
  return taken;
}

std::size_t LimitTable::bytes() const noexcept {
  return clients_.bytes() + names_.bytes() + 3 * coarse_slots_ * sizeof(std::uint64_t);
}

std::size_t LimitTable::live(Instant now) const noexcept {
  return clients_.live(ns_of(now)) + names_.live(ns_of(now));
}

}  // namespace merlon::state
