#pragma once

#include <array>

#include "http/grpc.h"
#include "http/websocket.h"
#include "telemetry/traceparent.h"

namespace merlon::gateway {

/// Values of the fields that the gateway adds to the upstream's request. Lives until it is sent,
/// and as long as the answer to a handshake is awaited. Room for texts is left as it is: clearing
/// it would cost each request more than writing what it needs.
struct OwnFields {
  telemetry::TraceparentText traceparent;
  http::GrpcTimeoutText grpc_timeout;
  http::WebSocketKey websocket_key;
  std::array<char, 10> max_forwards;
  std::array<char, 96> forwarded_for;
  std::array<char, 512> forwarded;
};

}  // namespace merlon::gateway
