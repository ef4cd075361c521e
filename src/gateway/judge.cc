#include "gateway/judge.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/ascii.h"
#include "http/grpc.h"
#include "http/status.h"
#include "identity/provider.h"
#include "policy/authenticate.h"
#include "tls/client_auth.h"
#include "tls/server_context.h"
#include "tls/tls_stream.h"

namespace merlon::gateway {
namespace {

/// Host and port as one text: what is forwarded is what was read.
std::string_view write_authority(const http::CanonicalHost& host, std::span<char> out) noexcept {
  std::size_t size = 0;
  const bool v6 = host.address && host.address->is_v6();
  if (v6) out[size++] = '[';
  std::memcpy(out.data() + size, host.name.data(), host.name.size());
  size += host.name.size();
  if (v6) out[size++] = ']';
  if (host.port != 0) {
    out[size++] = ':';
    size = static_cast<std::size_t>(
        std::to_chars(out.data() + size, out.data() + out.size(), host.port).ptr - out.data());
  }
  return {out.data(), size};
}

Refusal refused(unsigned status, std::uint16_t code, const char* what, std::string_view step,
                const Mark* line) noexcept {
  return {.status = status,
          .error = {.code = code, .blame = Blame::kClient, .what = what},
          .step = step,
          .line = line};
}

/// The method that a preflight asks for (Fetch §4.8); empty when the request is none.
std::string_view requested_method(const http::RequestHead& head) noexcept {
  if (head.method != http::Method::kOptions || !head.fields.contains(http::FieldId::kOrigin))
    return {};
  const std::string_view method = head.fields.value(http::FieldId::kAccessControlRequestMethod);
  return ascii::is_token(method) ? method : std::string_view{};
}

RouteMatch match_request(const http::RequestHead& head, const Plan& plan, const Reading& reading,
                         bool& preflight) noexcept {
  const auto match = [&](http::Method method, std::string_view text) {
    return plan.router->match(reading.host.name, reading.path, method, text);
  };
  const std::string_view wanted = requested_method(head);
  if (!wanted.empty()) {
    const RouteMatch found = match(http::method_of(wanted), wanted);
    const Route* route = found.route != nullptr ? found.route : found.refused_by;
    preflight = route != nullptr && route->opens_to_origins;
    if (preflight) return found;
  }
  return match(head.method, head.method_text);
}

/// The health protocol of gRPC (grpc.health.v1), for probes that speak nothing else.
bool asks_for_grpc_health(const http::RequestHead& head, const Reading& reading) noexcept {
  return head.method == http::Method::kPost && reading.path.starts_with(kGrpcHealthService) &&
         http::is_grpc(head.fields.value(http::FieldId::kContentType));
}

/// Software that reads `_` and `.` as `-` would take such a field for one that API keys come in,
/// and those never go on.
Result<void> check_credential_names(const http::Fields& fields, const Plan& plan) noexcept {
  for (const std::string& name : plan.credential_fields) {
    for (const http::Field& field : fields) {
      if (field.id == http::FieldId::kOther && http::same_when_aliased(field.name, name) &&
          !ascii::iequals(field.name, name))
        return fail(code::kAliasedField, Blame::kClient,
                    "the field name can be taken for that of an API key");
    }
  }
  return {};
}

/// Only what the status pages answer: any other method goes to the routes, and may find none.
bool asks_for_status(const http::RequestHead& head, const Listener& at,
                     const Reading& reading) noexcept {
  if (at.serve.health && asks_for_grpc_health(head, reading)) return true;
  if (head.method != http::Method::kGet && head.method != http::Method::kHead) return false;
  if (head.only_websocket) return false;
  return is_own_page(at.serve, reading.path);
}

/// Fields that prove who asks, those of API keys by the names that the configuration gives them.
bool carries_credentials(const http::Fields& fields, const Plan& plan) noexcept {
  using http::FieldId;
  for (const FieldId id :
       {FieldId::kAuthorization, FieldId::kCookie, FieldId::kProxyAuthorization, FieldId::kDpop,
        FieldId::kXApiKey, FieldId::kXAccessToken, FieldId::kXIdToken}) {
    if (fields.contains(id)) return true;
  }
  return std::ranges::any_of(plan.providers, [&](const auto& provider) {
    if (provider->header().empty()) return false;
    return std::ranges::any_of(fields, [&](const http::Field& field) {
      return ascii::iequals(field.name, provider->header());
    });
  });
}

/// True when a request to a redirecting listener gave away nothing yet, so that it may be sent to
/// https; any other is refused, so that its sender learns of it.
bool may_redirect(const http::RequestHead& head, const Plan& plan,
                  const Reading& reading) noexcept {
  return (head.method == http::Method::kGet || head.method == http::Method::kHead) &&
         !carries_credentials(head.fields, plan) && !policy::has_token_in_query(reading.query) &&
         !reading.host.name.empty();
}

bool covers(const policy::MadeUpTls& tls, const Listener& at, std::string_view host) {
  const auto* const site = at.tls->find(tls.server_name.empty() ? host : tls.server_name);
  return site != nullptr && at.tls->covers(*site, host);
}

}  // namespace

bool is_own_page(const Serve& serve, std::string_view path) noexcept {
  const bool health = path == "/healthz" || path == "/readyz";
  return (serve.health && health) || (serve.metrics && path == "/metrics");
}

Refusal framing_refusal(const Error& error) noexcept {
  return {.status = http::status_for(error), .error = error, .step = "framing", .line = nullptr};
}

Result<void> read_request(const http::RequestHead& head, const ConnectionFacts& facts,
                          const Plan& plan, ReadingScratch& scratch, Reading& out) noexcept {
  if (!head.authority.empty()) {
    const Result<http::CanonicalHost> host = http::canonical_host(head.authority, scratch.host);
    if (!host) return std::unexpected(host.error());
    out.host = *host;
    out.authority =
        host->port == 0 && !host->address ? host->name : write_authority(*host, scratch.authority);
  }
  out.query = head.target.query;
  out.has_query = head.target.has_query;
  if (head.target.form == http::TargetForm::kAsterisk) {
    out.path = "*";
  } else {
    const Result<http::CanonicalPath> path = http::canonical_path(head.target.path, scratch.path);
    if (!path) return std::unexpected(path.error());
    out.path = path->text;
    out.oddities = path->oddities;
    const Result<void> query = http::check_query(head.target.query);
    if (!query) return query;
  }
  const std::span<const Cidr> trusted =
      facts.unnamed ? std::span<const Cidr>() : plan.trusted_proxies;
  const Result<http::ClientInfo> client = http::resolve_client(facts.client, trusted, head.fields);
  if (!client) return std::unexpected(client.error());
  out.client = *client;
  return check_credential_names(head.fields, plan);
}

bool check_certificate(const ConnectionFacts& facts, const Listener& at, const Reading& reading,
                       Refusal& refusal) noexcept {
  if (!facts.secure()) return true;
  const std::string_view host = reading.host.name;
  if (facts.tls != nullptr ? facts.tls->covers(host) : covers(*facts.made_up_tls, at, host))
    return true;
  refusal = refused(421, code::kMisdirected, "the certificate does not cover this host", "reading",
                    &at.at);
  return false;
}

bool check_client_certificate(const ConnectionFacts& facts, const Listener& at,
                              const Reading& reading, const Clock& clock,
                              Refusal& refusal) noexcept {
  // 421: whoever comes with the same request on a new connection is asked for what holds now.
  if (facts.outdated || (facts.tls != nullptr && at.tls != nullptr &&
                         !facts.tls->was_asked_as_by(*at.tls, reading.host.name))) {
    refusal = refused(421, code::kMisdirected,
                      "clients are asked for more, or for other certificates, than when this one "
                      "connected",
                      "connection", &at.at);
    return false;
  }
  if (facts.tls == nullptr) return true;
  const tls::ClientCertificate* const shown = facts.tls->client_certificate();
  if (shown == nullptr || clock.wall_now() < shown->good_until) return true;
  refusal = refused(421, code::kCertificateExpired, "the client's certificate has expired",
                    "connection", &at.at);
  return false;
}

Routed route_request(const http::RequestHead& head, const Plan& plan, const Reading& reading,
                     policy::ResponseFields& fields, Refusal& refusal) noexcept {
  bool preflight = false;
  const RouteMatch match = match_request(head, plan, reading, preflight);
  if (match.route == nullptr && !match.path_known) {
    refusal = refused(404, code::kNoRoute, "no route takes this host and path", "route", nullptr);
    return {};
  }
  const Route& route = match.route != nullptr ? *match.route : *match.refused_by;
  const Result<void> oddities = http::check_oddities(reading.oddities, route.waived_oddities);
  if (!oddities) {
    refusal = framing_refusal(oddities.error());
    refusal.step = "route";
    refusal.line = &route.at;
    return {};
  }
  if (match.route == nullptr) {
    refusal = refused(405, code::kMethodNotAllowed, "the route does not list this method", "method",
                      &route.methods_at);
    static_cast<void>(fields.add("Allow", match.allow, http::FieldId::kAllow));
    return {};
  }
  if (head.only_websocket && !route.websocket_idle.has_value()) {
    refusal = refused(501, code::kTunnelProtocol, "the route is not open to WebSocket", "route",
                      &route.at);
    return {};
  }
  return {.route = &route, .preflight = preflight};
}

Judged judge_head(const http::RequestHead& head, const ConnectionFacts& facts, const Plan& plan,
                  const Listener& at, ReadingScratch& scratch, Reading& reading,
                  policy::ResponseFields& fields, Refusal& refusal) noexcept {
  const Result<void> read = read_request(head, facts, plan, scratch, reading);
  if (!read) {
    refusal = framing_refusal(read.error());
    refusal.step = "reading";
    return {.where = Destination::kRefused, .routed = {}, .ambiguous = true};
  }
  if (!check_certificate(facts, at, reading, refusal)) return {};
  if (at.redirect_to_port && !may_redirect(head, plan, reading)) {
    refusal = refused(403, code::kCleartextRefused, "only https is served", "connection", &at.at);
    return {};
  }
  if (at.redirect_to_port)
    return {.where = Destination::kRedirect, .routed = {}, .ambiguous = false};
  if (asks_for_status(head, at, reading))
    return {.where = Destination::kStatusPage, .routed = {}, .ambiguous = false};
  if (!at.serve.api) {
    refusal = refused(404, code::kNoRoute, "this listener serves no routes", "route", &at.at);
    return {};
  }
  const Routed routed = route_request(head, plan, reading, fields, refusal);
  if (routed.route == nullptr) return {};
  return {.where = Destination::kRoute, .routed = routed, .ambiguous = false};
}

std::optional<std::uint32_t> hops_left(const http::RequestHead& head) noexcept {
  if (head.method != http::Method::kOptions) return {};
  const std::string_view text = head.fields.value(http::FieldId::kMaxForwards);
  std::uint32_t hops = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, hops);
  if (text.empty() || at != end || error == std::errc::invalid_argument) return {};
  // More than we can count is passed on as the most that we can (RFC 9110 §7.6.2).
  return error == std::errc::result_out_of_range ? UINT32_MAX : hops;
}

