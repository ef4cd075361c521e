#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "identity/errand.h"
#include "identity/key_source.h"
#include "io/broker.h"
#include "io/signal.h"
#include "io/task.h"
#include "telemetry/events.h"
#include "upstream/origin.h"

namespace merlon::identity {

/// What the agent's parts stand on. All of it outlives them.
struct AgentGround {
  io::Loop& loop;
  io::Broker& broker;
  upstream::Resolver& resolver;
  telemetry::EventLog* events;  ///< null: nothing is told
};

/// What is told of an issuer; written on the agent's thread, read by any.
struct IssuerFigures {
  std::atomic<std::uint64_t> fetched{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> changes{0};
  std::atomic<std::uint64_t> keys{0};
  std::atomic<std::int64_t> renewed_ns{0};  ///< monotonic; 0: never
};

/// Keeps the keys of one issuer fresh: fetches ahead of their end, again with growing pauses while
/// that fails, and for a `kid` that is not among them, within a budget. Withdraws keys that could
/// not be renewed for `stale_for`. Lives on the agent's thread.
class Issuer {
 public:
  using Done = std::function<void(ErrandAnswer)>;
  /// A fetch for the sake of an unknown `kid` at most so often.
  static constexpr seconds kAskInterval{5};
  /// A `kid` that was looked for in vain is not looked for again for this long.
  static constexpr seconds kUnknownAge{30};

  Issuer(const AgentGround& ground, std::string name, std::shared_ptr<const KeySource> source);
  Issuer(const Issuer&) = delete;
  Issuer& operator=(const Issuer&) = delete;

  /// Runs until `stop`.
  [[nodiscard]] io::Task<void> run();
  void stop() noexcept;
  /// New rules for the same keys, by a reload.
  void update(std::string name, std::shared_ptr<const KeySource> source);
  /// Keys for `kid`, or the first keys at all: at once when it is known how it ends, else after the
  /// next fetch.
  void ask(const std::string& kid, Done done);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const KeySource& source() const noexcept { return *source_; }
  [[nodiscard]] IssuerFigures& figures() noexcept { return *figures_; }
  [[nodiscard]] std::shared_ptr<IssuerFigures> shared_figures() const noexcept { return figures_; }

 private:
  struct Waiting {
    std::string kid;
    Done done;
  };
  [[nodiscard]] io::Task<bool> renew();
  [[nodiscard]] io::Task<std::optional<upstream::HttpsUrl>> discover(Instant deadline);
  [[nodiscard]] io::Task<Result<upstream::FetchResponse>> get(upstream::HttpsUrl url, bool named,
                                                              std::size_t bytes_max,
                                                              Instant deadline);
  [[nodiscard]] upstream::Origin* origin_for(const upstream::HttpsUrl& url, bool named);
  bool take_keys(const upstream::FetchResponse& response);
  void tell_skipped(const std::vector<std::string>& skipped);
  void note_gone(const KeySet& before, const KeySet& now);
  bool failed(std::string_view what, std::string_view reason);
  [[nodiscard]] Instant stale_until() const noexcept { return fresh_until_ + source_->stale_for; }
  void withdraw_when_stale();
  /// How it ends for those who wait.
  enum class Outcome : std::uint8_t { kFetched, kFailed, kInVain, kTooSoon };
  void settle(Outcome outcome);
  [[nodiscard]] static std::unexpected<Error> without_key(Outcome outcome) noexcept;

  const AgentGround& ground_;
  std::string name_;
  std::shared_ptr<const KeySource> source_;
  std::shared_ptr<IssuerFigures> figures_ = std::make_shared<IssuerFigures>();
  std::map<std::string, std::unique_ptr<upstream::Origin>, std::less<>> origins_;
  std::optional<upstream::HttpsUrl> discovered_;
  Instant discovered_until_{};
  std::string last_url_;              ///< what was asked, without a query
  std::vector<std::string> skipped_;  ///< keys of the last set that cannot be used, and why
  Instant next_{};                    ///< when the next fetch is due
  Instant fresh_until_{};  ///< of the keys in force; `stale_for` later they are withdrawn
  unsigned failures_ = 0;  ///< in a row
  bool fetching_ = false;
  bool stopping_ = false;
  bool asked_ = false;      ///< the next fetch is due now, for the sake of an unknown `kid`
  bool by_asking_ = false;  ///< the fetch in progress, or due now, is for such a reason
  io::Signal wake_;
  std::vector<Waiting> waiting_;
};

}  // namespace merlon::identity
