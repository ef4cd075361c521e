#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "config/schema.h"
#include "policy/compile.h"

namespace merlon::policy {

/// `websocket` of a route: `true`, or a block with bounds.
struct WebSocketConfig {
  Located<milliseconds> idle_timeout{.value = milliseconds{300'000}, .at = {}};
  Located<std::uint32_t> tunnels_per_client{.value = 64, .at = {}};
  Mark at;
};

/// WebSocket (RFC 6455, and RFC 8441 over HTTP/2). Judges handshakes: their form and, since
/// browsers hold WebSocket to no same-origin rule, their origin, at step 6; then how many tunnels a
/// client has open, at step 9. Other requests of the route are none of its business.
///
/// An origin is let in when `cors` has admitted it, or it is the route's own; `null` never is. A
/// client that is no browser sends none.
struct WebSocket {
  using Config = WebSocketConfig;
  using Member = std::optional<WebSocketConfig>;
  static constexpr std::string_view kKey = "websocket";
  static constexpr std::string_view kDoc =
      "Whether WebSocket handshakes open tunnels to the upstream: `true`, or a block.";
  static constexpr std::string_view kExample = "{ idle_timeout: 2min, tunnels_per_client: 16 }";
  static constexpr Step kStep = Step::kCors;
  static constexpr bool kObservable = false;

  [[nodiscard]] static config::Type<WebSocketConfig> type();
  static void compile(const Member& config, CompileInput& input, Judges& out);
};

/// True when the request asks for WebSocket, well or badly.
[[nodiscard]] bool asks_for_websocket(const http::RequestHead& head) noexcept;

}  // namespace merlon::policy
