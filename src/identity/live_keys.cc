#include "identity/live_keys.h"

#include <algorithm>
#include <map>
#include <string>

#include "state/keyed_hash.h"

namespace merlon::identity {
namespace {

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

constexpr std::uint64_t kSecondsMask = UINT32_MAX;

/// Nobody can choose names that meet.
std::uint64_t hash_of(std::string_view kid) noexcept {
  static const state::KeyedHash hash;
  return hash(kid);
}

std::uint64_t whole_seconds(Instant at) noexcept {
  return static_cast<std::uint64_t>(std::chrono::ceil<seconds>(at.time_since_epoch()).count()) &
         kSecondsMask;
}

}  // namespace

LiveKeys::LiveKeys() : id_(next_id()) {}

std::shared_ptr<LiveKeys> LiveKeys::of(std::string_view source) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<LiveKeys>, std::less<>> known;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  const auto found = known.find(source);
  if (found != known.end()) {
    if (auto live = found->second.lock()) return live;
  }
  std::shared_ptr<LiveKeys> made(new LiveKeys);
  known.insert_or_assign(std::string(source), made);
  return made;
}

std::shared_ptr<const KeySet> LiveKeys::keys() const {
  const std::lock_guard lock(mutex_);
  return keys_;
}

LiveKeys::Asking LiveKeys::asking(std::string_view kid, Instant now) const noexcept {
  const std::uint64_t hash = hash_of(kid);
  const std::uint64_t noted = unknown_[hash % kUnknownSlots].load(std::memory_order_acquire);
  const bool same = (noted & ~kSecondsMask) == (hash & ~kSecondsMask);
  if (same && whole_seconds(now) < (noted & kSecondsMask)) return Asking::kInVain;
  return until_next_ask(now) > nanoseconds{0} ? Asking::kTooSoon : Asking::kWorthIt;
}

nanoseconds LiveKeys::until_next_ask(Instant now) const noexcept {
  const std::int64_t again = ask_again_ns_.load(std::memory_order_acquire);
  const std::int64_t now_ns = now.time_since_epoch().count();
  return nanoseconds{again > now_ns ? again - now_ns : 0};
}

void LiveKeys::publish(std::shared_ptr<const KeySet> keys) {
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  version_.fetch_add(1, std::memory_order_release);
}

void LiveKeys::attempted(bool succeeded) noexcept {
  failing_.store(!succeeded, std::memory_order_release);
  starting_.store(false, std::memory_order_release);
}

void LiveKeys::note_unknown(std::string_view kid, Instant until) noexcept {
  const std::uint64_t hash = hash_of(kid);
  unknown_[hash % kUnknownSlots].store((hash & ~kSecondsMask) | whole_seconds(until),
                                       std::memory_order_release);
}

void LiveKeys::forget_unknown() noexcept {
  for (auto& slot : unknown_) slot.store(0, std::memory_order_relaxed);
}

const KeySet* KeyViews::of(const LiveKeys& live) {
  auto view = std::ranges::find(views_, live.id(), &View::id);
  if (view == views_.end()) {
    if (views_.size() == kViewsMax) views_.erase(views_.begin());
    view = views_.insert(views_.end(), View{.id = live.id(), .version = 0, .keys = nullptr});
  }
  const std::uint64_t version = live.version();
  if (view->version != version) {
    view->keys = live.keys();
    view->version = version;
  }
  return view->keys.get();
}

bool KeyViews::is_current(const LiveKeys& live) const noexcept {
  const auto view = std::ranges::find(views_, live.id(), &View::id);
  return view != views_.end() && view->version == live.version();
}

}  // namespace merlon::identity
