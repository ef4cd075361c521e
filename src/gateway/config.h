#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/ip.h"
#include "base/time.h"
#include "config/schema.h"
#include "gateway/plan.h"
#include "gateway/route_config.h"
#include "gateway/upstream_config.h"
#include "identity/provider_config.h"
#include "state/shared_config.h"
#include "tls/tls_config.h"

/// Merlon's language: what a configuration file may say, as structs with their schemas. Reading
/// fills them and reports what is wrong with a value by itself; compile.h judges the whole.
namespace merlon::gateway {

enum class Served : std::uint8_t { kApi, kHealth, kMetrics };

struct ListenerConfig {
  std::string name;
  Located<Endpoint> address;
  std::optional<Located<std::uint16_t>> redirect_from;
  Located<bool> proxy_protocol;
  std::vector<Located<Cidr>> allow_from;
  Located<std::vector<Served>> serve{.value = {Served::kApi}, .at = {}};
  std::optional<tls::ListenerTls> tls;
  Mark at;

  [[nodiscard]] bool serves(Served what) const noexcept;
};

struct LimitsConfig {
  std::optional<Located<std::uint32_t>> workers;  ///< absent: one per core
  Located<std::uint32_t> connections{.value = 20'000, .at = {}};
  Located<std::uint32_t> connections_per_client{.value = 256, .at = {}};
  Located<std::uint32_t> requests_in_flight{.value = 10'000, .at = {}};
  Located<std::uint64_t> memory_bytes{.value = 2ULL << 30U, .at = {}};
};

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kDebug };

struct LogConfig {
  /// "-" is standard output, "off" none (which takes a waiver), else a file.
  Located<config::FilePath> access{.value = {.written = "-", .path = "-"}, .at = {}};
  /// "-" is standard error.
  Located<config::FilePath> process{.value = {.written = "-", .path = "-"}, .at = {}};
  LogLevel level = LogLevel::kInfo;
};

struct AdminConfig {
  std::optional<Located<config::FilePath>> socket;
  std::optional<Located<Endpoint>> address;
};

/// The whole file.
struct Config {
  std::uint32_t version = 1;
  std::vector<ListenerConfig> listeners;
  std::vector<Located<Cidr>> trusted_proxies;
  LimitsConfig limits;
  Timeouts timeouts;
  std::map<std::string, identity::ProviderConfig, std::less<>> identity;
  std::map<std::string, UpstreamConfig, std::less<>> upstreams;
  std::vector<RouteConfig> routes;
  std::optional<state::SharedStateConfig> shared_state;
  AdminConfig admin;
  LogConfig log;
};

/// The schema of the whole file: reading, `merlon schema`, the reference and `merlon show` come
/// from it.
[[nodiscard]] const config::Object<Config>& config_schema();
/// Of one item under `listeners`.
[[nodiscard]] const config::Object<ListenerConfig>& listener_schema();

}  // namespace merlon::gateway