policy::Decision run_policies(const Route& route, policy::Context& context,
                              std::size_t& next) noexcept {
  while (next < route.policies.size()) {
    const policy::Decision decision = route.policies[next++]->check(context);
    if (decision.kind != policy::Decision::Kind::kNext) return decision;
  }
  return policy::Decision::next();
}

const Mark* body_line(const Route& route) noexcept {
  return route.body_at.known() ? &route.body_at : &route.at;
}

bool fits_body_size(std::uint64_t bytes, const Route& route, Refusal& refusal) noexcept {
  if (bytes <= route.body_bytes_max) return true;
  refusal = refused(413, code::kBodyTooLarge, "the body is larger than the route takes",
                    "validation", body_line(route));
  return false;
}

bool check_before_body(const http::RequestHead& head, const Route& route,
                       Refusal& refusal) noexcept {
  const bool declared = head.framing == http::Framing::kLength;
  if (declared && !fits_body_size(head.content_length, route, refusal)) return false;
  if (route.upstream == nullptr || !route.upstream->closed) return true;
  refusal = {.status = 503,
             .error = {.code = code::kUpstreamUnavailable,
                       .blame = Blame::kUpstream,
                       .what = "the upstream's TLS files cannot be used"},
             .step = "forward",
             .line = &route.upstream->at};
  return false;
}

}  // namespace merlon::gateway
