#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "identity/errand.h"
#include "identity/introspection.h"
#include "identity/issuer.h"
#include "identity/provider.h"
#include "io/signal.h"
#include "io/task.h"
#include "upstream/origin.h"

namespace merlon::identity {

/// What is told of the questions of one entry under `identity`; written on the agent's thread, read
/// by any.
struct IntrospectionFigures {
  std::atomic<std::uint64_t> active{0};
  std::atomic<std::uint64_t> refused{0};  ///< not active, or not good here
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> remembered{0};  ///< answered from memory
};

/// Asks one authorisation server about tokens: each at most once at a time, however many requests
/// wait, and not again while the answer is fresh. Bounded in questions, waiting and in progress, of
/// one client and of all, and in answers kept. A server that fails again and again is left alone
/// for a moment before the next try. Lives on the agent's thread.
class Introspector {
 public:
  using Done = std::function<void(ErrandAnswer)>;

  Introspector(const AgentGround& ground, const IntrospectionSource& server);
  Introspector(const Introspector&) = delete;
  Introspector& operator=(const Introspector&) = delete;

  void ask(const Errand& errand, Done done);
  void stop() noexcept;
  [[nodiscard]] bool idle() const noexcept { return tasks_.empty(); }
  /// Of the entry of this name: several may ask one server.
  [[nodiscard]] const std::shared_ptr<IntrospectionFigures>& figures_of(const std::string& name);
  /// Goes on with what another one counted for the entry of this name.
  void count_on(const std::string& name, std::shared_ptr<IntrospectionFigures> figures) {
    figures_[name] = std::move(figures);
  }

 private:
  /// A question in progress, with all who wait for its answer.
  struct Flight {
    Sha256 digest{};
    std::uint64_t policy_id = 0;
    IpAddress client;  ///< whose request was the first to wait: it counts for this one
    std::shared_ptr<const Provider> provider;
    std::string token;
    std::vector<Done> waiting;
  };
  using Key = std::pair<std::uint64_t, Sha256>;
  struct Kept {
    Key key;
    ErrandAnswer answer;
  };
  [[nodiscard]] const ErrandAnswer* recall(const Key& key);
  void keep(const Key& key, const ErrandAnswer& answer);
  [[nodiscard]] io::Task<void> work();
  [[nodiscard]] io::Task<ErrandAnswer> ask_server(const Flight& flight);
  [[nodiscard]] ErrandAnswer judge(const Flight& flight, const upstream::FetchResponse& response,
                                   Instant asked_at);
  [[nodiscard]] ErrandAnswer judge_status(const Flight& flight, unsigned status);
  void note_failure(const Flight& flight, std::string_view reason);
  ErrandAnswer failed(const Flight& flight, std::string_view reason);

  const AgentGround& ground_;
  std::map<std::string, std::shared_ptr<IntrospectionFigures>, std::less<>> figures_;  ///< by name
  upstream::Origin origin_;
  JsonDocument document_;
  std::map<Key, std::shared_ptr<Flight>> flights_;
  std::deque<std::shared_ptr<Flight>> queue_;
  std::list<Kept> kept_;  ///< the newest first
  std::map<Key, std::list<Kept>::iterator> by_key_;
  std::map<IpAddress, std::size_t> pending_of_;  ///< questions, waiting and in progress, by client
  std::size_t working_ = 0;
  unsigned failures_ = 0;  ///< in a row
  Instant broken_until_{};
  bool stopping_ = false;
  io::TaskSet tasks_;
};

}  // namespace merlon::identity
