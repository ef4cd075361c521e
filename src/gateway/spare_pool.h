#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "io/loop.h"

namespace merlon::gateway {

/// Keeps objects that are costly to make for the next user, on one loop. Up to `kept` of them stay;
/// those beyond stay while they are used. Of what nobody took for kInterval a quarter is freed, and
/// so on: peaks that follow each other find most of what they need, and some seconds after the last
/// its memory is gone.
template <class T>
class SparePool {
 public:
  static constexpr seconds kInterval{1};

  explicit SparePool(io::Loop& loop) noexcept : sweep_(*this), loop_(loop) {}
  ~SparePool() { sweep_.disarm(); }
  SparePool(const SparePool&) = delete;
  SparePool& operator=(const SparePool&) = delete;

  /// The one given back last; nullptr when there is none.
  [[nodiscard]] std::unique_ptr<T> take() noexcept {
    if (spare_.empty()) return nullptr;
    std::unique_ptr<T> taken = std::move(spare_.back());
    spare_.pop_back();
    unused_ = std::min(unused_, spare_.size());
    return taken;
  }

  /// What `take` returns after `others` more; nullptr when there are not so many.
  [[nodiscard]] const T* next(std::size_t others) const noexcept {
    return others < spare_.size() ? spare_[spare_.size() - 1 - others].get() : nullptr;
  }

  void give_back(std::unique_ptr<T> object, std::size_t kept) {
    spare_.push_back(std::move(object));
    kept_ = kept;
    if (spare_.size() > kept && !sweep_.armed()) begin_interval();
  }

  [[nodiscard]] std::size_t size() const noexcept { return spare_.size(); }

 private:
  class Sweep final : public io::Timer {
   public:
    explicit Sweep(SparePool& pool) noexcept : Timer(&Sweep::fire), pool_(pool) {}

   private:
    static void fire(Timer& timer) noexcept { static_cast<Sweep&>(timer).pool_.sweep(); }
    SparePool& pool_;
  };

  /// Rounded up, so that the last one goes, too.
  static constexpr std::size_t quarter_of(std::size_t count) noexcept { return (count + 3) / 4; }

  void begin_interval() noexcept {
    unused_ = spare_.size();
    loop_.timers().arm(sweep_, loop_.now() + kInterval);
  }

  void sweep() noexcept {
    const std::size_t surplus = spare_.size() - std::min(spare_.size(), kept_);
    // From the bottom: those that were used last are the warmest.
    const auto freed = static_cast<std::ptrdiff_t>(std::min(quarter_of(unused_), surplus));
    spare_.erase(spare_.begin(), spare_.begin() + freed);
    if (spare_.size() > kept_) begin_interval();
  }

  std::vector<std::unique_ptr<T>> spare_;
  std::size_t unused_ = 0;  ///< how many were never taken since the interval began
  std::size_t kept_ = 0;
  Sweep sweep_;
  io::Loop& loop_;
};

}  // namespace merlon::gateway
