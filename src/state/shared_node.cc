#include "state/shared_node.h"

#include <fmt/format.h>

#include <algorithm>

namespace merlon::state {

using telemetry::num;
using telemetry::str;

namespace {

constexpr std::chrono::minutes kToldAgain{1};
constexpr std::size_t kNameShown = 128;
constexpr std::size_t kTextShown = 256;

}  // namespace

// The key of a fresh hash is from the kernel: so is what it makes of an empty text.
SharedNode::SharedNode() : name_(fmt::format("{:016x}", KeyedHash()(""))) {}

void SharedNode::note_down(const Endpoint& server, const Error& why, Instant now,
                           telemetry::EventLog& events) {
  const std::lock_guard lock(mutex_);
  Down& down = down_[server];
  if (down.workers++ != 0) return;
  down.since = now;
  down_count_.store(down_.size());
  outages_.fetch_add(1);
  events.error("shared_state_down", {str("server", server.to_string()), str("reason", why.what),
                                     str("rule", rule_name(why.code))});
}

void SharedNode::note_up(const Endpoint& server, Instant now, telemetry::EventLog& events) {
  const std::lock_guard lock(mutex_);
  const auto found = down_.find(server);
  if (found == down_.end() || --found->second.workers != 0) return;
  const auto lasted = std::chrono::duration_cast<milliseconds>(now - found->second.since);
  down_.erase(found);
  down_count_.store(down_.size());
  recoveries_.fetch_add(1);
  events.info(
      "shared_state_up",
      {str("server", server.to_string()),
       num("after_ms", static_cast<std::uint64_t>(std::max<std::int64_t>(lasted.count(), 0)))});
}

void SharedNode::note_unresolved(const Endpoint& told_by, std::string_view name, Instant now,
                                 telemetry::EventLog& events) {
  const std::lock_guard lock(mutex_);
  if (unresolved_told_.has_value() && now - *unresolved_told_ < kToldAgain) return;
  unresolved_told_ = now;
  events.error("shared_state_host_name",
               {str("message", "the cluster announces a node by a name without its address"),
                str("server", told_by.to_string()), str("name", name.substr(0, kNameShown))});
}

void SharedNode::note_error(const Endpoint& server, std::string_view text, Instant now,
                            telemetry::EventLog& events) {
  const std::lock_guard lock(mutex_);
  if (error_told_.has_value() && now - *error_told_ < kToldAgain) return;
  error_told_ = now;
  events.error("shared_state_error",
               {str("server", server.to_string()), str("text", text.substr(0, kTextShown))});
}

void SharedNode::note_gone(const Endpoint& server, telemetry::EventLog& events) {
  const std::lock_guard lock(mutex_);
  const auto found = down_.find(server);
  if (found == down_.end() || --found->second.workers != 0) return;
  down_.erase(found);
  down_count_.store(down_.size());
  events.info("shared_state_let_go", {str("server", server.to_string())});
}

}  // namespace merlon::state
