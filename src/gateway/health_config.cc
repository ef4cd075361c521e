#include "gateway/health_config.h"

#include <fmt/format.h>

#include "config/shown.h"
#include "gateway/digest.h"
#include "http/path.h"

namespace merlon::gateway {
namespace {

using config::Object;
using config::Type;

constexpr std::size_t kPathBytesMax = 1024;
constexpr std::size_t kServiceBytesMax = 255;
constexpr std::uint32_t kInARowMax = 100;

/// Why a text is no path to ask for; "" when it is one. It goes out as it is written.
std::string problem_of_path(std::string_view text) {
  if (text.size() > kPathBytesMax) return "it is too long";
  const std::size_t question = std::min(text.find('?'), text.size());
  const std::string_view path = text.substr(0, question);
  std::string scratch(path.size(), '\0');
  const auto canonical = http::canonical_path(path, scratch);
  if (!canonical) return canonical.error().what;
  if (canonical->text != path) return fmt::format("write it as {}", config::shown(canonical->text));
  if (question == text.size()) return {};
  const Result<void> query = http::check_query(text.substr(question + 1));
  return query ? "" : query.error().what;
}

Type<std::string> path_to_ask() {
  const auto parse = [](std::string_view text) -> std::expected<std::string, std::string> {
    if (std::string problem = problem_of_path(text); !problem.empty())
      return std::unexpected(std::move(problem));
    return std::string(text);
  };
  return config::custom<std::string>(
      {.name = "a path, with a query if need be",
       .example = "/healthz",
       .pattern = "^/",
       .parse = parse,
       .format = [](const std::string& v) { return config::detail::yaml_scalar(v); }});
}

Type<bool> only_true() {
  return config::where<bool>(config::boolean(), [](const bool& on) {
    return std::string(on ? "" : "it is off without this key: leave it out");
  });
}

void check_between(const HealthConfig& health, config::Reader& reader) {
  if (health.path.has_value() == health.grpc)
    reader.error(
        health.at,
        health.grpc
            ? "`path` is checked over plain HTTP, and `grpc` over gRPC: give only one of them"
            : "it does not say how to check the endpoints",
        "write `path: /healthz`, or `grpc: true` for the health protocol of gRPC");
  if (health.service.has_value() && !health.grpc)
    reader.error(health.service->at,
                 "`service` names a gRPC service, and the check does not use gRPC",
                 "write `grpc: true` beside it, or leave it out");
  if (*health.timeout > health.interval)
    reader.error(health.timeout.at.known() ? health.timeout.at : health.at,
                 "a check may take longer than the `interval` between checks",
                 "make `timeout` the shorter of the two");
}

}  // namespace

const Object<HealthConfig>& health_schema() {
  static const auto schema =
      Object<HealthConfig>("health",
                           "Active health checks: each endpoint is probed at intervals, and gets "
                           "no requests while its checks fail. See `docs/health-checks.md`.")
          .field("path", &HealthConfig::path, path_to_ask(),
                 "The path to GET; a 2xx response is a success. Either this or `grpc`.")
          .field(
              "grpc", &HealthConfig::grpc, only_true(),
              "Check with grpc.health.v1.Health/Check; SERVING is a success. Needs `protocol: h2`.")
          .field("service", &HealthConfig::service, config::text(1, kServiceBytesMax),
                 "The gRPC service to ask about.")
          .absent("the server as a whole")
          .field("interval", &HealthConfig::interval,
                 config::duration(milliseconds{100}, std::chrono::minutes{10}),
                 "Time from one check to the next, varied by up to 10 %.")
          .field(
              "timeout", &HealthConfig::timeout,
              config::duration(milliseconds{10}, std::chrono::minutes{1}),
              "Time for one check, from connecting to the end of the response; at most `interval`.")
          .field("unhealthy_after", &HealthConfig::unhealthy_after, config::integer(1, kInARowMax),
                 "Failed checks in a row after which an endpoint gets no more requests. The very "
                 "first check decides alone.")
          .field("healthy_after", &HealthConfig::healthy_after, config::integer(1, kInARowMax),
                 "Successful checks in a row that bring it back.")
          .mark(&HealthConfig::at)
          .check(&check_between);
  return schema;
}

upstream::HealthCheck compile_health(const HealthConfig& config, const std::string& terms) {
  upstream::HealthCheck check;
  check.kind =
      config.grpc ? upstream::HealthCheck::Kind::kGrpc : upstream::HealthCheck::Kind::kHttp;
  const std::string path = config.path.value_or("");
  const std::size_t question = path.find('?');
  check.path = path.substr(0, question);
  check.has_query = question != std::string::npos;
  if (check.has_query) check.query = path.substr(question + 1);
  if (config.service.has_value()) check.service = **config.service;
  check.interval = config.interval;
  check.timeout = *config.timeout;
  check.unhealthy_after = config.unhealthy_after;
  check.healthy_after = config.healthy_after;
  check.at = config.at;
  check.identity = Digest()
                       .add(terms)
                       .add(config.grpc ? "grpc" : "http")
                       .add(config.grpc ? check.service : path)
                       .hex();
  return check;
}

std::string describe(const upstream::HealthCheck& check) {
  if (check.kind == upstream::HealthCheck::Kind::kHttp)
    return fmt::format("GET {}{}{}", check.path, check.has_query ? "?" : "", check.query);
  return fmt::format("grpc.health.v1.Health/Check{}{}", check.service.empty() ? "" : " of ",
                     check.service);
}

}  // namespace merlon::gateway
