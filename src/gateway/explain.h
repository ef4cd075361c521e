#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/time.h"
#include "gateway/judge.h"
#include "gateway/plan.h"

/// Why a request is served or refused: a made-up one goes through the very functions of the data
/// plane, on a compiled plan, and each says what it decided.
namespace merlon::gateway {

/// A request that nobody sent.
struct MadeUpRequest {
  std::string head;  ///< bytes of an HTTP/1.1 head, its empty line included
  std::string body;
  IpAddress client;  ///< the peer, or whom a PROXY line names
  /// Who connects where the listener has `proxy_protocol`; absent: taken as one that it believes.
  std::optional<IpAddress> proxy;
  const Listener* listener = nullptr;  ///< where it arrives
  /// Whom the client names in the handshake of TLS, in lower case; empty: whom it asks for.
  std::string server_name{};
};

/// What one step decided.
struct ExplainedStep {
  std::string step;      ///< "reading", "route", "cors" …
  std::string decision;  ///< for people: "goes to orders"
  std::string line;      ///< "merlon.yaml:12"; empty when no line decided
};

struct Explanation {
  std::vector<ExplainedStep> steps;
  /// Of the answer, when the gateway gives it itself; 0 when an upstream does.
  unsigned status = 0;
  bool refused = false;
  bool undecided = false;  ///< only a running gateway could tell: it asks others; `what` says whom
  /// As in the access log; of the refusal.
  std::string step;
  std::string rule;
  std::string line;
  std::string what;  ///< why, in one sentence
  std::string route;
  std::string upstream;  ///< that it is let through to
  /// What the answer does not take into account, a sentence each.
  std::vector<std::string> not_simulated;
};

/// Explains with fresh counts of limits: as if the request were the first.
[[nodiscard]] Explanation explain(const Plan& plan, const MadeUpRequest& request, Instant now,
                                  WallTime wall);

/// The listener that a client would reach for `secure` and `port` that has a certificate for
/// `host`; nullptr when there is none. Port 0 is the scheme's own (80, 443), and any where nobody
/// listens there, since what stands in front may have it.
[[nodiscard]] const Listener* listener_for(const Plan& plan, bool secure, std::uint16_t port,
                                           std::string_view host);

}  // namespace merlon::gateway
