#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

constexpr std::int64_t kSecond = 1000;
constexpr std::int64_t kHour = 3600 * kSecond;

bool is_rate_limit(const Filter& filter) {
  return filter.is("local_ratelimit") || filter.is("ratelimit") || filter.is("rate_limit_quota");
}

bool is_forwarded(const Route* route) { return bool(route->action) && !answers_challenges(*route); }

bool forwards(const Hcm& hcm) {
  return hcm.routes == nullptr || std::ranges::any_of(hcm.all_routes(), is_forwarded);
}

std::vector<std::string> forwarding_labels(const Hcm& hcm) {
  std::vector<std::string> out;
  for (const Route* route : hcm.all_routes()) {
    if (is_forwarded(route)) out.push_back(route->label());
  }
  return sorted(std::move(out));
}

/// True when the filter is on for what some route forwards; the routes of a server are not known.
bool is_on(const Hcm& hcm, const Filter& filter) {
  if (hcm.routes == nullptr) return !filter.disabled;
  return std::ranges::any_of(hcm.all_routes(), [&](const Route* route) {
    return is_forwarded(route) && !is_disabled(*route, filter);
  });
}

void check_rate(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || !forwards(hcm)) continue;
    const auto limits = [&](const Filter& filter) {
      return is_rate_limit(filter) && is_on(hcm, filter);
    };
    if (std::ranges::any_of(hcm.filters, limits)) continue;
    if (std::ranges::any_of(hcm.chain->filters, is_rate_limit)) continue;
    Finding& finding =
        in.report("LIM-01", Level::kMedium, hcm.at.at(), "no filter limits the rate of requests");
    finding.affected = forwarding_labels(hcm);
    finding.remediation =
        "add envoy.filters.http.local_ratelimit with filter_enabled and "
        "filter_enforced at 100 percent";
  }
}

/// Less than this share of the requests is as good as none.
constexpr double kShareMin = 0.01;

/// How much of the traffic a RuntimeFractionalPercent takes, for messages.
std::string share_text(const Message& config, std::string_view field) {
  const auto share = fraction(config.message(field));
  return share ? fmt::format("{:.4g} percent", *share * 100) : "not set, which means 0";
}

/// local_ratelimit counts nothing until filter_enabled says so: the default is 0 percent.
bool is_consulted(const Message& config) {
  return fraction(config.message("filter_enabled")).value_or(0) >= kShareMin;
}

void judge_local(Inspection& in, const Message& config, const std::string& where) {
  if (!config.has("token_bucket")) return;
  const bool enforced = fraction(config.message("filter_enforced")).value_or(0) >= kShareMin;
  if (!is_consulted(config)) {
    in.report("LIM-02", Level::kMedium, config.at("filter_enabled"),
              fmt::format("the rate limit{} is never consulted: filter_enabled is {}", where,
                          share_text(config, "filter_enabled")));
  } else if (!enforced) {
    in.report("LIM-04", Level::kLow, config.at("filter_enforced"),
              fmt::format("the rate limit{} refuses nothing: filter_enforced is {}", where,
                          share_text(config, "filter_enforced")));
  }
}

/// True when some connection manager has a local limit that is on: what a route says of it then
/// stands in its place.
bool limits_locally(const Model& model) {
  return std::ranges::any_of(model.hcms, [](const Hcm& hcm) {
    const Filter* filter = hcm.find("local_ratelimit");
    return filter != nullptr && !filter->disabled && filter->config.has("token_bucket") &&
           is_consulted(filter->config);
  });
}

void judge_local_override(Inspection& in, const Message& config, const std::string& label) {
  judge_local(in, config, " of " + label);
  if (!config || config.has("token_bucket") || !limits_locally(in.model)) return;
  in.report("LIM-02", Level::kLow, config.at(),
            fmt::format("the rate limit is switched off for {}: what it says of its own has no "
                        "token_bucket",
                        label))
      .confidence = Confidence::kLikely;
}

