#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "gateway/config.h"
#include "gateway/plan.h"
#include "http/message.h"

namespace merlon::gateway {

class SimulatedState;

/// Whom the limits of a configuration would have refused, for `merlon limits simulate`.
struct SimulationReport {
  /// What one line of configuration refused.
  struct Limit {
    std::string route;
    std::string rule;         ///< "rate-limited", "quota-exceeded", "concurrency-limited"
    std::string limit_class;  ///< that counted; empty: none
    std::string line;         ///< "file:line"
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
  /// Requests of which the log does not say who sent them, on routes that ask: limits and quotas by
  /// identity, and concurrency, were not replayed for them.
  std::uint64_t anonymous = 0;
  std::vector<Limit> limits;    ///< in the order of the configuration
  std::vector<Client> clients;  ///< those that were refused, the most refused first
};

/// Replays an access log against the limits of a plan, with the policies of the data plane on
/// tables of its own and the times of the log. Identities are those of the log, which are
/// pseudonyms: names that the configuration lists in classes are recognised by theirs. The log says
/// when a request was over and how long it took, so it arrived that much earlier; one that a limit
/// refuses takes no place. Not thread-safe.
class LimitSimulation {
 public:
  /// `plan`, compiled from `config`, must outlive it.
  LimitSimulation(const Plan& plan, const Config& config);

  /// One line of Merlon's access log. Lines of connections are passed over.
  void add(std::string_view line);
  /// What came of all lines. Call it once.
  [[nodiscard]] SimulationReport run();

 private:
  struct Request {
    Instant arrival;
    WallTime wall;  ///< the same by the log's clock
    microseconds took;
    IpAddress client;
    const Route* route;
    bool preflight;
    std::shared_ptr<const identity::Identity> identity;
    std::size_t line;  ///< the order of those that arrive together
  };
  using Key = std::pair<const Mark*, std::string_view>;
  struct Refused {
    const Route* route = nullptr;
    std::string_view limit_class;
    std::uint64_t count = 0;
    std::map<IpAddress, std::uint64_t> clients;
  };

  /// What refuses the request, if a limit does.
  [[nodiscard]] std::optional<policy::Refusal> refusal_of(const Request& request,
                                                          SimulatedState& state);
  /// Who the log says it was; null when it does not.
  [[nodiscard]] std::shared_ptr<const identity::Identity> identity_of(std::string_view pseudonym);

  const Plan& plan_;
  std::map<std::string, std::string, std::less<>> names_;  ///< that classes list, by pseudonym
  std::map<std::string, std::shared_ptr<const identity::Identity>, std::less<>> identities_;
  std::vector<Request> requests_;
  SimulationReport report_;
};

}  // namespace merlon::gateway
