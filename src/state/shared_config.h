#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "config/schema.h"
#include "state/shared_rule.h"
#include "tls/tls_config.h"

namespace merlon::state {

/// `shared_state.redis`: one of `address`, `sentinels` with `master`, or `cluster`.
struct RedisConfig {
  std::optional<config::Located<Endpoint>> address;
  std::vector<config::Located<Endpoint>> sentinels;
  std::optional<config::Located<std::string>> master;
  std::vector<config::Located<Endpoint>> cluster;
  std::optional<tls::UpstreamTls> tls;
  std::optional<config::Located<std::string>> username;
  std::optional<config::Located<config::FilePath>> password_file;
  milliseconds timeout{100};
  Mark at;

  /// The addresses, whichever way they are given.
  [[nodiscard]] std::vector<config::Located<Endpoint>> endpoints() const;
};

/// `shared_state`.
struct SharedStateConfig {
  RedisConfig redis;
  bool leased = true;  ///< `mode`
  std::uint32_t nodes = 1;
  config::Located<OnFailure> on_failure{.value = OnFailure::kClosed, .at = {}};
  Mark at;
};

[[nodiscard]] const config::Object<SharedStateConfig>& shared_state_schema();

}  // namespace merlon::state
