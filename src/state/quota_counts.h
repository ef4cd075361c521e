#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "base/time.h"
#include "state/shared_limits.h"

namespace merlon::state {

/// Quotas counted in this process, by the hour, day or month of UTC of the times that it is given:
/// for `limits simulate`, where there is no Redis. Grows with the identities of a log; not
/// thread-safe.
class QuotaCounts {
 public:
  /// Counts a request if the quota admits it. `rule` is one of a quota.
  [[nodiscard]] SharedAnswer take(const SharedRule& rule, const LimitedParty& party, WallTime now);

 private:
  struct Count {
    std::chrono::sys_seconds window;
    std::uint64_t used = 0;
  };
  std::map<std::pair<std::uint64_t, std::string>, Count> counts_;
};

}  // namespace merlon::state
