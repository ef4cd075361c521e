#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/judge.h"
#include "gateway/plan.h"
#include "http/message.h"

/// The one door out (step 13): every response, whoever made it, leaves through `dress`.
namespace merlon::gateway {

/// Whether a field of this name tells of products, versions or inner structure: none of an upstream
/// goes out.
[[nodiscard]] bool is_leak(std::string_view name) noexcept;

/// What opens a response to pages of other origins: said by `cors` alone.
inline constexpr std::array kCorsFields = {http::FieldId::kAccessControlAllowOrigin,
                                           http::FieldId::kAccessControlAllowMethods,
                                           http::FieldId::kAccessControlAllowHeaders,
                                           http::FieldId::kAccessControlAllowCredentials,
                                           http::FieldId::kAccessControlAllowPrivateNetwork,
                                           http::FieldId::kAccessControlExposeHeaders,
                                           http::FieldId::kAccessControlMaxAge};

/// What the door needs to know of the request.
struct DoorFacts {
  const Route* route = nullptr;  ///< null: refused before a route was found
  bool refusal = false;          ///< the gateway's own: nobody may keep it for others
  bool secure = false;           ///< over TLS: Strict-Transport-Security goes out (RFC 6797 §7.2)
  std::string_view request_id;
  std::string_view date;  ///< IMF-fixdate, for responses without one (RFC 9110 §6.6.1)
  std::span<const http::Field> policy_fields{};  ///< set in place of the upstream's
};

/// Removes what leaks (Server, X-Powered-By, Via and their like) and what the route removes, and
/// sets the security headers, over whatever the upstream said. Views must live until the head is
/// sent. Allocates nothing. True when the waiver of `csp-html` kept the upstream's own policy.
bool dress(http::ResponseHead& head, const DoorFacts& facts) noexcept;

/// Takes out of an upstream's trailers what its head may not say either. Where that is something,
/// `trailers` is then a view of `kept`.
void dress_trailers(std::span<const http::Field>& trailers, const Route& route,
                    std::vector<http::Field>& kept);

/// Fills `head` with a refusal and `body` with its problem details (RFC 9457): status, title and
/// request id, and for authenticated callers whose body does not fit a schema the JSON pointer of
/// what does not; nothing else.
void make_problem(http::ResponseHead& head, std::string& body, unsigned status,
                  std::string_view request_id, std::string_view pointer = {});

/// Turns a Location that the upstream gave for its own paths into the client's, for a route with
/// `rewrite`. Empty: it stays as it is.
[[nodiscard]] std::string rewritten_location(const Route& route, std::string_view location,
                                             std::string_view upstream_host);

/// The path to ask the upstream for. `out` holds it when the route rewrites.
[[nodiscard]] std::string_view upstream_path(const Route& route, std::string_view path,
                                             std::string& out);

/// Writes "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7); always 29 bytes.
void write_http_date(WallTime at, char* out) noexcept;
inline constexpr std::size_t kHttpDateBytes = 29;

}  // namespace merlon::gateway