template <class F>
void each_override(const Inspection& in, std::string_view kind, F&& visit) {
  const auto holder = [&](const Message& at, const std::string& label) {
    const Message all = at.message("typed_per_filter_config");
    if (!all) return;
    for (const config::Member& member : all.node()->members()) {
      const Typed own = own_config(Message(member.value));
      if (own.is("FilterConfig")) continue;  // it only switches the filter off, or on
      if (filter_kind(own.type, member.key.text()) == kind) visit(own.config, label);
    }
  };
  for (const RouteConfig& config : in.model.route_configs) holder(config.at, "all its hosts");
  for (const VirtualHost& host : in.model.hosts) {
    holder(host.at, std::string(host.domains.empty() ? "" : host.domains.front()));
  }
  for (const Route& route : in.model.routes) holder(route.at, route.label());
}

void check_unused(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    bool limited = false;
    for (const Filter& filter : hcm.filters) {
      if (filter.is("local_ratelimit")) judge_local(in, filter.config, "");
      limited = limited || is_rate_limit(filter);
    }
    if (limited || hcm.routes == nullptr) continue;
    const auto judge = [&](const Message& at) {
      if (!at.has("rate_limits")) return;
      in.report("LIM-02", Level::kMedium, at.at("rate_limits"),
                "rate_limits are written here, and no rate limit filter reads them");
    };
    for (const VirtualHost* host : hcm.routes->hosts) {
      judge(host->at);
      for (const Route* route : host->routes) judge(route->action);
    }
  }
  each_override(in, "local_ratelimit", [&](const Message& config, const std::string& label) {
    judge_local_override(in, config, label);
  });
}

bool is_spoofable(std::string_view header) {
  constexpr std::string_view kHeaders[] = {
      "x-forwarded-for",          "x-real-ip",           "forwarded",
      "true-client-ip",           "x-client-ip",         "client-ip",
      "x-original-forwarded-for", "x-cluster-client-ip", "user-agent"};
  return std::ranges::any_of(kHeaders,
                             [&](std::string_view one) { return ascii::iequals(one, header); });
}

void check_keys(Inspection& in) {
  const auto judge = [&](const Message& holder) {
    for (const Node& limit : holder.list("rate_limits")) {
      for (const Node& action : Message(limit).list("actions")) {
        const Message headers = Message(action).message("request_headers");
        if (!is_spoofable(headers.text("header_name"))) continue;
        in.report("LIM-03", Level::kHigh, headers.at("header_name"),
                  fmt::format("the limit counts by {}, which each client chooses anew: expected "
                              "remote_address",
                              headers.text("header_name")));
      }
    }
  };
  for (const VirtualHost& host : in.model.hosts) judge(host.at);
  for (const Route& route : in.model.routes) judge(route.action);
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (is_rate_limit(filter)) judge(filter.config);
    }
  }
  each_override(in, "local_ratelimit",
                [&](const Message& config, const std::string&) { judge(config); });
}

void check_failure_mode(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (!filter.is("ratelimit") || filter.config.is_true("failure_mode_deny")) continue;
      in.report("LIM-04", Level::kLow, filter.config.at("failure_mode_deny"),
                "requests pass when the rate limit service does not answer: expected "
                "failure_mode_deny: true");
    }
  }
}

/// True when a layer of the runtime says something under `key`, nested or dotted.
bool runtime_says(const Inspection& in, std::string_view key) {
  for (const Node& layer : in.model.bootstrap().path("layered_runtime").list("layers")) {
    const Message fixed = Message(layer).message("static_layer");
    if (!fixed) continue;
    const Node* at = fixed.node();
    std::string_view rest = key;
    while (at != nullptr && !rest.empty()) {
      if (at->find(rest) != nullptr) return true;
      const std::size_t dot = rest.find('.');
      if (dot == std::string_view::npos) break;
      at = at->find(rest.substr(0, dot));
      rest.remove_prefix(dot + 1);
    }
  }
  return false;
}

