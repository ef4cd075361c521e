#include "state/shared_limits.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "state/entry_hash.h"

namespace merlon::state {
namespace {

// Leases beyond are not taken: each request asks. They end within a second.
constexpr std::size_t kHeldMax = 65'536;
// What is given back at a time; tokens beyond are lost, and their clients get no other lease for a
// while.
constexpr std::size_t kReturnsMax = 1'024;
constexpr std::chrono::hours kIdle{1};

void sha256(std::string_view bytes, unsigned char (&out)[EVP_MAX_MD_SIZE]) noexcept {
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), out, &size, EVP_sha256(), nullptr);
}

std::size_t script_of(const SharedRule& rule) noexcept {
  return rule.kind == SharedRule::Kind::kRate ? kRateScript : kQuotaScript;
}

std::string_view unit_of(SharedRule::Kind kind) noexcept {
  switch (kind) {
    case SharedRule::Kind::kHour:
      return "h";
    case SharedRule::Kind::kMonth:
      return "m";
    case SharedRule::Kind::kDay:
    case SharedRule::Kind::kRate:
      break;
  }
  return "d";
}

/// In microseconds, rounded up to a sixteenth: never more than the rate gets in.
std::string interval_text(const Gcra& gcra) {
  const std::int64_t sixteenths = (gcra.interval.count() * 16 + 999) / 1000;
  return fmt::format("{}.{:04}", sixteenths / 16, sixteenths % 16 * 625);
}

/// Of a time that Redis answers: beyond any limit's window it means nothing, and would overflow.
template <class Unit>
nanoseconds time_from(std::int64_t count) noexcept {
  constexpr Unit kMost = std::chrono::hours{24 * 400};
  return std::clamp(Unit{count}, Unit{0}, kMost);
}

}  // namespace

SharedLimits::SharedLimits(io::Loop& loop, io::Broker& broker,
                           std::shared_ptr<const SharedSettings> settings, SharedNode& node,
                           LimitTable& local, telemetry::EventLog& events,
                           telemetry::SharedCounters& counters)
    : loop_(loop),
      settings_(std::move(settings)),
      node_(node),
      local_(local),
      events_(events),
      counters_(counters),
      client_(loop, broker, settings_->redis, limit_scripts(), *this),
      held_changed_(loop),
      returned_(loop) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  sha256(settings_->redis->password.reveal(), digest);
  std::copy_n(digest, key_secret_.size(), key_secret_.begin());
}

void SharedLimits::start() {
  client_.start();
  tasks_.spawn(give_back_in_time());
}

void SharedLimits::close() noexcept {
  if (std::exchange(closed_, true)) return;
  held_changed_.cancel();
  tasks_.spawn(leave());
}

const Endpoint& SharedLimits::known_as(const Endpoint& server) const noexcept {
  const redis::Settings& redis = *settings_->redis;
  return redis.topology == redis::Topology::kSentinel ? redis.endpoints.front() : server;
}

void SharedLimits::on_down(const Endpoint& server, const Error& why) noexcept {
  node_.note_down(known_as(server), why, loop_.now(), events_);
}

void SharedLimits::on_up(const Endpoint& server) noexcept {
  node_.note_up(known_as(server), loop_.now(), events_);
}

void SharedLimits::on_gone(const Endpoint& server) noexcept {
  node_.note_gone(known_as(server), events_);
}

void SharedLimits::on_unresolved(const Endpoint& told_by, std::string_view name) noexcept {
  node_.note_unresolved(told_by, name, loop_.now(), events_);
}

void SharedLimits::on_error(const Endpoint& server, std::string_view text) noexcept {
  node_.note_error(server, text, loop_.now(), events_);
}

std::uint64_t SharedLimits::hash_of(const LimitedParty& party) const noexcept {
  return party.by_name ? entry_hash(node_.hash(), party.scope, party.name)
                       : entry_hash(node_.hash(), party.scope, party.client.client_key());
}

