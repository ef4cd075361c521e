#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/error.h"
#include "base/time.h"
#include "http/message.h"
#include "identity/errand.h"
#include "identity/identity.h"
#include "identity/thread_state.h"
#include "policy/reading.h"
#include "policy/response_fields.h"
#include "state/quota_counts.h"
#include "state/shared_limits.h"
#include "state/tables.h"

/// The judges of a request's way (docs/architecture.md), steps 5 to 11. A route holds a flat array
/// of them, merged and ordered when the configuration is compiled.
namespace merlon::policy {

/// Where on the way a policy stands. The order is fixed: the earlier and the cheaper, the sooner.
enum class Step : std::uint8_t {
  kClientLimit = 5,    ///< rate limit by client address or route, before any cryptography
  kCors = 6,           ///< preflights are answered, foreign origins end
  kAuthenticate = 7,   ///< who is asking
  kAuthorize = 8,      ///< may they
  kIdentityLimit = 9,  ///< rate limit and quota by identity, concurrency
  kValidate = 10,      ///< content type, size, JSON, schema
};

/// Why a request goes no further: the answer, and for the log the step, the rule and the line.
/// Fields of the answer (Allow, Retry-After …) go to the request's ResponseFields.
struct Refusal {
  unsigned status = 0;
  Error error;
  std::string_view step;       ///< "framing", "route", "method", "rate_limit" …; static
  const Mark* line = nullptr;  ///< what of the configuration decided; null when nothing did
  /// Of a limit, the name of the class that applied; empty: none. Lives as long as the plan.
  std::string_view limit_class{};
};

/// An exception to a limit that holds for a request.
struct AppliedClass {
  std::string_view name;
  const Mark* line = nullptr;
};

/// What a policy says of a request.
struct Decision {
  enum class Kind : std::uint8_t {
    kNext,       ///< nothing against it
    kRefuse,     ///< `refusal` is the answer
    kAnswer,     ///< done: an empty response with `refusal.status` (a preflight's 204)
    kDelay,      ///< goes on after `delay`
    kAsk,        ///< to be judged again by the same once Context::errand is done
    kAskShared,  ///< to be judged again by the same once Context::answer is there
  };
  Kind kind = Kind::kNext;
  milliseconds delay{0};
  Refusal refusal;

  [[nodiscard]] static Decision next() noexcept { return {}; }
  [[nodiscard]] static Decision refuse(Refusal refusal) noexcept {
    return {.kind = Kind::kRefuse, .delay = {}, .refusal = refusal};
  }
  [[nodiscard]] static Decision answer(unsigned status) noexcept {
    return {.kind = Kind::kAnswer,
            .delay = {},
            .refusal = {.status = status, .error = {}, .step = {}, .line = nullptr}};
  }
  /// With `Context::question` set; the answer goes to `Context::answer`.
  [[nodiscard]] static Decision ask_shared() noexcept {
    return {.kind = Kind::kAskShared, .delay = {}, .refusal = {}};
  }
  [[nodiscard]] static Decision ask() noexcept {
    return {.kind = Kind::kAsk, .delay = {}, .refusal = {}};
  }
  [[nodiscard]] static Decision wait(milliseconds delay) noexcept {
    return {.kind = Kind::kDelay, .delay = delay, .refusal = {}};
  }
};

/// What waivers let through: for the log and the metrics. Of `policy-observed` with the refusal.
/// One per request.
class Observations {
 public:
  static constexpr std::size_t kCapacity = 8;  ///< one for each policy that can be observed
  struct Entry {
    Refusal refusal;
    std::size_t waiver = 0;  ///< its index in the configuration
  };

  /// The first refusal of a policy: there it would have ended the request.
  void add(const Refusal& refusal, std::size_t waiver) noexcept {
    const bool known = std::ranges::find(all(), waiver, &Entry::waiver) != all().end();
    if (!known && count_ < kCapacity) entries_[count_++] = {.refusal = refusal, .waiver = waiver};
  }
  [[nodiscard]] std::span<const Entry> all() const noexcept { return {entries_.data(), count_}; }
  /// A waiver of another kind was needed. Once for a request, however often it was.
  void used(std::size_t waiver) noexcept {
    const auto known = std::ranges::find(waivers(), waiver);
    if (known == waivers().end() && used_count_ < kUsedMax) used_[used_count_++] = waiver;
  }
  [[nodiscard]] std::span<const std::size_t> waivers() const noexcept {
    return {used_.data(), used_count_};
  }
  void clear() noexcept { count_ = used_count_ = 0; }

 private:
  static constexpr std::size_t kUsedMax = 4;  ///< one of CORS, one of limits that fail open
  std::size_t count_ = 0;
  std::size_t used_count_ = 0;
  std::array<std::size_t, kUsedMax> used_;
  std::array<Entry, kCapacity> entries_;
};

/// What a judge asks of the state that nodes share.
struct SharedQuestion {
  const state::SharedRule* rule = nullptr;
  state::LimitedParty party;
};

/// A request before its judges. Everything outlives the judgement.
struct Context {
  const http::RequestHead& head;
  const Reading& reading;
  const ConnectionFacts& connection;
  /// A true preflight (Fetch §4.8): the requested method has been checked in place of OPTIONS.
  bool preflight = false;
  Instant now{};
  WallTime wall{};
  ResponseFields& fields;
  state::Tables& tables;  ///< what requests share
  state::Holds& holds;    ///< places that this request takes, given back when it is over
  Observations& observations;
  /// Somebody has shown who they are, if not by name: they may be told what exactly is wrong.
  bool authenticated = false;
  /// To ask of limits that nodes share, the worker's own; null where there is nobody to ask.
  state::SharedLimits* shared = nullptr;
  SharedQuestion question{};                    ///< of a judge that said kAskShared
  std::optional<state::SharedAnswer> answer{};  ///< to it
  /// Counts quotas where there is nobody to ask; null: as rates, which is for the first request
  /// the same.
  state::QuotaCounts* quotas = nullptr;
  /// For finding out who asks; the worker's own.
  identity::ThreadState* identities = nullptr;
  /// Who asks, from step 7 on; null on public routes.
  std::shared_ptr<const identity::Identity> identity{};
  /// Somebody can do errands; otherwise what is not known here is refused at once.
  bool may_ask = false;
  /// What a policy asks for; done when it judges again. One per request.
  std::shared_ptr<identity::Errand> errand{};
};

class ContentRules;

/// One judge. Immutable after compile and shared by all workers; allocates nothing when it judges.
class Policy {
 public:
  Policy() = default;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;
  virtual ~Policy() = default;

  /// The key of the route that it comes from: "cors"; static.
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual Step step() const noexcept = 0;
  /// The line of configuration that it stands for.
  [[nodiscard]] virtual const Mark& at() const noexcept = 0;
  /// What it has to judge of the content of bodies; null: nothing.
  [[nodiscard]] virtual const ContentRules* content() const noexcept { return nullptr; }
  /// The waiver of `policy-observed` that lets through what it refuses, by index.
  [[nodiscard]] virtual std::optional<std::size_t> observed_by() const noexcept { return {}; }
  /// The classes of its limits that the request is of, for `explain`.
  [[nodiscard]] virtual std::vector<AppliedClass> classes_of(const Context& /*unused*/) const {
    return {};
  }
  /// Any worker, at the same time.
  [[nodiscard]] virtual Decision check(Context& context) const noexcept = 0;
};

}  // namespace merlon::policy
