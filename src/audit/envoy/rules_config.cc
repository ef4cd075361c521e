#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

void check_domains(Inspection& in) {
  for (const RouteConfig& config : in.model.route_configs) {
    std::map<std::string, Mark> seen;
    for (const VirtualHost* host : config.hosts) {
      for (const Node& one : host->at.list("domains")) {
        std::string name(one.text());
        std::ranges::transform(name, name.begin(), ascii::lower);
        const auto [first, added] = seen.emplace(name, one.at());
        if (added) continue;
        in.report("CFG-03", Level::kLow, one.at(),
                  fmt::format("{} is listed twice: Envoy refuses the route table", name))
            .trail.push_back({first->second, "first listed here"});
      }
    }
  }
}

bool is_v2(std::string_view type) {
  return type.find("envoy.api.v2") != std::string_view::npos ||
         type.find(".v2.") != std::string_view::npos ||
         type.find(".v2alpha") != std::string_view::npos;
}

/// Fields that Envoy has deprecated or removed, and what took their place.
struct Old {
  std::string_view field;
  std::string_view instead;
};

void report_old(Inspection& in, const Message& at, std::string_view what,
                std::initializer_list<Old> fields) {
  for (const Old& old : fields) {
    if (!at.has(old.field)) continue;
    in.report("CFG-04", Level::kInfo, at.at(old.field),
              fmt::format("{} of {} is deprecated: use {}", old.field, what, old.instead));
  }
}

void check_deprecated(Inspection& in) {
  for (const auto& tree : in.model.trees) {
    const Node* first = nullptr;
    for (const Node& root : tree->documents()) {
      walk(root, [&](const Node& node) {
        const Node* type = node.find("@type");
        if (type == nullptr || !is_v2(type->text())) return;
        const bool before = first == nullptr || type->at().line < first->at().line;
        if (before) first = type;
      });
    }
    if (first == nullptr) continue;
    in.report("CFG-04", Level::kInfo, first->at(),
              "types of the v2 API were removed in Envoy 1.18: write the v3 ones");
  }
  for (const Hcm& hcm : in.model.hcms) {
    report_old(in, hcm.at.message("http2_protocol_options"), "http2_protocol_options",
               {{"stream_error_on_invalid_http_messaging",
                 "override_stream_error_on_invalid_http_message"}});
  }
  for (const FilterChain& chain : in.model.chains) {
    report_old(in, chain.at, "filter chains", {{"tls_context", "transport_socket"}});
  }
  for (const Cluster& cluster : in.model.clusters) {
    report_old(in, cluster.at, "clusters",
               {{"hosts", "load_assignment"},
                {"tls_context", "transport_socket"},
                {"http2_protocol_options", "typed_extension_protocol_options"},
                {"dns_resolvers", "typed_dns_resolver_config"}});
  }
  report_old(in, in.model.bootstrap().message("admin"), "admin",
             {{"access_log_path", "access_log"}});
}

/// A key of a runtime layer, dotted or nested; nullptr when it has none.
const Node* runtime_key(const Node& layer, std::string_view dotted) {
  if (const Node* whole = layer.find(dotted)) return whole;
  const std::size_t dot = dotted.find('.');
  const Node* inner = dot == std::string_view::npos ? nullptr : layer.find(dotted.substr(0, dot));
  return inner == nullptr ? nullptr : runtime_key(*inner, dotted.substr(dot + 1));
}

void check_deprecated_runtime(Inspection& in) {
  for (const Node& layer : in.model.bootstrap().path("layered_runtime").list("layers")) {
    const Message fixed = Message(layer).message("static_layer");
    if (!fixed) continue;
    const Node* cap = runtime_key(*fixed.node(), "overload.global_downstream_max_connections");
    if (cap == nullptr) continue;
    in.report("CFG-04", Level::kInfo, cap->at(),
              "overload.global_downstream_max_connections of the runtime is deprecated: use the "
              "resource monitor envoy.resource_monitors.global_downstream_max_connections");
  }
}

