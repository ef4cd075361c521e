#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "upstream/health.h"

namespace merlon::tls {
class ClientContext;
}

namespace merlon::upstream {

/// How requests are spread over the endpoints.
enum class Balance : std::uint8_t { kRoundRobin, kLeastRequests };

/// What the servers speak.
enum class Protocol : std::uint8_t { kHttp1, kHttp2 };

/// A group of servers that answer alike, compiled from `upstreams.NAME`. Immutable.
struct Upstream {
  std::string name;
  std::size_t index = 0;  ///< position among the plan's upstreams
  Mark at;
  std::vector<Endpoint> endpoints;          ///< one entry per unit of weight, never empty
  std::shared_ptr<tls::ClientContext> tls;  ///< null: cleartext, or closed
  Protocol protocol = Protocol::kHttp1;
  bool closed = false;  ///< its TLS files are bad: nobody may connect to it
  std::string host;     ///< Host to send; empty: the client's
  Balance balance = Balance::kRoundRobin;
  milliseconds connect_timeout{2'000};
  milliseconds response_timeout{15'000};  ///< until the first byte of the response
  milliseconds idle_timeout{60'000};      ///< of a pooled connection, and between body bytes
  std::uint32_t connections_max = 512;    ///< per worker
  std::uint32_t pending_max = 256;        ///< requests waiting for a connection, per worker
  std::optional<HealthCheck> health;      ///< absent: nobody asks the endpoints how they are
  /// Two upstreams with the same identity share pooled connections over a reload: a digest of
  /// everything that decides whom a connection reaches and how it is secured.
  std::string identity;
};

}  // namespace merlon::upstream