Message connection_monitor(const Inspection& in) {
  for (const Node& one : in.model.bootstrap().path("overload_manager").list("resource_monitors")) {
    const std::string_view name = Message(one).text("name");
    if (name.find("downstream") != std::string_view::npos &&
        name.find("connections") != std::string_view::npos) {
      return Message(one);
    }
  }
  return {};
}

bool has_global_cap(const Inspection& in) {
  return connection_monitor(in) || runtime_says(in, "overload.global_downstream_max_connections");
}

void check_connections(Inspection& in) {
  std::set<const Listener*> done;
  for (const Hcm& hcm : in.model.hcms) {
    const Listener& listener = *hcm.listener;
    if (!is_edge(hcm) || !done.insert(&listener).second) continue;
    const bool filter = std::ranges::any_of(listener.chains, [](const FilterChain* chain) {
      return std::ranges::any_of(chain->filters,
                                 [](const Filter& f) { return f.is("connection_limit"); });
    });
    const bool runtime = runtime_says(
        in, fmt::format("envoy.resource_limits.listener.{}.connection_limit", listener.name));
    if (filter || runtime || has_global_cap(in)) continue;
    in.report("LIM-05", Level::kLow, listener.at.at(),
              fmt::format("nothing bounds the connections of {}",
                          listener.name.empty() ? std::string("this listener")
                                                : fmt::format("listener {}", listener.name)));
  }
}

void check_body(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || !forwards(hcm)) continue;
    const auto bounds = [&](const Filter& filter) {
      return (filter.is("buffer") || filter.is("file_system_buffer")) && is_on(hcm, filter);
    };
    if (std::ranges::any_of(hcm.filters, bounds)) continue;
    const bool per_route = std::ranges::any_of(hcm.all_routes(), [](const Route* route) {
      return route->at.has("per_request_buffer_limit_bytes") ||
             route->at.has("request_body_buffer_limit") ||
             (route->host != nullptr && route->host->at.has("per_request_buffer_limit_bytes"));
    });
    if (per_route) continue;
    Finding& finding = in.report("LIM-06", Level::kMedium, hcm.at.at(),
                                 "no filter bounds the size of a request body");
    finding.affected = forwarding_labels(hcm);
    finding.confidence = Confidence::kLikely;
    finding.remediation = "add envoy.filters.http.buffer with max_request_bytes";
  }
}

void check_heads(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const auto size = hcm.at.number("max_request_headers_kb");
    if (size.value_or(0) > 96) {
      in.report("LIM-07", Level::kLow, hcm.at.at("max_request_headers_kb"),
                fmt::format("request heads of {} KiB are taken: expected 60 or less", *size));
    }
    const Message common = hcm.at.message("common_http_protocol_options");
    const auto count = common.number("max_headers_count");
    if (count.value_or(0) > 200) {
      in.report("LIM-07", Level::kLow, common.at("max_headers_count"),
                fmt::format("{} header fields are taken: expected 100", *count));
    }
  }
}

void check_slow_clients(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm)) continue;
    const std::int64_t head = hcm.at.duration_ms("request_headers_timeout").value_or(0);
    const std::int64_t whole = hcm.at.duration_ms("request_timeout").value_or(0);
    if (hcm.at.duration_ms("stream_idle_timeout") == 0) {
      in.report("LIM-08", Level::kMedium, hcm.at.at("stream_idle_timeout"),
                "a stream on which nothing moves is kept for ever: stream_idle_timeout is 0s");
      continue;
    }
    if (head > 0 && whole > 0) continue;
    if (head == 0 && whole == 0) {
      in.report("LIM-08", Level::kMedium, hcm.at.at("request_headers_timeout"),
                "a client may take for ever to send a request: neither request_headers_timeout "
                "nor request_timeout is set");
    } else if (whole == 0) {
      in.report("LIM-08", Level::kLow, hcm.at.at("request_timeout"),
                "a client may take for ever to send a body: request_timeout is not set")
          .confidence = Confidence::kLikely;
    }
  }
}

