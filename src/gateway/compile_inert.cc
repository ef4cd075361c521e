#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <optional>

#include "base/units.h"
#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/held_body.h"
#include "gateway/judge.h"
#include "http/h2_session.h"

/// What of a configuration is outdone by another part of it, and would be accepted without effect.
namespace merlon::gateway {
namespace {

using config::Node;
using config::shown;

/// Where the configuration gives this key; null when it does not.
const Node* written(const CompileContext& context, std::initializer_list<std::string_view> path) {
  const Node* at = &context.root;
  for (const std::string_view key : path) {
    if (at != nullptr) at = at->find(key);
  }
  return at;
}

/// How many requests and tunnels one client may have open, over all its connections; nullopt where
/// clients come by way of others, whose connections are not counted.
std::optional<std::uint64_t> open_for_client(const Plan& plan) {
  if (!plan.trusted_proxies.empty()) return std::nullopt;
  return std::uint64_t{plan.limits.connections_per_client} * http::H2Settings{}.streams_max;
}

/// True when the limit is more than what is there for all, or, `of_client`, for one client.
bool judge_place(const config::Located<std::uint32_t>& limit, bool of_client, const Plan& plan,
                 CompileContext& context) {
  if (limit.is_default()) return false;
  if (*limit > plan.limits.requests_in_flight) {
    context.reader.error(
        limit.at, fmt::format("this limit limits nothing: `limits.requests_in_flight` lets {} "
                              "requests and tunnels be open in all",
                              plan.limits.requests_in_flight));
    return true;
  }
  const auto open = open_for_client(plan);
  if (!of_client || !open.has_value() || *limit <= *open) return false;
  context.reader.error(
      limit.at,
      fmt::format(
          "this limit limits nothing: the {} connections that `limits.connections_per_client` "
          "allows a client carry at most {} requests and tunnels at a time",
          plan.limits.connections_per_client, *open));
  return true;
}

/// A tunnel takes a place as any request does.
void judge_tunnels(const config::Located<std::uint32_t>& tunnels, const RouteConfig& config,
                   CompileContext& context) {
  const std::string_view key = policy::Concurrencies::kKey;
  const bool observed = waiver_index(context, "policy-observed", key) != kNoWaiver;
  if (tunnels.is_default() || observed) return;
  for (const auto& places : policy::setting<policy::Concurrencies>(config)) {
    // One client may be several identities.
    if (*places.per == policy::LimitPer::kIdentity || *tunnels <= *places.limit) continue;
    context.reader.error(tunnels.at,
                         fmt::format("this limit limits nothing: `{}` lets a client have {} "
                                     "requests and tunnels open on this route",
                                     key, *places.limit),
                         "remove it, or make it less than that");
    return;
  }
}

/// A time that is over only when the routes of its upstream have given up.
void judge_time(const Upstream& upstream, std::string_view key, milliseconds time,
                milliseconds longest, CompileContext& context) {
  const Node* const at = written(context, {"upstreams", upstream.name, "timeouts", key});
  if (at == nullptr || time <= longest) return;
  context.reader.error(
      at->at(),
      fmt::format("`{}` has no effect: every route to {} times out after {} at most", key,
                  shown(upstream.name), format_duration(longest)),
      "give a route a longer `timeout`, or shorten this one");
}

bool overlap(const Cidr& a, const Cidr& b) { return a.covers(b) || b.covers(a); }

/// True when a listener at this address has peers of IPv6, or of IPv4. `[::]` has both.
bool has_peers(const IpAddress& address, bool v6) {
  return address.is_v6() == v6 || (address.is_v6() && address.is_unspecified());
}

/// Who connects to the listener.
std::vector<Cidr> peers_of(const ListenerConfig& listener) {
  if (!listener.allow_from.empty()) return config::values_of(listener.allow_from);
  std::vector<Cidr> out;
  for (const char* const all : {"0.0.0.0/0", "::/0"}) {
    const Cidr block = *Cidr::parse(all);
    if (has_peers(listener.address->address, block.network.is_v6())) out.push_back(block);
  }
  return out;
}

void judge_networks(const policy::LimitClassConfig& config, const std::vector<Cidr>& peers,
                    CompileContext& context) {
  for (const Located<Cidr>& network : config.networks) {
    if (std::ranges::any_of(peers, [&](const Cidr& block) { return overlap(block, *network); }))
      continue;
    context.reader.error(network.at,
                         fmt::format("nobody connects from {}: no listener that serves the API "
                                     "accepts any of it, by its address family and `allow_from`",
                                     network->to_string()));
  }
}

/// The most requests that a limit lets one identity make in a window of a quota; nullopt where it
/// counts others.
std::optional<double> most_of_identity(const policy::RateLimitConfig& limit, nanoseconds window,
                                       unsigned nodes) {
  if (*limit.per == policy::LimitPer::kClient || !limit.classes.empty()) return std::nullopt;
  using Seconds = std::chrono::duration<double>;
  const double periods = Seconds(window) / Seconds(limit.rate->per);
  const double most = *limit.burst + static_cast<double>(limit.rate->events) * periods;
  return *limit.shared ? most : most * nodes;
}

}  // namespace

void judge_places(const RouteConfig& config, const Plan& plan, CompileContext& context) {
  for (const auto& places : policy::setting<policy::Concurrencies>(config)) {
    static_cast<void>(
        judge_place(places.limit, *places.per == policy::LimitPer::kClient, plan, context));
  }
  const auto& websocket = policy::setting<policy::WebSocket>(config);
  if (!websocket.has_value()) return;
  const auto& tunnels = websocket->tunnels_per_client;
  if (!judge_place(tunnels, true, plan, context)) judge_tunnels(tunnels, config, context);
}

void judge_held_size(const Route& route, const Plan& plan, CompileContext& context) {
  const std::uint64_t most = plan.limits.memory_bytes / kHeldShare;
  if (route.content == nullptr || route.body_bytes_max <= most) return;
  context.reader.error(route.body_at,
                       fmt::format("no body of this size can be buffered for validation: all of "
                                   "them together may take {}, a quarter of `limits.memory`",
                                   format_bytes(most)),
                       "lower it, or give `limits.memory` more");
}

void judge_handshake_time(const Config& config, CompileContext& context) {
  const Node* const time = written(context, {"timeouts", "handshake"});
  const bool used = std::ranges::any_of(config.listeners, [](const ListenerConfig& listener) {
    return listener.tls.has_value() || *listener.proxy_protocol;
  });
  if (time == nullptr || used) return;
  context.reader.error(time->at(),
                       "`handshake` has no effect: no listener has `tls` or `proxy_protocol`",
                       "remove it");
}

void judge_upstream_times(const Plan& plan, CompileContext& context) {
  for (const auto& upstream : plan.upstreams) {
    // Calls of gRPC to an upstream of HTTP/2 have its time in place of their route's, and its
    // connections are made for all who wait.
    if (upstream->protocol == Protocol::kHttp2) continue;
    milliseconds longest{};
    for (const auto& route : plan.routes) {
      if (route->upstream == upstream.get()) longest = std::max(longest, route->timeout);
    }
    if (longest.count() == 0) continue;
    judge_time(*upstream, "connect", upstream->connect_timeout, longest, context);
    judge_time(*upstream, "response", upstream->response_timeout, longest, context);
  }
}

void judge_own_pages(const Config& config, const Plan& plan, CompileContext& context) {
  for (const auto& route : plan.routes) {
    const Located<std::string>& path = config.routes[route->index].match.path;
    const auto is_answered = [](const std::string& method) {
      return method == "GET" || method == "HEAD";
    };
    // Handshakes of WebSocket over HTTP/2 ask for no page.
    if (route->websocket_idle.has_value() || !std::ranges::all_of(route->methods, is_answered))
      continue;
    const bool reached = std::ranges::any_of(plan.listeners, [&](const Listener& at) {
      return at.serve.api && !is_own_page(at.serve, *path);
    });
    const bool served =
        std::ranges::any_of(plan.listeners, [](const Listener& at) { return at.serve.api; });
    if (reached || !served) continue;
    context.reader.error(path.at,
                         fmt::format("no request reaches the route {}: every listener that serves "
                                     "the API answers {} itself",
                                     shown(route->name), shown(*path)),
                         "give the gateway's own pages a listener of their own, or remove the "
                         "route");
  }
}

void judge_class_networks(const Config& config, CompileContext& context) {
  // By way of a trusted proxy a client may come from anywhere.
  if (!config.trusted_proxies.empty()) return;
  std::vector<Cidr> peers;
  for (const ListenerConfig& listener : config.listeners) {
    if (listener.serves(Served::kApi)) std::ranges::copy(peers_of(listener), back_inserter(peers));
  }
  for (const RouteConfig& route : config.routes) {
    for (const auto& limit : policy::setting<policy::RateLimits>(route)) {
      for (const auto& each : limit.classes) judge_networks(each, peers, context);
    }
  }
}

void judge_peers(const Config& config, CompileContext& context) {
  for (const ListenerConfig& listener : config.listeners) {
    const IpAddress& address = listener.address->address;
    const auto connects = [&](const Located<Cidr>& block) {
      return has_peers(address, block->network.is_v6());
    };
    if (listener.allow_from.empty() || std::ranges::any_of(listener.allow_from, connects)) continue;
    context.reader.error(
        listener.allow_from.front().at,
        fmt::format("nobody can connect: {} is an {} address, and all of `allow_from` is {}",
                    address.to_string(), address.is_v6() ? "IPv6" : "IPv4",
                    address.is_v6() ? "IPv4" : "IPv6"));
  }
}

void judge_quotas(const RouteConfig& config, unsigned nodes, CompileContext& context) {
  const bool observed =
      waiver_index(context, "policy-observed", policy::RateLimits::kKey) != kNoWaiver;
  if (observed) return;
  for (const auto& quota : policy::setting<policy::Quotas>(config)) {
    constexpr std::chrono::hours kMonth{24 * 30};
    constexpr std::chrono::hours kLongestMonth{24 * 31};
    const nanoseconds window = quota.limit->per == kMonth ? kLongestMonth : quota.limit->per;
    for (const auto& limit : policy::setting<policy::RateLimits>(config)) {
      const auto most = most_of_identity(limit, window, nodes);
      if (!most.has_value() || *most > static_cast<double>(quota.limit->events)) continue;
      context.reader.error(
          quota.at,
          fmt::format("this quota limits nothing: `{}` lets an identity make {:.0f} "
                      "requests in that time",
                      policy::RateLimits::kKey, *most),
          fmt::format("the limit is at {}", limit.at.to_string()));
      break;
    }
  }
}

}  // namespace merlon::gateway
