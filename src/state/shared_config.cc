#include "state/shared_config.h"

#include <algorithm>

namespace merlon::state {
namespace {

using config::Located;
using config::Object;
using config::Reader;

constexpr std::size_t kServersMax = 64;
constexpr std::uint64_t kNodesMax = 1'000;

config::Type<Located<Endpoint>> server() {
  return config::located(config::where<Endpoint>(config::endpoint(), [](const Endpoint& e) {
    return e.address.is_unspecified() ? "no server has this address" : "";
  }));
}

config::Type<std::vector<Located<Endpoint>>> servers() {
  return config::list_of(server(), 1, kServersMax);
}

void check_redis(const RedisConfig& redis, Reader& reader) {
  const int ways = (redis.address.has_value() ? 1 : 0) + (redis.sentinels.empty() ? 0 : 1) +
                   (redis.cluster.empty() ? 0 : 1);
  if (ways != 1) {
    reader.error(redis.at,
                 ways == 0 ? "it does not say where Redis is"
                           : "only one of `address`, `sentinels` and `cluster` may be given",
                 "name one of `address`, `sentinels` or `cluster`");
  }
  if (redis.sentinels.empty() == redis.master.has_value()) {
    reader.error(redis.master.has_value() ? redis.master->at : redis.at,
                 redis.master.has_value() ? "`master` needs `sentinels`"
                                          : "`sentinels` need the key `master`");
  }
  if (redis.username.has_value() && !redis.password_file.has_value())
    reader.error(redis.username->at, "`username` without `password_file`");
  const std::vector<Located<Endpoint>> all = redis.endpoints();
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (*all[i] == *all[j]) reader.error(all[i].at, "this server is given twice");
    }
  }
  if (redis.tls.has_value() && !redis.address.has_value() && !redis.tls->server_name.has_value()) {
    reader.error(redis.tls->at,
                 "the servers have several addresses: give the name that their certificates carry",
                 "such as `server_name: redis.internal`");
  }
}

const Object<RedisConfig>& redis_schema() {
  static const auto schema =
      Object<RedisConfig>("redis", "How Redis (7 or newer) is reached.")
          .field("address", &RedisConfig::address,
                 config::where<Endpoint>(config::endpoint(),
                                         [](const Endpoint& e) {
                                           return e.address.is_unspecified()
                                                      ? "no server has this address"
                                                      : "";
                                         }),
                 "A single server.")
          .field("sentinels", &RedisConfig::sentinels, servers(),
                 "Sentinels, which tell the address of the master.")
          .field("master", &RedisConfig::master, config::name(),
                 "The name under which sentinels know the master.")
          .field("cluster", &RedisConfig::cluster, servers(),
                 "Some nodes of a cluster; the others are found through them.")
          .field("tls", &RedisConfig::tls, config::object(tls::upstream_tls_schema()),
                 "TLS; may be omitted only for loopback addresses, or with a waiver of "
                 "`upstream-cleartext`.")
          .field("username", &RedisConfig::username, config::text(1, 256), "An ACL user.")
          .absent("default")
          .field("password_file", &RedisConfig::password_file, config::secret_file(),
                 "A file with the password on its first line; may be omitted only for loopback "
                 "addresses, or with a waiver of `redis-unauthenticated`.")
          .field("timeout", &RedisConfig::timeout,
                 config::duration(milliseconds{5}, milliseconds{2'000}),
                 "How long a request waits for Redis before `on_failure` decides.")
          .mark(&RedisConfig::at)
          .check(check_redis);
  return schema;
}

}  // namespace

std::vector<Located<Endpoint>> RedisConfig::endpoints() const {
  std::vector<Located<Endpoint>> all = sentinels.empty() ? cluster : sentinels;
  if (address.has_value()) all.insert(all.begin(), *address);
  return all;
}

const Object<SharedStateConfig>& shared_state_schema() {
  static const auto schema =
      Object<SharedStateConfig>("shared state",
                                "Where nodes keep the common counts of quotas and of limits with "
                                "`shared: true`. docs/shared-limits.md says what they guarantee.")
          .required("redis", &SharedStateConfig::redis, config::object(redis_schema()),
                    "The Redis that keeps the counts.")
          .field("mode", &SharedStateConfig::leased,
                 config::words<bool>({{"leased", true}, {"exact", false}}),
                 "`leased`: a node reserves requests of a limit in advance, and returns unused "
                 "ones within a second. `exact`: every request asks Redis.")
          .required("nodes", &SharedStateConfig::nodes, config::integer(1, kNodesMax),
                    "Maximum number of nodes that share the limits. Leases, and the limits that "
                    "each node enforces alone, are divided by it.")
          .field("on_failure", &SharedStateConfig::on_failure,
                 config::words<OnFailure>({{"local", OnFailure::kLocal},
                                           {"closed", OnFailure::kClosed},
                                           {"open", OnFailure::kOpen}}),
                 "What happens while Redis does not answer. `closed`: 503. `local`: each node "
                 "enforces the limit divided by `nodes`. `open`: everything is let through, which "
                 "needs a waiver of `limit-fail-open`.")
          .mark(&SharedStateConfig::at);
  return schema;
}

}  // namespace merlon::state
