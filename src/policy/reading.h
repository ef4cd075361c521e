#pragma once

#include <array>
#include <string_view>

#include "base/ip.h"
#include "http/client_address.h"
#include "http/host.h"
#include "http/message.h"
#include "http/path.h"

namespace merlon::tls {
class TlsStream;
}  // namespace merlon::tls

/// What the gateway read of a request, for those who judge it.
namespace merlon::policy {

/// For `explain`: TLS, of which there is no stream.
struct MadeUpTls {
  std::string_view server_name;  ///< in lower case; empty: the host that is asked for
};

/// What of a connection matters to its requests. Outlives them.
struct ConnectionFacts {
  Endpoint peer;          ///< of the socket
  IpAddress client;       ///< the peer, or whom the PROXY protocol names
  bool unnamed = false;   ///< a PROXY header named nobody: no forwarded field is believed
  bool outdated = false;  ///< a reload asks more of those who connect, or other certificates
  bool certificate_open = false;        ///< for `explain`: what a client certificate would show
  const tls::TlsStream* tls = nullptr;  ///< null: cleartext, or made up
  const MadeUpTls* made_up_tls = nullptr;

  [[nodiscard]] bool secure() const noexcept { return tls != nullptr || made_up_tls != nullptr; }
};

/// A request as Merlon reads it: each part once, by one function. Views live as long as the head's
/// buffer and the scratch.
struct Reading {
  http::CanonicalHost host;
  std::string_view authority;  ///< host with the port that was given, as it is forwarded
  std::string_view path;
  std::string_view query;
  bool has_query = false;
  http::PathOddities oddities;
  http::ClientInfo client;
};

/// Room for what had to be rewritten. One per request.
struct ReadingScratch {
  std::array<char, http::kHostBytesMax> host;
  std::array<char, http::kHostBytesMax + 16> authority;
  std::array<char, 8 * 1024> path;
};

}  // namespace merlon::policy
