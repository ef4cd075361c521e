#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "io/loop.h"
#include "io/stream.h"

/// Simulated time and streams, for tests of everything that stands on the loop.
namespace merlon::io {

/// A poller without a kernel: waiting moves the clock to the next timer at once.
class SimulatedPoller final : public Poller {
 public:
  explicit SimulatedPoller(ManualClock& clock) : clock_(clock) {}
  bool add(int, Watch&) noexcept override { return true; }
  void remove(int, Watch&) noexcept override {}
  std::size_t wait(int timeout_ms, Loop& loop) noexcept override {
    if (timeout_ms > 0) clock_.advance(milliseconds{timeout_ms});
    loop.refresh_now();
    return 0;
  }

 private:
  ManualClock& clock_;
};

/// One end of a pipe in memory. `capacity` bytes fit into each direction, so that back-pressure and
/// partial writes can be provoked.
class SimulatedStream final : public Stream {
 public:
  static std::pair<std::unique_ptr<SimulatedStream>, std::unique_ptr<SimulatedStream>> make_pair(
      Loop& loop, std::size_t capacity) {
    auto a = std::make_unique<SimulatedStream>(loop, capacity);
    auto b = std::make_unique<SimulatedStream>(loop, capacity);
    a->other_ = b.get();
    b->other_ = a.get();
    return {std::move(a), std::move(b)};
  }
  SimulatedStream(Loop& loop, std::size_t capacity) : Stream(loop), capacity_(capacity) {}
  ~SimulatedStream() override {
    if (other_ == nullptr) return;
    other_->other_ = nullptr;
    other_->ended_ = true;
    other_->wake(true, true);
  }

  Attempt try_read(std::span<char> into) noexcept override {
    if (inbox_.empty()) return ended_ ? Attempt::end() : Attempt::would_block();
    const std::size_t n = std::min(into.size(), inbox_.size());
    inbox_.copy(into.data(), n);
    inbox_.erase(0, n);
    if (other_ != nullptr) other_->wake(false, true);
    return Attempt::moved(n);
  }
  Attempt try_write(std::span<const iovec> pieces) noexcept override {
    if (other_ == nullptr) return Attempt::error(code::kBrokenPipe);
    std::size_t moved = 0;
    for (const iovec& piece : pieces) {
      const std::size_t room = capacity_ - other_->inbox_.size();
      const std::size_t n = std::min(room, piece.iov_len);
      other_->inbox_.append(static_cast<const char*>(piece.iov_base), n);
      moved += n;
    }
    if (moved == 0) return Attempt::would_block();
    other_->wake(true, false);
    return Attempt::moved(moved);
  }
  [[nodiscard]] bool readable() const noexcept override { return !inbox_.empty() || ended_; }
  [[nodiscard]] std::size_t unacknowledged_bytes() const noexcept override {
    return other_ == nullptr ? 0 : other_->inbox_.size();
  }
  void finish_writing() noexcept override {
    if (other_ == nullptr) return;
    other_->ended_ = true;
    other_->wake(true, false);
  }

 private:
  const std::size_t capacity_;
  SimulatedStream* other_ = nullptr;
  std::string inbox_;
  bool ended_ = false;
};

}  // namespace merlon::io
