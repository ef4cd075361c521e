#include <fmt/format.h>

#include <algorithm>

#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/digest.h"

/// `shared_state`: where Redis is, who we are to it, and that something uses it.
namespace merlon::gateway {
namespace {

using config::Reader;
using config::shown;

constexpr std::size_t kPasswordBytesMax = 4096;
constexpr std::uint32_t kForbiddenModes = 0007;

bool is_used(const Config& config) {
  return std::ranges::any_of(config.routes, [](const RouteConfig& route) {
    if (!policy::setting<policy::Quotas>(route).empty()) return true;
    return std::ranges::any_of(policy::setting<policy::RateLimits>(route),
                               [](const auto& limit) { return *limit.shared; });
  });
}

/// The first line of the file. Nothing, after an error, when it cannot be had.
std::optional<std::string> read_password(const Located<config::FilePath>& file,
                                         CompileContext& context) {
  const auto status = context.broker.status(file->path);
  if (status && (status->mode & kForbiddenModes) != 0) {
    refuse_always(
        context, "key-permissions", file.at,
        fmt::format("others can read the password: the mode of the file is {:04o}", status->mode));
    return std::nullopt;
  }
  auto text = context.broker.read_file(file->path, kPasswordBytesMax);
  if (!text) {
    context.reader.error(file.at,
                         fmt::format("cannot read {}: {}", shown(file->path), text.error().text()));
    return std::nullopt;
  }
  text->resize(std::min(text->find('\n'), text->size()));
  if (text->ends_with('\r')) text->pop_back();
  if (text->empty()) {
    context.reader.error(file.at, "the first line of the file is empty");
    return std::nullopt;
  }
  return std::move(*text);
}

void judge_exposure(const state::SharedStateConfig& config, CompileContext& context) {
  Reader& reader = context.reader;
  {
    const Reader::Step redis(reader, "redis");
    const auto endpoints = config.redis.endpoints();
    const auto far = std::ranges::find_if(
        endpoints, [](const auto& endpoint) { return !endpoint->address.is_loopback(); });
    if (far != endpoints.end() && !config.redis.tls.has_value()) {
      static_cast<void>(reader.require_waived(
          "upstream-cleartext", far->at,
          fmt::format("Redis is reached without TLS at {}, which is not loopback",
                      (*far)->to_string())));
    }
    if (far != endpoints.end() && !config.redis.password_file.has_value()) {
      static_cast<void>(reader.require_waived(
          "redis-unauthenticated", far->at,
          fmt::format("Redis at {} asks nobody for a password", (*far)->to_string())));
    }
  }
  if (*config.on_failure == state::OnFailure::kOpen) {
    const Reader::Step step(reader, "on_failure");
    static_cast<void>(
        reader.require_waived("limit-fail-open", config.on_failure.at,
                              "while Redis does not answer, shared limits let everything through"));
  }
}

/// False when its files are of no use, which was reported.
bool compile_redis_tls(const tls::UpstreamTls& from, state::redis::Settings& redis, Digest& digest,
                       CompileContext& context) {
  redis.tls = tls::ClientContext::load(from, redis.endpoints.front().address.to_string(), false, {},
                                       context.broker, context.now, context.reader.diagnostics());
  if (redis.tls == nullptr) return false;
  for (const auto* file : {&from.ca, &from.cert, &from.key}) {
    const auto text = file->has_value() ? context.broker.read_file((*file)->value.path, 1 << 22)
                                        : io::OsResult<std::string>();
    digest.add(text ? *text : "");
  }
  digest.add(from.server_name.has_value() ? **from.server_name : "");
  return true;
}

}  // namespace

std::shared_ptr<const state::SharedSettings> compile_shared_state(const Config& config,
                                                                  CompileContext& context) {
  if (!config.shared_state.has_value()) return nullptr;
  const state::SharedStateConfig& from = *config.shared_state;
  const Reader::Step step(context.reader, "shared_state");
  judge_exposure(from, context);
  const bool all_read = config.routes.size() == context.root.find("routes")->items().size();
  if (all_read && !is_used(config)) {
    context.reader.error(from.at, "no limit is `shared` and there is no quota: nothing uses it",
                         "remove it");
  }
  auto redis = std::make_shared<state::redis::Settings>();
  for (const auto& endpoint : from.redis.endpoints()) redis->endpoints.push_back(*endpoint);
  if (redis->endpoints.empty()) return nullptr;
  redis->topology = state::redis::Topology::kSingle;
  if (!from.redis.sentinels.empty()) redis->topology = state::redis::Topology::kSentinel;
  if (!from.redis.cluster.empty()) redis->topology = state::redis::Topology::kCluster;
  if (from.redis.master.has_value()) redis->master = **from.redis.master;
  if (from.redis.username.has_value()) redis->username = **from.redis.username;
  redis->timeout = from.redis.timeout;
  Digest digest;
  if (from.redis.password_file.has_value()) {
    auto password = read_password(*from.redis.password_file, context);
    if (!password) return nullptr;
    digest.add(*password);
    redis->password = Secret(std::move(*password));
  }
  if (from.redis.tls.has_value() && !compile_redis_tls(*from.redis.tls, *redis, digest, context))
    return nullptr;
  for (const Endpoint& endpoint : redis->endpoints) digest.add(endpoint.to_string());
  digest.add(redis->master).add(redis->username);
  digest.add(fmt::format("{}/{}/{}/{}", static_cast<int>(redis->topology), from.nodes,
                         redis->timeout.count(), redis->tls != nullptr));
  auto settings = std::make_shared<state::SharedSettings>();
  settings->nodes = from.nodes;
  settings->identity = digest.hex();
  settings->redis = std::move(redis);
  return settings;
}

}  // namespace merlon::gateway
