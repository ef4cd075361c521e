#include <fmt/format.h>

#include <algorithm>

#include "config/shown.h"
#include "config/waivers.h"
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

/// A nonce is known to the node that gave it out: a client that meets another one each time would
/// be asked again and again.
void judge_nonces(const Config& config, CompileContext& context) {
  for (const auto& [name, provider] : config.identity) {
    if (!provider.dpop.has_value() || !provider.dpop->nonce) continue;
    context.reader.diagnostics().warning(
        provider.dpop->at, "each node gives out nonces of its own, and takes no other node's",
        "send a client to the same node each time, or leave `nonce` out");
  }
}

/// The first line of the file. Nothing, after an error in `out`, when it cannot be had.
std::optional<std::string> read_password(const Located<config::FilePath>& file, io::Broker& broker,
                                         Diagnostics& out) {
  const auto status = broker.status(file->path);
  if (status && (status->mode & kForbiddenModes) != 0) {
    config::refuse_always(
        out, "key-permissions", file.at,
        fmt::format("others can read the password: the mode of the file is {:04o}", status->mode));
    return std::nullopt;
  }
  auto text = broker.read_file(file->path, kPasswordBytesMax);
  if (!text) {
    out.error(file.at, fmt::format("cannot read {}: {}", shown(file->path), text.error().text()));
    return std::nullopt;
  }
  text->resize(std::min(text->find('\n'), text->size()));
  if (text->ends_with('\r')) text->pop_back();
  if (text->empty()) {
    out.error(file.at, "the first line of the file is empty");
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
          fmt::format("Redis at {} is used without a password", (*far)->to_string())));
    }
  }
  if (*config.on_failure == state::OnFailure::kOpen) {
    const Reader::Step step(reader, "on_failure");
    static_cast<void>(
        reader.require_waived("limit-fail-open", config.on_failure.at,
                              "while Redis does not answer, shared limits let everything through"));
  }
}

/// What connections to Redis have in force; null when nothing of it is to be kept.
const state::redis::Settings* in_force(const CompileContext& context) {
  if (context.in_force == nullptr || context.in_force->shared_state == nullptr) return nullptr;
  const state::redis::Settings& redis = *context.in_force->shared_state->redis;
  return redis.closed ? nullptr : &redis;
}

/// False when there is none that can be used, which was reported.
bool compile_password(const Located<config::FilePath>& file, state::redis::Settings& redis,
                      CompileContext& context) {
  Diagnostics findings;
  auto password = read_password(file, context.broker, findings);
  pass_on(findings, false, context);
  if (password.has_value()) {
    redis.password = Secret(std::move(*password));
  } else if (const auto* const before = in_force(context)) {
    redis.password = Secret(std::string(before->password.reveal()));
  }
  return !redis.password.empty();
}

/// False when its files are of no use, which was reported.
bool compile_redis_tls(const tls::UpstreamTls& from, state::redis::Settings& redis, Digest& digest,
                       CompileContext& context) {
  const auto* const before = in_force(context);
  Diagnostics findings;
  redis.tls = tls::ClientContext::load(from, redis.endpoints.front().address.to_string(), false, {},
                                       context.broker, context.now, findings,
                                       before == nullptr ? nullptr : before->tls.get());
  pass_on(findings, redis.tls != nullptr, context);
  for (const auto* file : {&from.ca, &from.cert, &from.key}) {
    const auto text = file->has_value() ? context.broker.read_file((*file)->value.path, 1 << 22)
                                        : io::OsResult<std::string>();
    digest.add(text ? *text : "");
  }
  digest.add(from.server_name.has_value() ? **from.server_name : "");
  return redis.tls != nullptr;
}

/// As whom Redis is spoken to, and how it shows who it is. Files that cannot be used close it where
/// none are in force: in clear, or without a password, nobody is connected to.
void compile_files(const state::RedisConfig& from, state::redis::Settings& redis, Digest& digest,
                   CompileContext& context) {
  const Reader::Step step(context.reader, "redis");
  bool good = true;
  if (from.password_file.has_value()) good = compile_password(*from.password_file, redis, context);
  if (from.tls.has_value()) good &= compile_redis_tls(*from.tls, redis, digest, context);
  redis.closed = !good;
  digest.add(redis.password.reveal()).add(good ? "" : "closed");
}

}  // namespace

std::shared_ptr<const state::SharedSettings> compile_shared_state(const Config& config,
                                                                  const RawNames& names,
                                                                  CompileContext& context) {
  if (!config.shared_state.has_value()) return nullptr;
  const state::SharedStateConfig& from = *config.shared_state;
  const Reader::Step step(context.reader, "shared_state");
  judge_exposure(from, context);
  if (names.all_routes_read && !is_used(config)) {
    context.reader.error(from.at, "no limit is `shared` and there is no quota: nothing uses it",
                         "remove it");
  }
  if (from.nodes > 1) judge_nonces(config, context);
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
  compile_files(from.redis, *redis, digest, context);
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
