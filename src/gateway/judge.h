#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "gateway/plan.h"
#include "policy/policy.h"
#include "policy/reading.h"

/// Steps 1 to 11 of a request's way that need no waiting: one straight line of plain calls, each of
/// which may end it. The data plane and `explain` use these same functions.
namespace merlon::gateway {

using policy::ConnectionFacts;
using policy::Reading;
using policy::ReadingScratch;
using policy::Refusal;

/// Step 2: host, path, query and client, canonical. Refuses what could be read two ways.
[[nodiscard]] Result<void> read_request(const http::RequestHead& head, const ConnectionFacts& facts,
                                        const Plan& plan, ReadingScratch& scratch,
                                        Reading& out) noexcept;

/// Step 2 for what the connection knows: the certificate that was presented covers the host.
[[nodiscard]] bool check_certificate(const ConnectionFacts& facts, const Listener& at,
                                     const Reading& reading, Refusal& refusal) noexcept;

/// Step 2 again, of the client's side: its certificate is still good, and what it was asked for
/// when it connected, if only cleartext, is what this host asks for now. What a handshake proves,
/// it proves for its time.
[[nodiscard]] bool check_client_certificate(const ConnectionFacts& facts, const Listener& at,
                                            const Reading& reading, const Clock& clock,
                                            Refusal& refusal) noexcept;

/// Where steps 3 and 4 took a request.
struct Routed {
  const Route* route = nullptr;  ///< null: refused
  bool preflight = false;        ///< a true one, on a route with `cors`
};

/// Steps 3 and 4: the route that serves the request, or none with `refusal`, and `fields` of the
/// answer (Allow). A true preflight (OPTIONS, Origin, Access-Control-Request-Method) goes to the
/// route of the method that it asks for, when that has `cors`; any other OPTIONS is a method like
/// the others.
[[nodiscard]] Routed route_request(const http::RequestHead& head, const Plan& plan,
                                   const Reading& reading, policy::ResponseFields& fields,
                                   Refusal& refusal) noexcept;

/// Paths of the health protocol of gRPC begin so.
inline constexpr std::string_view kGrpcHealthService = "/grpc.health.v1.Health/";

/// True when a listener that serves so answers GET and HEAD of this path itself.
[[nodiscard]] bool is_own_page(const Serve& serve, std::string_view path) noexcept;

/// Who answers a request, once its head is judged.
enum class Destination : std::uint8_t { kRefused, kRedirect, kStatusPage, kRoute };

/// What steps 2 to 4 made of a head.
struct Judged {
  Destination where = Destination::kRefused;
  Routed routed;  ///< of kRoute
  bool ambiguous =
      false;  ///< kRefused for what can be read two ways: its sender is not asked again
};

/// Steps 2 to 4, all of them, at the listener `at`. `refusal` is set with kRefused.
[[nodiscard]] Judged judge_head(const http::RequestHead& head, const ConnectionFacts& facts,
                                const Plan& plan, const Listener& at, ReadingScratch& scratch,
                                Reading& reading, policy::ResponseFields& fields,
                                Refusal& refusal) noexcept;

/// Steps 5 to 11: the route's policies from number `next` on, which moves behind those that were
/// asked. kNext: all of them have been, and none is against it.
[[nodiscard]] policy::Decision run_policies(const Route& route, policy::Context& context,
                                            std::size_t& next) noexcept;

/// What is known before any of the body is read: 413 for the size that the head declares (step 10),
/// then 503 where the upstream's own TLS files closed it (step 12).
[[nodiscard]] bool check_before_body(const http::RequestHead& head, const Route& route,
                                     Refusal& refusal) noexcept;

/// What of the configuration bounds the body.
[[nodiscard]] const Mark* body_line(const Route& route) noexcept;

/// Step 10 for a body of which so many bytes came, or are declared: 413.
[[nodiscard]] bool fits_body_size(std::uint64_t bytes, const Route& route,
                                  Refusal& refusal) noexcept;

/// How often an OPTIONS may still be forwarded: its Max-Forwards (RFC 9110 §7.6.2). nullopt:
/// nothing bounds it, as with other methods. TRACE, the other one that it is for, is on no route.
[[nodiscard]] std::optional<std::uint32_t> hops_left(const http::RequestHead& head) noexcept;

/// The refusal for a failure of reading, from the parser on.
[[nodiscard]] Refusal framing_refusal(const Error& error) noexcept;

}  // namespace merlon::gateway
