#include "io/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <utility>

#include "io/frame_pool.h"
#include "io/warm.h"

namespace merlon::io {
namespace {

// What a burst of requests took is given back when it was not wanted for so long.
constexpr seconds kSweepInterval{1};
// Of the events that were put off, a turn delivers those that begin so much: as many requests as
// one batch receives for.
constexpr std::size_t kBegunTogether = CallBatch::kCallsMax;
// So many coroutines are fetched together; of fewer the first would not gain by it.
constexpr std::size_t kWarmedTogether = 8;

class EpollPoller final : public Poller {
 public:
  EpollPoller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) std::abort();  // no loop can be without it, and nothing a peer does leads here
  }

  bool add(int fd, Watch& watch) noexcept override {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &watch;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }

  // Closing the only descriptor takes it out of the set by itself; just events at hand must be
  // forgotten.
  void remove(int /*fd*/, Watch& watch) noexcept override {
    for (std::size_t i = next_; i < count_; ++i) {
      if (events_[i].data.ptr == &watch) events_[i].data.ptr = nullptr;
    }
    if (watch.take_put_off() != 0) std::ranges::replace(put_off_, &watch, nullptr);
  }

  // The kernel's set holds open file descriptions, not descriptors: one that another process or
  // worker holds, too, stays in it after the close and would tell a watch that is gone.
  void remove_shared(int fd, Watch& watch) noexcept override {
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
    remove(fd, watch);
  }

  std::size_t wait(int timeout_ms, Loop& loop) noexcept override {
    const int n =
        ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
    loop.refresh_now();
    count_ = static_cast<std::size_t>(std::max(n, 0));
    if (count_ > CallBatch::kCallsMax || has_put_off() || begun_by_all() > kBegunTogether)
      put_off();
    std::size_t delivered = deliver_all(loop);
    if (has_put_off()) {
      take_put_off();
      delivered += deliver_all(loop);
    }
    return delivered;
  }

  bool has_put_off() const noexcept override { return !put_off_.empty(); }

 private:
  std::size_t begun_by_all() const noexcept {
    std::size_t begun = 0;
    for (std::size_t i = 0; i < count_; ++i)
      begun += static_cast<const Watch*>(events_[i].data.ptr)->begins();
    return begun;
  }

  /// Of the events at hand, those that may wait: behind others that do.
  void put_off() noexcept {
    std::size_t left = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      auto* const watch = static_cast<Watch*>(events_[i].data.ptr);
      if (watch->begins() == 0) {
        events_[left++] = events_[i];
      } else if (watch->put_off(events_[i].events)) {
        put_off_.push_back(watch);
      }
    }
    count_ = left;
  }

  /// The next of those that waited: few, so that what they begin goes on before more is begun.
  void take_put_off() noexcept {
    for (std::size_t begun = 0; begun < kBegunTogether && !put_off_.empty();) {
      Watch* const watch = put_off_.front();
      put_off_.pop_front();
      if (watch == nullptr) continue;
      begun += watch->begins();
      events_[count_].events = watch->take_put_off();
      events_[count_++].data.ptr = watch;
    }
  }

  std::size_t deliver_all(Loop& loop) noexcept {
    for (next_ = 0; next_ < count_;) deliver(std::min(count_, next_ + CallBatch::kCallsMax), loop);
    return std::exchange(count_, 0);
  }

  /// The events up to `end`, together.
  void deliver(std::size_t end, Loop& loop) noexcept {
    CallBatch* const batch = loop.batch();
    if (batch != nullptr) {
      for (std::size_t i = next_; i < end; ++i) warm(events_[i].data.ptr);
      for (std::size_t i = next_; i < end; ++i) {
        if (events_[i].data.ptr != nullptr)
          static_cast<Watch*>(events_[i].data.ptr)->plan_receive(*batch, events_[i].events);
      }
      batch->receive();
    }
    while (next_ < end) {
      const epoll_event event = events_[next_++];
      if (event.data.ptr != nullptr) static_cast<Watch*>(event.data.ptr)->on_events(event.events);
    }
    if (batch != nullptr) batch->give_back();
  }

  Fd epoll_;
  std::array<epoll_event, 256> events_;
  std::size_t next_ = 0;
  std::size_t count_ = 0;
  std::deque<Watch*> put_off_;  ///< each once; null where it has gone
};

}  // namespace

std::unique_ptr<Poller> make_epoll_poller() { return std::make_unique<EpollPoller>(); }

/// Ends a wait of the poller from another thread.
class Loop::Wakeup final : public Watch {
 public:
  explicit Wakeup(Loop& loop) : loop_(loop), fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (!fd_ || !loop_.poller().add(fd_.get(), *this)) std::abort();
  }
  ~Wakeup() override { loop_.poller().remove(fd_.get(), *this); }

  void wake() noexcept {
    const std::uint64_t one = 1;
    // Full means that a wake-up is pending already.
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }
  void on_events(std::uint32_t) noexcept override {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(fd_.get(), &count, sizeof count);
  }

 private:
  Loop& loop_;
  Fd fd_;
};

Loop::Loop(const Clock& clock, std::unique_ptr<Poller> poller, std::unique_ptr<CallBatch> batch)
    : clock_(clock),
      poller_(std::move(poller)),
      batch_(std::move(batch)),
      now_(clock.now()),
      timers_(now_),
      wakeup_(std::make_unique<Wakeup>(*this)) {}

