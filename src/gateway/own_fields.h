#pragma once

#include <array>

#include "http/grpc.h"
#include "http/websocket.h"
#include "telemetry/traceparent.h"

namespace merlon::gateway {

/// Values of the fields that the gateway adds to the upstream's request. Lives until it is sent,
/// and as long as the answer to a handshake is awaited.
struct OwnFields {
  std::array<char, 96> forwarded_for{};
  std::array<char, 512> forwarded{};
  telemetry::TraceparentText traceparent;
  http::GrpcTimeoutText grpc_timeout;
  http::WebSocketKey websocket_key;
  std::array<char, 10> max_forwards{};
};

}  // namespace merlon::gateway
