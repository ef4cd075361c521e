#include "policy/websocket.h"

#include <algorithm>
#include <memory>

#include "base/ascii.h"
#include "http/websocket.h"
#include "policy/origin.h"
#include "state/entry_hash.h"

namespace merlon::policy {
namespace {

using config::Object;
using http::FieldId;

// Tunnels that nobody uses hold connections on both sides: a day is more than any ping interval.
constexpr std::chrono::hours kIdleMax{24};
constexpr std::uint32_t kTunnelsMax = 10'000;

const Object<WebSocketConfig>& schema() {
  static const auto schema =
      Object<WebSocketConfig>("websocket", "Limits on WebSocket tunnels.")
          .field("idle_timeout", &WebSocketConfig::idle_timeout,
                 config::duration(seconds{1}, kIdleMax),
                 "A tunnel is closed after this time without data in either direction.")
          .field("tunnels_per_client", &WebSocketConfig::tunnels_per_client,
                 config::integer(1, kTunnelsMax),
                 "How many tunnels a client may have open on this route; 429 with Retry-After "
                 "above it.")
          .mark(&WebSocketConfig::at);
  return schema;
}

Decision refuse(unsigned status, std::uint16_t code, const char* what, const Mark& line) noexcept {
  return Decision::refuse({.status = status,
                           .error = {.code = code, .blame = Blame::kClient, .what = what},
                           .step = WebSocket::kKey,
                           .line = &line});
}

/// The handshake itself and where it comes from.
class HandshakeJudge final : public Policy {
 public:
  explicit HandshakeJudge(const Mark& at) : at_(at) {}

  [[nodiscard]] std::string_view name() const noexcept override { return WebSocket::kKey; }
  [[nodiscard]] Step step() const noexcept override { return Step::kCors; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    const http::RequestHead& head = context.head;
    if (!asks_for_websocket(head)) return Decision::next();
    if (head.fields.value(FieldId::kSecWebSocketVersion) != "13") {
      static_cast<void>(
          context.fields.add("Sec-WebSocket-Version", "13", FieldId::kSecWebSocketVersion));
      return refuse(426, code::kWebSocketVersion, "the version of WebSocket is not 13", at_);
    }
    if (!head.wants_websocket || !http::is_websocket_offer(head.fields))
      return refuse(400, code::kWebSocketHandshake, "the handshake is malformed", at_);
    return judge_origin(context);
  }

 private:
  [[nodiscard]] Decision judge_origin(Context& context) const noexcept {
    const http::Field* origin = context.head.fields.find(FieldId::kOrigin);
    if (origin == nullptr) return Decision::next();
    // Set by `cors`, which has let this very origin in.
    if (context.fields.contains(FieldId::kAccessControlAllowOrigin)) return Decision::next();
    if (is_own_origin(origin->value, context)) return Decision::next();
    return refuse(403, code::kWebSocketOrigin, "the origin is not listed", at_);
  }

  Mark at_;
};

/// How many tunnels one client has.
class TunnelsJudge final : public Policy {
 public:
  TunnelsJudge(const WebSocketConfig& config, const Mark& at, std::string_view place)
      : at_(config.tunnels_per_client.is_default() ? at : config.tunnels_per_client.at),
        limit_(*config.tunnels_per_client),
        scope_(state::scope_of(place)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return WebSocket::kKey; }
  [[nodiscard]] Step step() const noexcept override { return Step::kIdentityLimit; }
  [[nodiscard]] const Mark& at() const noexcept override { return at_; }

  [[nodiscard]] Decision check(Context& context) const noexcept override {
    if (!context.head.wants_websocket) return Decision::next();
    std::optional<state::Hold> hold =
        context.tables.in_progress.enter(scope_, context.reading.client.address, limit_);
    if (hold && context.holds.add(std::move(*hold))) return Decision::next();
    static_cast<void>(context.fields.add("Retry-After", "1", FieldId::kRetryAfter));
    return refuse(429, code::kWebSocketTunnels, "too many tunnels of one client", at_);
  }

 private:
  Mark at_;
  std::uint32_t limit_;
  std::uint64_t scope_;
};

}  // namespace

bool asks_for_websocket(const http::RequestHead& head) noexcept {
  return head.only_websocket || ascii::iequals(head.upgrade, "websocket");
}

config::Type<WebSocketConfig> WebSocket::type() {
  const auto only_true = config::where<bool>(config::boolean(), [](bool on) {
    return std::string(on ? "" : "WebSocket is off without this key: leave it out");
  });
  return config::scalar_or<WebSocketConfig>(
      config::converted<WebSocketConfig, Located<bool>>(
          config::located(only_true),
          [](const Located<bool>& on) { return WebSocketConfig{.at = on.at}; },
          [](const WebSocketConfig& all) { return Located<bool>{.value = true, .at = all.at}; }),
      config::object(schema()), [](const WebSocketConfig& all) {
        return all.idle_timeout.is_default() && all.tunnels_per_client.is_default();
      });
}

void WebSocket::compile(const Member& config, CompileInput& input, Judges& out) {
  if (!config.has_value()) return;
  if (std::ranges::find(input.methods, "GET") == input.methods.end()) {
    input.reader.error(config->at, "no handshake reaches this route: it does not list GET",
                       "add GET to `methods`");
  }
  out.push_back(std::make_unique<HandshakeJudge>(config->at));
  out.push_back(std::make_unique<TunnelsJudge>(*config, config->at, input.reader.place()));
}

}  // namespace merlon::policy
