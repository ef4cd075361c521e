#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "gateway/health_config.h"
#include "gateway/plan.h"
#include "tls/tls_config.h"

/// The keys under `upstreams:`.
namespace merlon::gateway {

template <class T>
using Located = config::Located<T>;

struct EndpointConfig {
  Located<Endpoint> address;
  std::uint32_t weight = 1;
};

struct UpstreamLimitsConfig {
  std::uint32_t connections = 512;
  std::uint32_t pending = 256;
};

struct UpstreamTimeoutsConfig {
  milliseconds connect{2'000};
  milliseconds response{15'000};
  milliseconds idle{60'000};
};

struct UpstreamConfig {
  std::vector<EndpointConfig> endpoints;
  Protocol protocol = Protocol::kHttp1;
  std::optional<std::string> host;  ///< absent: the client's, as authorised
  Located<Balance> balance{.value = Balance::kRoundRobin, .at = {}};
  UpstreamLimitsConfig limits;
  UpstreamTimeoutsConfig timeouts;
  std::optional<tls::UpstreamTls> tls;
  std::optional<HealthConfig> health;
  Mark at;
};

[[nodiscard]] const config::Object<UpstreamConfig>& upstream_schema();

}  // namespace merlon::gateway