void check_idle(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    const Message common = hcm.at.message("common_http_protocol_options");
    const auto idle = common.duration_ms("idle_timeout");
    if (!idle || (*idle > 0 && *idle <= kHour)) continue;
    in.report("LIM-09", Level::kInfo, common.at("idle_timeout"),
              *idle == 0 ? "idle connections are kept for ever"
                         : "idle connections are kept for more than an hour");
  }
}

bool is_streaming(const Route& route) {
  if (route.match.has("grpc") || route.action.has("upgrade_configs")) return true;
  const bool upgrades = std::ranges::any_of(route.match.list("headers"), [](const Node& one) {
    return ascii::iequals(Message(one).text("name"), "upgrade");
  });
  if (upgrades) return true;
  constexpr std::string_view kWords[] = {"ws",    "wss",    "websocket", "websockets",
                                         "sse",   "stream", "streams",   "streaming",
                                         "event", "events", "watch",     "grpc"};
  return has_word(route.path, kWords);
}

bool has_upgrades(const Inspection& in, const Route& route) {
  for (const Hcm& hcm : in.model.hcms) {
    if (route.host == nullptr || hcm.routes != route.host->config) continue;
    const auto duration = hcm.at.message("common_http_protocol_options")
                              .duration_ms("max_stream_duration")
                              .value_or(0);
    if (duration > 0) return true;
  }
  return false;
}

void check_upstream_timeouts(Inspection& in) {
  for (const Route& route : in.model.routes) {
    if (!route.action || route.action.duration_ms("timeout") != 0) continue;
    if (route.action.has("max_stream_duration") || is_streaming(route)) continue;
    if (has_upgrades(in, route)) continue;
    in.report("LIM-10", Level::kMedium, route.action.at("timeout"),
              "an answer of the upstream is waited for without end: timeout is 0s")
        .affected = {route.label()};
  }
  for (const Route& route : in.model.routes) {
    const auto whole = route.action.duration_ms("timeout");
    if (whole.value_or(0) <= 300 * kSecond || is_streaming(route)) continue;
    in.report("LIM-10", Level::kMedium, route.action.at("timeout"),
              fmt::format("an answer of the upstream is waited for {} s: expected 60 s or less",
                          *whole / kSecond))
        .affected = {route.label()};
  }
  for (const Cluster& cluster : in.model.clusters) {
    const auto connect = cluster.at.duration_ms("connect_timeout");
    if (connect.value_or(0) <= 10 * kSecond) continue;
    in.report("LIM-10", Level::kMedium, cluster.at.at("connect_timeout"),
              fmt::format("{}: a connection is waited for {} s: expected 5 s or less", cluster.name,
                          *connect / kSecond));
  }
}

void check_retries(Inspection& in) {
  const auto judge = [&](const Message& holder, const std::string& label) {
    const Message policy = holder.message("retry_policy");
    const auto retries = policy.number("num_retries");
    if (retries.value_or(0) <= 3) return;
    in.report("LIM-11", Level::kMedium, policy.at("num_retries"),
              fmt::format("one request becomes up to {}: expected 3 retries or fewer",
                          *retries == UINT64_MAX ? *retries : *retries + 1))
        .affected = {label};
  };
  for (const Route& route : in.model.routes) judge(route.action, route.label());
  for (const VirtualHost& host : in.model.hosts) {
    judge(host.at, std::string(host.domains.empty() ? "" : host.domains.front()));
  }
}

void check_buffers(Inspection& in) {
  constexpr std::uint64_t kBytesMax = 1024 * 1024;
  std::set<const Listener*> done;
  for (const Hcm& hcm : in.model.hcms) {
    const Listener& listener = *hcm.listener;
    if (!is_edge(hcm) || listener.udp || !done.insert(&listener).second) continue;
    const auto bytes = listener.at.number("per_connection_buffer_limit_bytes");
    if (bytes && *bytes > kBytesMax) {
      in.report("LIM-12", Level::kLow, listener.at.at("per_connection_buffer_limit_bytes"),
                fmt::format("{} bytes are buffered for each connection: expected 32768", *bytes));
    } else if (!bytes) {
      in.report("LIM-12", Level::kLow, listener.at.at(),
                "each connection buffers 1 MiB, the default: expected "
                "per_connection_buffer_limit_bytes: 32768");
    }
  }
}

