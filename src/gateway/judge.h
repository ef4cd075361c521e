#pragma once

#include <array>
#include <string_view>

#include "base/error.h"
#include "base/ip.h"
#include "gateway/plan.h"
#include "http/client_address.h"
#include "http/host.h"
#include "http/message.h"

/// Steps 1 to 10 of a request's way that need no waiting: one straight line of plain calls, each of
/// which may end it. The data plane and `explain` use these same functions.
namespace merlon::gateway {

/// Why a request goes no further: the answer, and for the log the step, the rule and the line.
struct Refusal {
  unsigned status = 0;
  Error error;
  std::string_view step;       ///< "framing", "route", "method" …
  const Mark* line = nullptr;  ///< what of the configuration decided; null when nothing did
  std::string_view allow;      ///< for 405
};

/// A request as Merlon reads it: each part once, by one function. Views live as long as the head's
/// buffer and `scratch`.
struct Reading {
  http::CanonicalHost host;
  std::string_view authority;  ///< host with the port that was given, as it is forwarded
  std::string_view path;
  std::string_view query;
  bool has_query = false;
  http::PathOddities oddities;
  http::ClientInfo client;
  const Route* route = nullptr;
};

/// Room for what had to be rewritten. One per request.
struct ReadingScratch {
  std::array<char, http::kHostBytesMax> host;
  std::array<char, http::kHostBytesMax + 16> authority;
  std::array<char, 8 * 1024> path;
};

/// What of the connection matters to a request.
struct ConnectionFacts {
  IpAddress peer;  ///< as the PROXY protocol says, where it is believed
  bool secure = false;
  std::uint16_t listener_port = 0;
};

/// Step 2: host, path, query and client, canonical. Refuses what could be read two ways.
[[nodiscard]] Result<void> read_request(const http::RequestHead& head, const ConnectionFacts& facts,
                                        const Plan& plan, ReadingScratch& scratch,
                                        Reading& out) noexcept;

/// Steps 3, 4 and the part of 10 that the head decides. True: `reading.route` serves the request.
[[nodiscard]] bool route_request(const http::RequestHead& head, const Plan& plan, Reading& reading,
                                 Refusal& refusal) noexcept;

/// The refusal for a failure of reading, from the parser on.
[[nodiscard]] Refusal framing_refusal(const Error& error) noexcept;

}  // namespace merlon::gateway
