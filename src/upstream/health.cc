#include "upstream/health.h"

#include <algorithm>
#include <utility>

namespace merlon::upstream {

const CheckedEndpoint* UpstreamHealth::find(const Endpoint& address) const noexcept {
  const auto found = std::ranges::find_if(
      endpoints_, [&](const auto& endpoint) { return endpoint->address() == address; });
  return found == endpoints_.end() ? nullptr : found->get();
}

bool UpstreamHealth::none_in_use() const noexcept {
  return std::ranges::none_of(endpoints_, [](const auto& endpoint) { return endpoint->in_use(); });
}

std::size_t UpstreamHealth::in_use() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(endpoints_, [](const auto& endpoint) { return endpoint->in_use(); }));
}

HealthCount::Change HealthCount::take(bool passed, const HealthCheck& check) noexcept {
  const bool first = !std::exchange(decided_, true);
  if (std::exchange(changed_, false) || passed == healthy_) in_a_row_ = 0;
  if (passed == healthy_) return Change::kNone;
  ++in_a_row_;
  const std::uint32_t needed = first ? 1 : passed ? check.healthy_after : check.unhealthy_after;
  if (in_a_row_ < needed) return Change::kNone;
  healthy_ = passed;
  changed_ = true;
  return passed ? Change::kHealthy : Change::kUnhealthy;
}

}  // namespace merlon::upstream