SharedLimits::Key SharedLimits::key_of(const LimitedParty& party) const noexcept {
  // secret, scope, kind, then what tells the party: nothing of it can be taken for another part.
  unsigned char digest[EVP_MAX_MD_SIZE];
  std::array<char, 256> text;
  char* end = std::copy_n(reinterpret_cast<const char*>(key_secret_.data()), key_secret_.size(),
                          text.data());
  std::memcpy(end, &party.scope, sizeof party.scope);
  end += sizeof party.scope;
  *end++ = party.by_name ? 'n' : 'c';
  if (party.by_name) {
    // A name of any length comes in as its own digest.
    unsigned char name[EVP_MAX_MD_SIZE];
    sha256(party.name, name);
    end = std::copy_n(reinterpret_cast<const char*>(name), 32, end);
  } else {
    const IpAddress client = party.client.client_key();
    *end++ = client.is_v6() ? '6' : '4';
    end = std::copy_n(reinterpret_cast<const char*>(client.bytes().data()), client.bytes().size(),
                      end);
  }
  sha256({text.data(), static_cast<std::size_t>(end - text.data())}, digest);
  constexpr std::string_view kPrefix = "merlon:1:";
  constexpr std::string_view kHex = "0123456789abcdef";
  Key key;
  char* at = std::copy(kPrefix.begin(), kPrefix.end(), key.data());
  for (std::size_t i = 0; i < 16; ++i) {
    *at++ = kHex[digest[i] >> 4U];
    *at++ = kHex[digest[i] & 15U];
  }
  return key;
}

std::optional<SharedAnswer> SharedLimits::spend(const SharedRule& rule, const LimitedParty& party,
                                                Instant now) noexcept {
  if (rule.lease <= 1) return std::nullopt;
  const LeaseTable::Spent spent = node_.leases().spend(hash_of(party), now);
  if (!spent.admitted) return std::nullopt;
  counters_.leased.add();
  return SharedAnswer{.admitted = true,
                      .remaining = spent.left,
                      .reset = std::max(node_.window_end(rule.kind) - now, nanoseconds{0})};
}

io::Task<SharedAnswer> SharedLimits::take(const SharedRule& rule, LimitedParty party) {
  const std::uint64_t hash = rule.lease > 1 ? hash_of(party) : 0;
  const Instant sent = loop_.now();
  const bool lease = rule.lease > 1 && held_.size() < kHeldMax && node_.leases().begin(hash, sent);
  const Key key = key_of(party);
  const std::uint64_t generation = lease ? node_.next_generation() : 0;
  counters_.asked.add();
  const std::uint32_t tokens = lease ? rule.lease : 1;
  const Result<Grant> grant = co_await ask(rule, key, tokens, generation, 0, 0);
  if (!grant) {
    counters_.failures.count(grant.error().code);
    if (lease) distrust(rule, hash);
    co_return fall_back(rule, party);
  }
  if (lease) hold(rule, hash, key, *grant, sent);
  SharedAnswer answer = grant->answer;
  // What the node holds of it can be admitted, too.
  if (grant->tokens > 1) answer.remaining += grant->tokens - 1;
  co_return answer;
}

/// An answer did not come, so Redis may have counted a lease of which nobody has the tokens. A rate
/// refills; of a quota they would be gone, with each answer that is late.
void SharedLimits::distrust(const SharedRule& rule, std::uint64_t hash) noexcept {
  if (rule.kind == SharedRule::Kind::kRate) return node_.leases().abandon(hash, loop_.now());
  node_.leases().distrust(hash, loop_.now(), loop_.now() + rule.window());
}

/// What is granted beyond the one token spent at once is in hand until half of its time is over.
void SharedLimits::hold(const SharedRule& rule, std::uint64_t hash, const Key& key,
                        const Grant& grant, Instant sent) {
  Instant ends = sent + kLeaseUsed;
  // A token of one window of a quota is not good in the next.
  if (rule.kind != SharedRule::Kind::kRate) {
    ends = std::min(ends, sent + grant.answer.reset);
    node_.note_window(rule.kind, sent + grant.answer.reset);
  }
  if (grant.tokens < 2 || ends <= loop_.now()) {
    node_.leases().abandon(hash, loop_.now());
    return;
  }
  node_.leases().grant(hash, grant.tokens - 1, ends, grant.answer.remaining);
  held_.push_back(
      {.ends = ends, .hash = hash, .rule = rule, .window_start = grant.window_start, .key = key});
  held_changed_.notify_one();
}