void check_streams(Inspection& in) {
  constexpr std::uint64_t kStreamsMax = 128;
  for (const Hcm& hcm : in.model.hcms) {
    const EnumWord codec = hcm.at.word("codec_type", enums::kCodecType);
    if (!is_edge(hcm) || codec == "HTTP1" || codec == "HTTP3") continue;
    const Message h2 = hcm.at.message("http2_protocol_options");
    const auto streams = h2.number("max_concurrent_streams");
    if (!streams) {
      in.report("LIM-13", Level::kMedium, h2 ? hcm.at.at("http2_protocol_options") : hcm.at.at(),
                "an HTTP/2 client may open as many streams as the build allows: expected "
                "max_concurrent_streams: 100");
    } else if (*streams > kStreamsMax) {
      in.report(
          "LIM-13", Level::kMedium, h2.at("max_concurrent_streams"),
          fmt::format("an HTTP/2 client may open {} streams at once: expected 100", *streams));
    }
  }
}

void check_overload(Inspection& in) {
  const Message bootstrap = in.model.bootstrap();
  const bool edge = std::ranges::any_of(in.model.hcms, is_edge);
  if (!bootstrap || !edge) return;
  const Message manager = bootstrap.message("overload_manager");
  if (!manager) {
    in.report("LIM-14", Level::kMedium, bootstrap.at(),
              "there is no overload_manager: memory and connections grow until the host ends it");
  } else if (!has_global_cap(in)) {
    in.report("LIM-14", Level::kMedium, bootstrap.at("overload_manager"),
              "the overload manager does not bound the connections of the process: expected a "
              "global_downstream_max_connections monitor");
  }
}

bool has_breakers(const Cluster& cluster) {
  return !cluster.at.message("circuit_breakers").list("thresholds").empty();
}

void check_breakers(Inspection& in) {
  constexpr std::uint64_t kRequestsMax = 1'000'000;
  std::vector<std::string> without;
  const Cluster* first = nullptr;
  for (const Cluster& cluster : in.model.clusters) {
    if (!has_breakers(cluster) && !cluster.at.has("outlier_detection")) {
      if (first == nullptr) first = &cluster;
      without.emplace_back(cluster.name);
    }
    for (const Node& one : cluster.at.message("circuit_breakers").list("thresholds")) {
      const Message at(one);
      for (const char* key : {"max_connections", "max_pending_requests", "max_requests"}) {
        if (at.number(key).value_or(0) < kRequestsMax) continue;
        in.report("LIM-16", Level::kLow, at.at(key),
                  fmt::format("{}: {} is as good as unlimited", cluster.name, key));
        break;
      }
    }
  }
  if (first == nullptr) return;
  in.report("LIM-16", Level::kInfo, first->at.at(),
            fmt::format("no circuit breakers and no outlier detection of their own: {}",
                        join_some(without)))
      .affected = sorted(without);
}

constexpr RuleEntry kRules[] = {
    {"LIM-01", check_rate},        {"LIM-02", check_unused},
    {"LIM-03", check_keys},        {"LIM-04", check_failure_mode},
    {"LIM-05", check_connections}, {"LIM-06", check_body},
    {"LIM-07", check_heads},       {"LIM-08", check_slow_clients},
    {"LIM-09", check_idle},        {"LIM-10", check_upstream_timeouts},
    {"LIM-11", check_retries},     {"LIM-12", check_buffers},
    {"LIM-13", check_streams},     {"LIM-14", check_overload},
    {"LIM-16", check_breakers},
};

}  // namespace

std::span<const RuleEntry> limit_rules() { return kRules; }

}  // namespace merlon::audit::envoy
