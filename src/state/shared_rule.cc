#include "state/shared_rule.h"

#include <algorithm>

namespace merlon::state {
namespace {

// A lease beyond this saves nothing: the round trip is divided by it already.
constexpr std::uint64_t kLeaseMax = 1'024;

}  // namespace

seconds SharedRule::window() const noexcept {
  switch (kind) {
    case Kind::kRate:
      return std::chrono::ceil<seconds>(gcra.tolerance());
    case Kind::kHour:
      return std::chrono::hours{1};
    case Kind::kDay:
      return std::chrono::hours{24};
    case Kind::kMonth:
      return std::chrono::hours{24 * 31};
  }
  return seconds{0};
}

std::uint32_t lease_of(std::uint64_t burst, std::uint32_t nodes) noexcept {
  const std::uint64_t bound = burst / (4 * std::uint64_t{std::max(nodes, 1U)});
  if (bound < 2) return 1;
  return static_cast<std::uint32_t>(std::min(bound / 2 + 1, kLeaseMax));
}

Gcra share_of(const Gcra& limit, std::uint32_t nodes) noexcept {
  const std::uint32_t n = std::max(nodes, 1U);
  return {.interval = limit.interval * n, .burst = std::max(limit.burst / n, 1U)};
}

}  // namespace merlon::state
