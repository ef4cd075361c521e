#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "gateway/plan.h"
#include "http/message.h"

namespace merlon::gateway {

class SimulatedState;

/// Whom the limits of a configuration would have refused, for `merlon limits simulate`.
struct SimulationReport {
  /// What one line of configuration refused.
  struct Limit {
    std::string route;
    std::string rule;  ///< "rate-limited", "concurrency-limited"
    std::string line;  ///< "file:line"
    std::uint64_t refused = 0;
    std::size_t clients = 0;  ///< how many different ones
  };
  struct Client {
    IpAddress client;  ///< its /64 for IPv6
    std::uint64_t requests = 0;
    std::uint64_t refused = 0;
  };
  std::uint64_t requests = 0;  ///< replayed
  std::uint64_t refused = 0;
  std::uint64_t unrouted = 0;    ///< requests that no route of the configuration takes
  std::uint64_t unreadable = 0;  ///< lines that are no request of an access log
  std::vector<Limit> limits;     ///< in the order of the configuration
  std::vector<Client> clients;   ///< those that were refused, the most refused first
};

/// Replays an access log against the limits of a plan, with the policies of the data plane on
/// tables of its own and the times of the log. The log says when a request was over and how long
/// it took, so it arrived that much earlier; one that a limit refuses takes no place. Not
/// thread-safe.
class LimitSimulation {
 public:
  /// `plan` must outlive it.
  explicit LimitSimulation(const Plan& plan) : plan_(plan) {}

  /// One line of Merlon's access log. Lines of connections are passed over.
  void add(std::string_view line);
  /// What came of all lines. Call it once.
  [[nodiscard]] SimulationReport run();

 private:
  struct Request {
    Instant arrival;
    microseconds took;
    IpAddress client;
    const Route* route;
    std::size_t line;  ///< the order of those that arrive together
  };
  using Key = std::pair<const Mark*, std::string_view>;
  struct Refused {
    const Route* route = nullptr;
    std::uint64_t count = 0;
    std::map<IpAddress, std::uint64_t> clients;
  };

  /// The limit that refuses the request, if one does.
  [[nodiscard]] bool refuses(const Request& request, SimulatedState& state, Key& by);

  const Plan& plan_;
  std::vector<Request> requests_;
  SimulationReport report_;
};

}  // namespace merlon::gateway
