#include "upstream/endpoint_checks.h"

#include <utility>

namespace merlon::upstream {

io::Task<bool> CheckSlots::take() {
  while (!closed_ && taken_ == max_) {
    [[maybe_unused]] const Result<void> waited = co_await freed_.wait(Instant::max());
  }
  if (!closed_) ++taken_;
  co_return !closed_;
}

void CheckSlots::give_back() noexcept {
  --taken_;
  freed_.notify_one();
}

void CheckSlots::close() noexcept {
  closed_ = true;
  freed_.notify_all();
}

EndpointChecks::EndpointChecks(const Ground& ground, std::shared_ptr<const Upstream> upstream,
                               std::shared_ptr<CheckedEndpoint> endpoint,
                               std::unique_ptr<Prober> prober)
    : ground_(ground),
      upstream_(std::move(upstream)),
      endpoint_(std::move(endpoint)),
      prober_(std::move(prober)),
      wake_(ground.loop) {}

void EndpointChecks::stop() noexcept {
  stopping_ = true;
  prober_->cancel();
  wake_.notify_all();
}

milliseconds EndpointChecks::pause() noexcept {
  const auto interval = static_cast<double>(upstream_->health->interval.count());
  const double chance = ground_.random();
  const double share = std::exchange(first_, false) ? chance : 0.9 + 0.2 * chance;
  return milliseconds{static_cast<std::int64_t>(interval * share)};
}

io::Task<void> EndpointChecks::run() {
  while (!stopping_) {
    const bool entered = co_await ground_.slots.take();
    if (!entered) break;
    const Instant begun = ground_.loop.now();
    const bool made = co_await check();
    ground_.slots.give_back();
    if (!made) break;
    const Instant next = begun + pause();
    while (!stopping_ && ground_.loop.now() < next) {
      [[maybe_unused]] const Result<void> waited = co_await wake_.wait(next);
    }
  }
}

io::Task<bool> EndpointChecks::check() {
  if (stopping_) co_return false;
  const std::shared_ptr<const Upstream> upstream = upstream_;
  const Instant deadline = ground_.loop.now() + upstream->health->timeout;
  const ProbeResult found = co_await prober_->probe(upstream, endpoint_->address(), deadline);
  if (stopping_) co_return false;
  Change change = Change::kNone;
  if (found.outcome != ProbeResult::Outcome::kNotMade) {
    // By the thresholds in force now: a reload may have come meanwhile.
    change = count_.take(found.outcome == ProbeResult::Outcome::kPassed, *upstream_->health);
    if (change != Change::kNone) endpoint_->set_in_use(change == Change::kHealthy);
  }
  ground_.told(*this, found, change);
  co_return true;
}

}  // namespace merlon::upstream
