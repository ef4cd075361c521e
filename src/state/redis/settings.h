#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/secret.h"
#include "base/time.h"

namespace merlon::tls {
class ClientContext;
}  // namespace merlon::tls

namespace merlon::state::redis {

/// How the servers stand together.
enum class Topology : std::uint8_t { kSingle, kSentinel, kCluster };

/// Where Redis is and how it is spoken to. Immutable; shared by all workers.
struct Settings {
  Topology topology = Topology::kSingle;
  std::vector<Endpoint> endpoints;          ///< the server, the sentinels, or nodes of the cluster
  std::string master;                       ///< its name, for sentinels
  std::shared_ptr<tls::ClientContext> tls;  ///< null: cleartext
  std::string username;                     ///< of an ACL user; empty: the default user
  Secret password;                          ///< empty: none is asked for
  milliseconds timeout{100};                ///< for one answer, and for each step of connecting
  bool closed = false;  ///< a file that it needs cannot be used: nobody is connected to
};

/// Scripts that a connection makes known to its server before it is used.
struct Script {
  std::string_view text;
  std::string sha1;  ///< hexadecimal, what EVALSHA names it by
  /// What to run it with on a key that counts nothing, to see whether it can be run: it writes
  /// then. Empty: another one does for it.
  std::span<const std::string_view> probe{};
};

}  // namespace merlon::state::redis
