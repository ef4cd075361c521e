#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "identity/errand.h"
#include "identity/introspector.h"
#include "identity/issuer.h"
#include "identity/provider.h"
#include "io/loop.h"
#include "telemetry/identity_families.h"
#include "upstream/resolver.h"

namespace merlon::identity {

/// The thread that asks others who callers are: it keeps the keys of issuers fresh and asks about
/// opaque tokens, so that no worker waits for a network. Everything but the destructor may be
/// called from any thread.
class Agent {
 public:
  /// `broker`, `clock` and `events`, which may be null, outlive the agent.
  Agent(io::Broker& broker, const Clock& clock, telemetry::EventLog* events);
  /// Ends what is in progress; errands that were not done are answered with failures.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Works for these from now on, and no longer for others. What is known of those that stay,
  /// stays.
  void adopt(const std::vector<std::shared_ptr<const Provider>>& providers);
  /// Does the errand. `done` is called once, on the agent's thread, within Errand::patience as a
  /// rule; not at all when the agent goes before it begins.
  void run(std::shared_ptr<const Errand> errand, std::function<void(ErrandAnswer)> done);
  /// For metrics.
  [[nodiscard]] std::vector<telemetry::IdentityFigures> status() const;

 private:
  struct Told {
    std::string name;
    std::shared_ptr<IssuerFigures> issuer;
    std::shared_ptr<IntrospectionFigures> introspection;
  };
  struct Running {
    std::unique_ptr<Issuer> issuer;
    bool wanted = true;
    bool done = false;
  };
  /// Lists the new ones in `status` at once, without keys: nobody takes a node for complete whose
  /// agent has not begun.
  void announce(const std::vector<std::shared_ptr<const Provider>>& providers);
  void take(const std::vector<std::shared_ptr<const Provider>>& providers);
  void take_issuer(const std::shared_ptr<const Provider>& provider, std::vector<Told>& told);
  [[nodiscard]] std::shared_ptr<IntrospectionFigures> counted_for(std::string_view name);
  void take_introspection(const std::shared_ptr<const Provider>& provider, std::vector<Told>& told);
  [[nodiscard]] io::Task<void> keep_fresh(std::uint64_t id);
  void start(const Errand& errand, std::function<void(ErrandAnswer)> done);
  void shut();
  [[nodiscard]] bool busy() const;
  [[nodiscard]] io::Task<void> stop_when_idle();

  const Clock& clock_;
  io::Loop loop_;
  upstream::Resolver resolver_;
  const AgentGround ground_;
  std::map<std::uint64_t, Running> issuers_;                              ///< by LiveKeys::id
  std::map<std::uint64_t, std::unique_ptr<Introspector>> introspectors_;  ///< by the server's id
  std::vector<std::unique_ptr<Introspector>> leaving_;  ///< with questions in progress
  bool stopping_ = false;
  io::TaskSet tasks_;
  mutable std::mutex mutex_;  ///< of what follows
  std::vector<Told> told_;
  std::thread thread_;
};

}  // namespace merlon::identity
