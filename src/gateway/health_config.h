#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/schema.h"
#include "upstream/health.h"

/// The keys under `health:` of an upstream.
namespace merlon::gateway {

struct HealthConfig {
  std::optional<std::string> path;  ///< with its query
  bool grpc = false;
  std::optional<config::Located<std::string>> service;
  milliseconds interval{5'000};
  config::Located<milliseconds> timeout{.value = milliseconds{1'000}, .at = {}};
  std::uint32_t unhealthy_after = 3;
  std::uint32_t healthy_after = 2;
  Mark at;
};

[[nodiscard]] const config::Object<HealthConfig>& health_schema();

/// `terms` tells apart upstreams that are reached on different terms; see HealthCheck::identity.
[[nodiscard]] upstream::HealthCheck compile_health(const HealthConfig& config,
                                                   const std::string& terms);

/// What is asked, for people: "GET /healthz".
[[nodiscard]] std::string describe(const upstream::HealthCheck& check);

}  // namespace merlon::gateway
