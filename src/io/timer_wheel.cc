#include "io/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace merlon::io {
namespace {

/// The first tick that is not before `at`: rounding up, so that no timer is early.
std::int64_t tick_of(Instant at) noexcept {
  return std::chrono::ceil<milliseconds>(at.time_since_epoch()).count();
}

}  // namespace

void Timer::disarm() noexcept {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  next_ = previous_ = nullptr;
}

TimerWheel::TimerWheel(Instant now) noexcept
    : tick_(std::chrono::floor<milliseconds>(now.time_since_epoch()).count()) {
  for (auto& level : slots_) {
    for (Slot& slot : level) slot.previous_ = slot.next_ = &slot;
  }
}

void TimerWheel::arm(Timer& timer, Instant expires) noexcept {
  timer.disarm();
  // A time far beyond the wheel would overflow in arithmetic on ticks; a year is forever here.
  constexpr std::int64_t kFarthest = 365LL * 86'400'000;
  timer.tick_ = std::clamp(tick_of(expires), tick_ + 1, tick_ + kFarthest);
  insert(timer);
}

void TimerWheel::insert(Timer& timer) noexcept {
  const std::int64_t ahead = timer.tick_ - tick_;
  unsigned level = 0;
  while (level + 1 < kLevels && ahead >= (std::int64_t{1} << (kSlotBits * (level + 1)))) ++level;
  // Beyond the last level: as far ahead as it reaches; the cascade files it again.
  const std::int64_t reach = (std::int64_t{1} << (kSlotBits * kLevels)) - 1;
  const std::int64_t at = tick_ + std::min(ahead, reach);
  const auto index = static_cast<std::size_t>((at >> (kSlotBits * level)) & (kSlots - 1));
  Slot& slot = slots_[level][index];
  timer.previous_ = slot.previous_;
  timer.next_ = &slot;
  slot.previous_->next_ = &timer;
  slot.previous_ = &timer;
  occupied_[level] |= std::uint64_t{1} << index;
}

void TimerWheel::cascade(unsigned level) noexcept {
  const auto index = static_cast<std::size_t>((tick_ >> (kSlotBits * level)) & (kSlots - 1));
  if (index == 0 && level + 1 < kLevels) cascade(level + 1);
  occupied_[level] &= ~(std::uint64_t{1} << index);
  Slot& slot = slots_[level][index];
  if (slot.next_ == &slot) return;
  // Taken off as a whole first: what is filed again may land in this same slot.
  Timer* timer = slot.next_;
  slot.previous_->next_ = nullptr;
  slot.previous_ = slot.next_ = &slot;
  while (timer != nullptr) {
    Timer* next = timer->next_;
    insert(*timer);
    timer = next;
  }
}

std::size_t TimerWheel::fire_slot(Slot& slot) noexcept {
  std::size_t fired = 0;
  while (slot.next_ != &slot) {
    Timer& timer = *slot.next_;
    timer.disarm();
    if (timer.tick_ > tick_) {  // filed short because it lay beyond the wheel
      insert(timer);
      continue;
    }
    ++fired;
    timer.fire_(timer);
  }
  return fired;
}

std::size_t TimerWheel::advance(Instant now) noexcept {
  const std::int64_t target = std::chrono::floor<milliseconds>(now.time_since_epoch()).count();
  std::size_t fired = 0;
  while (tick_ < target) {
    // Whole empty turns of the lowest level are skipped, so that a long sleep costs little.
    if (occupied_[0] == 0 && (tick_ | (kSlots - 1)) < target) {
      tick_ |= kSlots - 1;
    }
    ++tick_;
    const auto index = static_cast<std::size_t>(tick_ & (kSlots - 1));
    if (index == 0) cascade(1);
    const std::uint64_t bit = std::uint64_t{1} << index;
    if ((occupied_[0] & bit) == 0) continue;
    occupied_[0] &= ~bit;
    fired += fire_slot(slots_[0][index]);
  }
  return fired;
}

Instant TimerWheel::next_expiry() noexcept {
  std::int64_t earliest = INT64_MAX;
  for (unsigned level = 0; level < kLevels; ++level) {
    const unsigned shift = kSlotBits * level;
    const auto current = static_cast<int>((tick_ >> shift) & (kSlots - 1));
    while (occupied_[level] != 0) {
      // Rotated so that bit 0 is the slot after the current one.
      const std::uint64_t ahead = std::rotr(occupied_[level], (current + 1) % 64);
      const int distance = std::countr_zero(ahead) + 1;
      const auto index = static_cast<std::size_t>((current + distance) & (kSlots - 1));
      if (slots_[level][index].next_ == &slots_[level][index]) {
        occupied_[level] &= ~(std::uint64_t{1} << index);
        continue;
      }
      earliest = std::min(earliest, ((tick_ >> shift) + distance) << shift);
      break;
    }
  }
  return earliest == INT64_MAX ? Instant::max() : Instant{milliseconds{earliest}};
}

}  // namespace merlon::io
