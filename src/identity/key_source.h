#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "identity/live_keys.h"
#include "tls/tls_config.h"
#include "upstream/https_url.h"

namespace merlon::tls {
class ClientContext;
}  // namespace merlon::tls

namespace merlon::identity {

/// Where the keys of an issuer come from when they are fetched, and how far it is trusted to say
/// so. Immutable; part of a provider.
struct KeySource {
  std::string issuer;
  AlgorithmSet algorithms;                     ///< a set without a key for any of them is of no use
  std::optional<upstream::HttpsUrl> jwks_uri;  ///< absent: discovery names it
  /// Hosts besides the issuer's own that discovery may name, wherever they stand. Others must be
  /// on the public Internet.
  std::vector<std::string> hosts;
  seconds stale_for{3600};  ///< keys that could not be renewed stay in use for so long
  tls::UpstreamTls tls;     ///< the authorities that are trusted
  std::string ca_digest;    ///< of their file
  std::shared_ptr<tls::ClientContext> own_host;  ///< for the host that the configuration names
  std::shared_ptr<LiveKeys> live;

  /// True when both ask the same of the same.
  [[nodiscard]] bool same_as(const KeySource& other) const {
    return issuer == other.issuer && algorithms == other.algorithms && jwks_uri == other.jwks_uri &&
           hosts == other.hosts && stale_for == other.stale_for && ca_digest == other.ca_digest;
  }
};

}  // namespace merlon::identity