Loop::~Loop() = default;

void Loop::run() {
  while (!stopping_.load(std::memory_order_acquire)) turn(milliseconds{60'000});
  stopping_.store(false, std::memory_order_release);
}

int Loop::wait_ms(milliseconds wait_max) noexcept {
  if (!ready_.empty() || !last_.empty() || poller_->has_put_off()) return 0;
  Instant next = timers_.next_expiry();
  if (sweeping_) next = std::min(next, swept_ + kSweepInterval + milliseconds{1});
  if (next == Instant::max()) return static_cast<int>(wait_max.count());
  const auto until = std::chrono::ceil<milliseconds>(next - now_);
  return static_cast<int>(std::clamp(until, milliseconds{0}, wait_max).count());
}

void Loop::account(Instant waited_from, Instant waited_to) noexcept {
  // Written by this thread alone: a load and a store are enough, no locked instruction.
  const auto add = [](std::atomic<std::uint64_t>& counter, std::uint64_t by) {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  };
  const auto busy = static_cast<std::uint64_t>((waited_to - waited_from).count());
  add(counters_.turns, 1);
  add(counters_.busy_ns, busy);
  if (busy > counters_.longest_turn_ns.load(std::memory_order_relaxed))
    counters_.longest_turn_ns.store(busy, std::memory_order_relaxed);
  // A turn that was told of while it went on is not told of again as another one.
  const bool told = told_since_.load(std::memory_order_relaxed) == waited_from;
  if (!told && busy > counters_.recent_turn_ns.load(std::memory_order_relaxed))
    counters_.recent_turn_ns.store(busy, std::memory_order_relaxed);
}

nanoseconds Loop::running() const noexcept {
  const Instant since = busy_since_.load(std::memory_order_relaxed);
  return since == kWaiting ? nanoseconds{0} : std::max(clock_.now() - since, nanoseconds{0});
}

nanoseconds Loop::take_longest_turn() noexcept {
  const Instant since = busy_since_.load(std::memory_order_relaxed);
  if (since != kWaiting) told_since_.store(since, std::memory_order_relaxed);
  const nanoseconds recent{
      static_cast<std::int64_t>(counters_.recent_turn_ns.exchange(0, std::memory_order_relaxed))};
  return std::max(recent, running());
}

nanoseconds Loop::busy() const noexcept {
  return nanoseconds{static_cast<std::int64_t>(counters_.busy_ns.load(std::memory_order_relaxed))} +
         running();
}

void Loop::turn(milliseconds wait_max) {
  // `now_` is when the last wait ended; what passed since then was work.
  const Instant busy_since = now_;
  const int timeout = wait_ms(wait_max);
  if (timeout != 0) {
    account(busy_since, clock_.now());
    busy_since_.store(kWaiting, std::memory_order_relaxed);
  }
  in_turn_ = true;
  const std::size_t events = poller_->wait(timeout, *this);
  // A poll that does not wait belongs to the work: it spares a call of the clock.
  if (timeout == 0) account(busy_since, now_);
  counters_.events.store(counters_.events.load(std::memory_order_relaxed) + events,
                         std::memory_order_relaxed);
  timers_.advance(now_);
  run_ready();
  run_messages();
  run_last();
  send_batch();
  in_turn_ = false;
  if (now_ - swept_ > kSweepInterval) {
    swept_ = now_;
    sweeping_ = FramePool::sweep();
  }
}

void Loop::send_batch() noexcept {
  if (batch_ != nullptr) batch_->send();
}

/// The next ones of the `left` that are ready; returns how many.
std::size_t Loop::warm_next(std::size_t left) noexcept {
  std::array<void*, kWarmedTogether> frames;
  const std::size_t count = std::min(left, frames.size());
  for (std::size_t i = 0; i < count; ++i) frames[i] = ready_[i].address();
  if (count > 1) warm_coroutines(std::span(frames).first(count));
  return count;
}

void Loop::run_ready() {
  // Only what is here now: a coroutine that yields again waits for the next turn's events.
  std::size_t warmed = 0;
  for (std::size_t n = ready_.size(); n > 0; --n) {
    if (warmed == 0) warmed = warm_next(n);
    --warmed;
    const std::coroutine_handle<> handle = ready_.front();
    ready_.pop_front();
    handle.resume();
  }
}

void Loop::run_last() {
  // Only who is here now, as above.
  running_last_.swap(last_);
  for (const std::coroutine_handle<> handle : running_last_) handle.resume();
  running_last_.clear();
}

void Loop::run_messages() {
  std::vector<std::function<void()>> messages;
  {
    const std::lock_guard lock(messages_mutex_);
    if (messages_.empty()) return;
    messages.swap(messages_);
  }
  for (const auto& message : messages) message();
}

void Loop::stop() noexcept {
  stopping_.store(true, std::memory_order_release);
  wakeup_->wake();
}

void Loop::send(std::function<void()> message) {
  {
    const std::lock_guard lock(messages_mutex_);
    messages_.push_back(std::move(message));
  }
  wakeup_->wake();
}

}  // namespace merlon::io
