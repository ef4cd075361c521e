#include "telemetry/line_ring.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace merlon::telemetry {
namespace {

constexpr std::size_t kBytesMin = 4096;

}  // namespace

LineRing::LineRing(std::size_t bytes)
    : mask_(std::bit_ceil(std::max(bytes, kBytesMin)) - 1),
      data_(std::make_unique_for_overwrite<char[]>(mask_ + 1)) {}

bool LineRing::push(std::string_view line) noexcept {
  const std::size_t at = written_.load(std::memory_order_relaxed);
  if (line.size() > capacity() - (at - consumed_seen_)) {
    consumed_seen_ = consumed_.load(std::memory_order_acquire);
    if (line.size() > capacity() - (at - consumed_seen_)) {
      dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return false;
    }
  }
  const std::size_t start = at & mask_;
  const std::size_t before_wrap = std::min(line.size(), capacity() - start);
  std::memcpy(data_.get() + start, line.data(), before_wrap);
  std::memcpy(data_.get(), line.data() + before_wrap, line.size() - before_wrap);
  written_.store(at + line.size(), std::memory_order_release);
  return true;
}

bool LineRing::wants_wakeup() noexcept {
  const std::size_t at = written_.load(std::memory_order_relaxed);
  if (at - consumed_seen_ < capacity() / 2) return false;
  consumed_seen_ = consumed_.load(std::memory_order_acquire);
  if (at - consumed_seen_ < capacity() / 2) return false;
  return !wakeup_asked_.load(std::memory_order_relaxed) &&
         !wakeup_asked_.exchange(true, std::memory_order_relaxed);
}

std::string_view LineRing::readable() const noexcept {
  const std::size_t from = consumed_.load(std::memory_order_relaxed);
  const std::size_t bytes = written_.load(std::memory_order_acquire) - from;
  const std::size_t start = from & mask_;
  return {data_.get() + start, std::min(bytes, capacity() - start)};
}

void LineRing::consume(std::size_t bytes) noexcept {
  consumed_.store(consumed_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
}

void LineRing::consume_line() noexcept {
  for (;;) {
    const std::string_view bytes = readable();
    if (bytes.empty()) return;
    const std::size_t end = bytes.find('\n');
    consume(end == std::string_view::npos ? bytes.size() : end + 1);
    if (end != std::string_view::npos) return;
  }
}

}  // namespace merlon::telemetry