io::Task<Result<SharedLimits::Grant>> SharedLimits::ask(const SharedRule& rule, Key key,
                                                        std::uint32_t tokens,
                                                        std::uint64_t generation,
                                                        std::uint32_t back,
                                                        std::int64_t window_start) {
  const bool rate = rule.kind == SharedRule::Kind::kRate;
  const std::string first = rate ? interval_text(rule.gcra) : fmt::format("{}", rule.quota);
  const std::string second =
      rate ? fmt::format("{}", rule.gcra.burst) : std::string(unit_of(rule.kind));
  const std::string want = fmt::format("{}", tokens);
  const std::string returned = fmt::format("{}", back);
  const std::string last =
      fmt::format("{}", rate ? static_cast<std::int64_t>(generation) : window_start);
  const std::array<std::string_view, 6> of_rate{first, second, want, node_.name(), last, returned};
  const std::array<std::string_view, 5> of_quota{first, second, want, returned, last};
  const std::span<const std::string_view> arguments =
      rate ? std::span<const std::string_view>(of_rate)
           : std::span<const std::string_view>(of_quota);
  const Result<redis::Reply> reply =
      co_await client_.run(script_of(rule), {key.data(), key.size()}, arguments);
  if (!reply) co_return std::unexpected(reply.error());
  std::array<std::int64_t, 4> n{};
  const bool well = reply->integers({n.data(), rate ? std::size_t{3} : std::size_t{4}}) &&
                    n[0] >= 0 && n[0] <= tokens;
  if (!well) co_return fail(code::kStateProtocol, Blame::kUpstream, "Redis answers something else");
  Grant grant{.tokens = static_cast<std::uint32_t>(n[0]), .answer = {}, .window_start = n[3]};
  grant.answer.admitted = grant.tokens > 0;
  const nanoseconds ahead = time_from<microseconds>(n[1]);
  if (rate) {
    grant.answer.remaining = static_cast<std::uint64_t>(
        std::max(rule.gcra.tolerance() - ahead, nanoseconds{0}) / rule.gcra.interval);
    grant.answer.retry_after = time_from<microseconds>(n[2]);
    grant.answer.reset = grant.answer.admitted ? ahead : grant.answer.retry_after;
  } else {
    grant.answer.remaining = static_cast<std::uint64_t>(std::max<std::int64_t>(n[1], 0));
    grant.answer.reset = time_from<milliseconds>(n[2]);
    if (!grant.answer.admitted) grant.answer.retry_after = grant.answer.reset;
  }
  co_return grant;
}

SharedAnswer SharedLimits::fall_back(const SharedRule& rule, const LimitedParty& party) noexcept {
  switch (rule.on_failure) {
    case OnFailure::kLocal:
      break;
    case OnFailure::kClosed:
      counters_.closed.add();
      return {.by = SharedAnswer::By::kNobody};
    case OnFailure::kOpen:
      counters_.open.add();
      return {.by = SharedAnswer::By::kNobody, .admitted = true};
  }
  counters_.local.add();
  const Taken taken = party.by_name
                          ? local_.take(party.scope, party.name, rule.share, loop_.now())
                          : local_.take(party.scope, party.client, rule.share, loop_.now());
  return {.by = SharedAnswer::By::kShare,
          .admitted = taken.admitted,
          .remaining = taken.admitted ? taken.remaining(rule.share) : 0,
          .retry_after = taken.retry_after,
          .reset = taken.admitted ? taken.backlog : taken.retry_after};
}

// ---- Leases that end. ----

io::Task<void> SharedLimits::give_back_in_time() {
  while (!closed_) {
    const Instant next = held_.empty() ? loop_.now() + kIdle : held_.front().ends;
    if (next > loop_.now()) {
      [[maybe_unused]] const Result<void> woken = co_await held_changed_.wait(next);
      continue;
    }
    end_first_lease();
  }
}

void SharedLimits::end_first_lease() {
  const Held held = held_.front();
  held_.pop_front();
  const std::uint32_t tokens = node_.leases().close(held.hash, held.ends);
  if (tokens == 0) return;
  if (returning_ < kReturnsMax) {
    tasks_.spawn(give_back(held, tokens, node_.next_generation()));
  } else {
    distrust(held.rule, held.hash);  // what is not given back is lost
  }
}

/// A node that goes takes nothing along. After a second its leases are over anyway.
io::Task<void> SharedLimits::leave() {
  const Instant end = loop_.now() + kLeaseUsed;
  while ((!held_.empty() || returning_ > 0) && loop_.now() < end) {
    while (!held_.empty() && returning_ < kReturnsMax) end_first_lease();
    if (returning_ == 0) continue;
    [[maybe_unused]] const Result<void> woken = co_await returned_.wait(end);
  }
  client_.close();
}

io::Task<void> SharedLimits::give_back(Held held, std::uint32_t tokens, std::uint64_t generation) {
  ++returning_;
  const Result<Grant> done =
      co_await ask(held.rule, held.key, 0, generation, tokens, held.window_start);
  if (done) {
    counters_.returned.add(tokens);
    node_.leases().returned(held.hash, loop_.now());
  } else {
    distrust(held.rule, held.hash);
  }
  --returning_;
  returned_.notify_one();
}

}  // namespace merlon::state
