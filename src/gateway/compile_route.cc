#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>

#include "base/ascii.h"
#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/door.h"
#include "http/field_id.h"
#include "http/grpc.h"

namespace merlon::gateway {
namespace {

using config::shown;
using http::FieldId;
using http::FieldTrait;
using http::PathOddity;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = ascii::lower(c);
  return out;
}

// ---- methods ----

void judge_methods(const RouteConfig& config, CompileContext& context) {
  std::set<std::string_view> seen;
  for (const Located<std::string>& method : *config.methods) {
    if (!seen.insert(*method).second) {
      context.reader.error(method.at, fmt::format("the method {} is listed twice", *method));
    } else if (*method == "TRACE" || *method == "TRACK") {
      refuse_always(
          context, "trace-forwarded", method.at,
          fmt::format("{} reveals credentials to anyone who can make a client send it", *method));
    } else if (*method == "CONNECT") {
      refuse_always(context, "connect-enabled", method.at,
                    "CONNECT would make a tunnel through the gateway");
    }
  }
}

// ---- path ----

/// True when some request of the route can have the oddity.
bool can_have(const PathPattern& path, PathOddity oddity) {
  if (path.oddities.contains(oddity) || path.rest) return true;
  return oddity != PathOddity::kEmptySegment && !path.exact();
}

http::PathOddities waived_oddities(const RouteConfig& config, const PathPattern& path,
                                   CompileContext& context) {
  http::PathOddities waived;
  for (const PathOddity oddity : http::kPathOddities) {
    const std::string_view slug = http::oddity_slug(oddity);
    if (can_have(path, oddity) &&
        granted(context, slug, config.match.path.at, fmt::format("{} is let through", slug))) {
      waived.add(oddity);
    }
  }
  const auto refused = http::check_oddities(path.oddities, waived);
  if (!refused.has_value()) {
    context.reader.error(config.match.path.at,
                         fmt::format("no request reaches this route: the {}", refused.error().what),
                         fmt::format("the rule is `{}`", rule_name(refused.error().code)));
  }
  return waived;
}

void judge_rewrite(const RouteConfig& config, const PathPattern& path, CompileContext& context) {
  const auto& strip = config.rewrite.strip_prefix;
  const auto& add = config.rewrite.add_prefix;
  if (strip.has_value() && add.has_value() && **strip == **add) {
    context.reader.error(add->at, "`rewrite` changes nothing: it adds what it strips", "remove it");
  }
  if (!strip.has_value() || always_starts_with(path, **strip)) return;
  context.reader.error(
      strip->at,
      fmt::format("not every path of {} starts with {}", shown(*config.match.path), shown(**strip)),
      "strip only whole segments with which the pattern itself begins");
}

void judge_hosts(const RouteConfig& config, CompileContext& context) {
  std::set<std::string_view> seen;
  for (const Located<std::string>& host : config.match.hosts) {
    if (seen.insert(*host).second) continue;
    context.reader.error(host.at, fmt::format("the host {} is given twice", shown(*host)));
  }
}

// ---- websocket ----

/// Where messages would pass unseen by what the route asks of its requests.
void judge_websocket(const RouteConfig& config, const Route& route, CompileContext& context) {
  const auto& websocket = policy::setting<policy::WebSocket>(config);
  if (!websocket.has_value()) return;
  if (route.content != nullptr) {
    context.reader.error(websocket->at,
                         "what passes through a tunnel is not judged by this route's `body`",
                         "give WebSocket a route of its own");
  }
  const auto& cors = policy::setting<policy::Cors>(config);
  if (!cors.has_value()) return;
  for (const auto& origin : *cors->origins) {
    if (*origin != "*") continue;
    context.reader.error(origin.at,
                         "any page could open tunnels with the cookies of its visitors: `cors` "
                         "decides whose handshakes are let in",
                         "list the origins");
  }
}

// ---- headers ----

/// Fields whose absence or value is part of the baseline of every response.
constexpr std::array kBaselineFields = {
    FieldId::kXContentTypeOptions,
    FieldId::kXFrameOptions,
    FieldId::kContentSecurityPolicy,
    FieldId::kStrictTransportSecurity,
    FieldId::kReferrerPolicy,
    FieldId::kXXssProtection,
    FieldId::kAltSvc,
};
/// What the gateway itself says about the exchange, or what a body is.
constexpr std::array kOwnFields = {
    FieldId::kContentLength,
    FieldId::kContentType,
    FieldId::kContentEncoding,
    FieldId::kContentRange,
    FieldId::kDate,
    FieldId::kAllow,
    FieldId::kXRequestId,
    FieldId::kWwwAuthenticate,
    FieldId::kHost,
    FieldId::kRateLimit,
    FieldId::kRateLimitPolicy,
    FieldId::kAge,
    FieldId::kRetryAfter,
    FieldId::kDpopNonce,
    FieldId::kGrpcStatus,
    FieldId::kGrpcMessage,
};

bool one_of(std::span<const FieldId> set, FieldId id) {
  return std::ranges::find(set, id) != set.end();
}

/// Why a route may not change the field; "" when it may.
std::string_view reason_to_keep(std::string_view name) {
  FieldId id = http::field_id(name);
  if (id == FieldId::kOther) id = http::aliased_field(name);
  if (is_leak(name)) return "reveals what software runs, and is always removed";
  if (id == FieldId::kOther) return {};
  if (http::has_trait(id, FieldTrait::kHopByHop)) return "belongs to the connection";
  if (one_of(kBaselineFields, id)) return "is part of the baseline, which stays";
  if (one_of(kCorsFields, id)) return "opens a route to other origins, which `cors` is for";
  if (one_of(kOwnFields, id)) return "is set by the gateway, or by whoever wrote the body";
  return {};
}

void judge_field(std::string_view name, const Mark& at, std::map<std::string, Mark>& seen,
                 CompileContext& context) {
  const std::string_view reason = reason_to_keep(name);
  if (!reason.empty()) {
    context.reader.error(at, fmt::format("{} cannot be changed: it {}", shown(name), reason),
                         "remove it");
  }
  const auto [first, is_new] = seen.try_emplace(lower(name), at);
  if (is_new) return;
  context.reader.error(at, fmt::format("the field {} is given twice", shown(name)),
                       fmt::format("the first is at {}", first->second.to_string()));
}

void compile_headers(const RouteConfig& config, Route& route, CompileContext& context) {
  std::map<std::string, Mark> seen;
  for (const auto& [name, value] : config.headers.set) {
    judge_field(name, value.at, seen, context);
    route.set_headers.push_back({.name = name, .value = *value});
  }
  for (const Located<std::string>& name : config.headers.remove) {
    judge_field(*name, name.at, seen, context);
    route.remove_headers.push_back(lower(*name));
  }
}

/// Fields that pages may read and never get.
void judge_exposed(const RouteConfig& config, CompileContext& context) {
  const auto& cors = policy::setting<policy::Cors>(config);
  if (!cors.has_value()) return;
  for (const Located<std::string>& name : cors->expose) {
    if (!is_leak(*name)) continue;
    context.reader.error(
        name.at,
        fmt::format("no page gets {}: it reveals what software runs, and is always removed",
                    shown(*name)),
        "remove it");
  }
}

/// `/package.Service/Method` or `/package.Service/**`, for POST alone: all of it is gRPC.
bool names_grpc_service(const RouteConfig& config, const PathPattern& path) {
  const auto& segments = path.segments;
  if (config.methods->size() != 1 || *config.methods->front() != "POST") return false;
  if (segments.size() != (path.rest ? 1U : 2U) || segments.back().parameter) return false;
  const std::string& service = segments.front().literal;
  return service.find('.') != std::string::npos && http::is_grpc_service_name(service);
}

void compile_respond(const RouteConfig& config, Route& route) {
  if (!config.respond.has_value()) return;
  const RespondConfig& respond = *config.respond;
  route.respond.emplace();
  route.respond->status = *respond.status;
  if (!respond.body.has_value()) return;
  route.respond->body = **respond.body;
  route.respond->content_type =
      respond.content_type.has_value() ? **respond.content_type : "text/plain; charset=utf-8";
}

/// What is taken as it stands.
void copy_settings(const RouteConfig& config, Route& route) {
  route.name = config.name;
  route.at = config.at;
  route.methods_at = config.methods.at;
  for (const auto& method : *config.methods) route.methods.push_back(*method);
  const policy::BodyConfig& body = policy::setting<policy::Body>(config);
  route.body_bytes_max = *body.max;
  route.body_at = body.max.at;
  route.timeout = *config.timeout;
  if (config.rewrite.strip_prefix.has_value()) route.strip_prefix = **config.rewrite.strip_prefix;
  if (config.rewrite.add_prefix.has_value()) route.add_prefix = **config.rewrite.add_prefix;
  if (const auto& websocket = policy::setting<policy::WebSocket>(config); websocket.has_value())
    route.websocket_idle = *websocket->idle_timeout;
  route.opens_to_origins = policy::setting<policy::Cors>(config).has_value();
  route.forward_authorization = config.forward.authorization;
  route.forward_client_cert = config.forward.client_cert;
}

void compile_route_policies(const RouteConfig& config, const policy::SharedSetup* shared,
                            Route& route, CompileContext& context) {
  policy::CompileInput input{
      .reader = context.reader,
      .broker = context.broker,
      .methods = route.methods,
      .shared = shared,
      .shared_is_wrong = shared == nullptr && context.root.find("shared_state") != nullptr};
  policy::compile_policies(config, input, route.policies);
  if (config.auth.none) policy::check_public_route(config, context.reader);
  for (const auto& policy : route.policies) {
    if (policy->content() != nullptr) route.content = policy.get();
  }
}

void compile_route_waivers(const RouteConfig& config, const PathPattern& path, Route& route,
                           CompileContext& context) {
  for (std::size_t i = 0; i < http::kPathOddities.size(); ++i) {
    route.waivers.oddities[i] = waiver_index(context, http::oddity_slug(http::kPathOddities[i]));
  }
  route.waivers.time = waiver_index(context, "upstream-timeout-infinite", "timeout");
  route.waivers.body_size = waiver_index(context, "body-size-unlimited", "body.max");
  route.waived_oddities = waived_oddities(config, path, context);
  if (!config.upstream.has_value()) return;
  route.waivers.csp = waiver_index(context, "csp-html");
  route.waivers.error_bodies = waiver_index(context, "upstream-error-bodies");
  route.html_csp_waived =
      granted(context, "csp-html", config.at, "the upstream's own policy stays on HTML");
  route.upstream_error_bodies = granted(context, "upstream-error-bodies", config.at,
                                        "the upstream's 5xx bodies reach clients");
}

}  // namespace

CompiledRoute compile_route(const RouteConfig& config, const policy::SharedSetup* shared,
                            CompileContext& context) {
  CompiledRoute result{.route = std::make_unique<Route>(), .path = {}};
  Route& route = *result.route;
  if (auto path = parse_path_pattern(*config.match.path)) result.path = std::move(*path);
  judge_hosts(config, context);
  judge_methods(config, context);
  judge_rewrite(config, result.path, context);
  copy_settings(config, route);
  route.grpc_service = names_grpc_service(config, result.path);
  compile_headers(config, route, context);
  compile_respond(config, route);
  compile_route_policies(config, shared, route, context);
  judge_websocket(config, route, context);
  judge_exposed(config, context);
  compile_route_waivers(config, result.path, route, context);
  return result;
}

}  // namespace merlon::gateway