/// The untyped `config` of filters, which Envoy refuses since 1.18: the first of each file.
void check_untyped(Inspection& in) {
  for (const auto& tree : in.model.trees) {
    const Node* first = nullptr;
    for (const Node& root : tree->documents()) {
      walk(root, [&](const Node& node) {
        const Node* config = untyped_config(node);
        if (config == nullptr) return;
        if (first == nullptr || config->at().line < first->at().line) first = config;
      });
    }
    if (first == nullptr) continue;
    in.report("CFG-04", Level::kInfo, first->at(),
              "the \"config\" of filters was removed in Envoy 1.18: write typed_config with its "
              "@type");
  }
}

/// Where runtime layers put `envoy.resource_limits.listener.NAME`, as nested keys or dotted ones.
void check_orphans(Inspection& in) {
  if (in.model.bootstrap().has("dynamic_resources")) return;
  constexpr std::string_view kPath[] = {"envoy", "resource_limits", "listener"};
  constexpr std::string_view kDotted = "envoy.resource_limits.listener.";
  const auto judge = [&](const Node& key, std::string_view name) {
    const bool known = std::ranges::any_of(
        in.model.listeners, [&](const Listener& listener) { return listener.name == name; });
    if (known) return;
    in.report("CFG-05", Level::kMedium, key.at(),
              fmt::format("no listener is called {}: the limit limits nothing", name));
  };
  for (const Node& layer : in.model.bootstrap().path("layered_runtime").list("layers")) {
    const Message fixed = Message(layer).message("static_layer");
    if (!fixed) continue;
    // Without its first word the key is one that Envoy never asks for.
    for (const config::Member& member : fixed.node()->members()) {
      const bool bare = member.key.text() == "resource_limits" ||
                        member.key.text().starts_with("resource_limits.listener.");
      if (!bare) continue;
      in.report("CFG-05", Level::kMedium, member.key.at(),
                "the limit limits nothing: Envoy reads envoy.resource_limits.listener");
    }
    for (const config::Member& member : fixed.node()->members()) {
      const std::string_view key = member.key.text();
      if (!key.starts_with(kDotted)) continue;
      const std::string_view rest = key.substr(kDotted.size());
      judge(member.key, rest.substr(0, rest.rfind('.')));
    }
    const Node* at = fixed.node();
    for (const std::string_view step : kPath) at = at == nullptr ? nullptr : at->find(step);
    if (at == nullptr) continue;
    for (const config::Member& member : at->members()) judge(member.key, member.key.text());
  }
}

/// Of these Envoy takes one (a oneof of its API) and refuses the whole where there are two.
void judge_choice(Inspection& in, const Message& at, std::initializer_list<std::string_view> of) {
  std::string_view first;
  for (const std::string_view field : of) {
    if (!at.has(field)) continue;
    if (!first.empty()) {
      const Mark mark = at.at(field);
      const std::string what =
          fmt::format("{} and {} exclude each other: Envoy refuses both together", first, field);
      in.report("CFG-01", Level::kHigh, mark, what);
      in.out.gaps.push_back({mark, mark.source == nullptr ? "" : mark.source->path, what});
      return;
    }
    first = field;
  }
}

void check_choices(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    judge_choice(in, hcm.at, {"rds", "route_config", "scoped_routes"});
  }
  for (const Route& route : in.model.routes) {
    judge_choice(in, route.match,
                 {"prefix", "path", "safe_regex", "connect_matcher", "path_separated_prefix",
                  "path_match_policy"});
    judge_choice(
        in, route.at,
        {"route", "redirect", "direct_response", "filter_action", "non_forwarding_action"});
    judge_choice(in, route.action,
                 {"cluster", "cluster_header", "weighted_clusters", "cluster_specifier_plugin",
                  "inline_cluster_specifier_plugin"});
  }
  each_filter(in, "jwt_authn", [&](const Hcm&, std::size_t, const Message& config) {
    const Message providers = config.message("providers");
    if (!providers) return;
    for (const config::Member& one : providers.node()->members()) {
      judge_choice(in, Message(one.value), {"remote_jwks", "local_jwks"});
    }
  });
}

constexpr RuleEntry kRules[] = {{"CFG-01", check_choices},    {"CFG-03", check_domains},
                                {"CFG-04", check_deprecated}, {"CFG-04", check_deprecated_runtime},
                                {"CFG-04", check_untyped},    {"CFG-05", check_orphans}};

}  // namespace

std::span<const RuleEntry> config_rules() { return kRules; }

}  // namespace merlon::audit::envoy
