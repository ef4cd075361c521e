#include "audit/envoy/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

using Family = std::span<const RuleEntry> (*)();

constexpr std::array<Family, 14> kFamilies = {
    config_rules,   exposure_rules, tls_rules,        certificate_rules, header_rules,
    limit_rules,    path_rules,     forwarding_rules, upstream_rules,    cors_rules,
    identity_rules, access_rules,   logging_rules,    secret_rules};

Typed override_in(const Message& holder, const Filter& filter) {
  const Message all = holder.message("typed_per_filter_config");
  if (!all || all.node() == nullptr) return {};
  for (const config::Member& member : all.node()->members()) {
    const std::string_view key = member.key.text();
    if (key != filter.name && filter_kind({}, key) != filter.kind) continue;
    return typed(Message(member.value));
  }
  return {};
}

}  // namespace

Finding& Inspection::report(std::string_view rule, Level level, Mark at, std::string message) {
  return add_finding(out, options, rule, level, std::move(at), std::move(message));
}

void Inspection::not_checked(std::string_view rule, std::string_view why) {
  add_not_checked(out, rule, why);
}

void run_rules(Inspection& inspection) {
  run_families(std::span<const Family>(kFamilies), inspection);
}

std::vector<std::string_view> rule_ids() { return ids_of(std::span<const Family>(kFamilies)); }

bool has_mutual_tls(const FilterChain& chain) {
  return chain.tls != nullptr && chain.tls->at.is_true("require_client_certificate");
}

bool is_edge(const Hcm& hcm) {
  return !hcm.listener->is_local() && !hcm.listener->is_egress() && !has_mutual_tls(*hcm.chain);
}

Typed override_of(const Route& route, const Filter& filter) {
  Typed out = override_in(route.at, filter);
  if (!out.config && route.host != nullptr) out = override_in(route.host->at, filter);
  if (!out.config && route.host != nullptr && route.host->config != nullptr) {
    out = override_in(route.host->config->at, filter);
  }
  return out;
}

bool is_disabled(const Route& route, const Filter& filter) {
  const Typed own = override_of(route, filter);
  if (own.is("FilterConfig")) {
    // With `config` and without `disabled` it switches the filter on.
    return own.config.flag("disabled").value_or(filter.disabled && !own.config.has("config"));
  }
  if (own.config) return own.config.is_true("disabled");
  return filter.disabled;
}

bool is_access_kind(std::string_view kind) noexcept {
  constexpr std::string_view kKinds[] = {"jwt_authn", "ext_authz",    "basic_auth",
                                         "oauth2",    "api_key_auth", "rbac"};
  return std::ranges::find(kKinds, kind) != std::end(kKinds);
}

bool has_access_control(const Hcm& hcm) {
  return std::ranges::any_of(hcm.filters, [](const Filter& f) { return is_access_kind(f.kind); });
}

std::vector<std::string> sorted(std::vector<std::string> words) {
  std::ranges::sort(words);
  const auto repeated = std::ranges::unique(words);
  words.erase(repeated.begin(), repeated.end());
  return words;
}

std::vector<std::string> labels(const Hcm& hcm) {
  std::vector<std::string> out;
  for (const Route* route : hcm.all_routes()) out.push_back(route->label());
  return sorted(std::move(out));
}

std::vector<std::string_view> clusters_of(const Route& route) {
  std::vector<std::string_view> out;
  if (!route.cluster().empty()) out.push_back(route.cluster());
  for (const Node& one : route.action.message("weighted_clusters").list("clusters")) {
    out.push_back(Message(one).text("name"));
  }
  return out;
}

bool removes_header(const Route& route, std::string_view field, std::string_view header) {
  const auto in = [&](const Message& holder) {
    return std::ranges::any_of(holder.list(field),
                               [&](const Node& one) { return ascii::iequals(one.text(), header); });
  };
  if (in(route.at)) return true;
  if (route.host == nullptr) return false;
  return in(route.host->at) || (route.host->config != nullptr && in(route.host->config->at));
}

bool is_true_for_any(const Message& rule) noexcept { return rule.is_true("any"); }

}  // namespace merlon::audit::envoy
