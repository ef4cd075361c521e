#include "audit/envoy/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

using Family = std::span<const RuleEntry> (*)();

constexpr std::array<Family, 16> kFamilies = {
    config_rules, exposure_rules,   tls_rules,      certificate_rules, header_rules,   limit_rules,
    path_rules,   forwarding_rules, upstream_rules, cors_rules,        identity_rules, token_rules,
    access_rules, policy_rules,     logging_rules,  secret_rules};

Typed override_in(const Message& holder, const Filter& filter) {
  const Message all = holder.message("typed_per_filter_config");
  if (!all || all.node() == nullptr) return {};
  for (const config::Member& member : all.node()->members()) {
    const std::string_view key = member.key.text();
    if (key != filter.name && filter_kind({}, key) != filter.kind) continue;
    return own_config(Message(member.value));
  }
  return {};
}

/// What one of the route's weighted clusters says, when it switches the filter off: so much of the
/// traffic goes past it.
Typed weighted_exemption(const Route& route, const Filter& filter) {
  for (const Node& one : route.weighted_clusters()) {
    const Typed own = override_in(Message(one), filter);
    if (own.config && (own.config.is_true("disabled") || is_idle_override(own, filter))) return own;
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

bool verifies_peer(const Tls& tls) {
  const Message& check = tls.validation;
  if (check.word("trust_chain_verification", enums::kTrustChain) == "ACCEPT_UNTRUSTED")
    return false;
  if (tls.validation_elsewhere) return true;
  return std::ranges::any_of(
      std::array{"trusted_ca", "system_root_certs", "ca_certificate_provider_instance",
                 "verify_certificate_spki", "verify_certificate_hash", "custom_validator_config"},
      [&](const char* key) { return check.has(key); });
}

bool has_mutual_tls(const FilterChain& chain) {
  return chain.tls != nullptr && chain.tls->at.is_true("require_client_certificate") &&
         verifies_peer(*chain.tls);
}

bool is_edge(const Hcm& hcm) {
  return !hcm.listener->is_local() && !hcm.listener->is_egress() && !has_mutual_tls(*hcm.chain);
}

bool answers_challenges(const Route& route) noexcept {
  return route.path.starts_with("/.well-known/acme-challenge");
}

Typed own_config(const Message& entry) {
  const Typed out = typed(entry);
  const bool wraps = out.is("FilterConfig") && out.config.has("config");
  return wraps && !out.config.is_true("disabled") ? typed(out.config.message("config")) : out;
}

Typed override_of(const Route& route, const Filter& filter) {
  Typed out = weighted_exemption(route, filter);
  if (!out.config) out = override_in(route.at, filter);
  if (!out.config && route.host != nullptr) out = override_in(route.host->at, filter);
  if (!out.config && route.host != nullptr && route.host->config != nullptr) {
    out = override_in(route.host->config->at, filter);
  }
  return out;
}

Message rbac_of(const Route& route, const Filter& filter) {
  const Typed own = override_of(route, filter);
  return own.is("RBACPerRoute") ? own.config.message("rbac") : filter.config;
}

bool is_written_here(const Hcm& hcm, std::string_view name) {
  return std::ranges::any_of(hcm.filters, [&](const Filter& filter) {
    if (!filter.config) return false;
    for (const char* runs_code : {"lua", "wasm", "ext_proc", "golang"}) {
      if (filter.is(runs_code)) return true;
    }
    bool found = false;
    if (!filter.is("header_mutation")) return false;
    walk(*filter.config.node(),
         [&](const Node& node) { found = found || ascii::iequals(node.text(), name); });
    return found;
  });
}

bool is_open_ending(std::string_view name) {
  if (name.starts_with('.')) name.remove_prefix(1);
  return !name.empty() && name.find('.') == std::string_view::npos &&
         !is_private(fmt::format("x.{}", name));
}

bool has_word(std::string_view path, std::span<const std::string_view> words) {
  while (!path.empty()) {
    const auto end = std::ranges::find_if_not(path, ascii::is_alnum);
    const std::string_view word(path.begin(), end);
    if (std::ranges::any_of(words, [&](std::string_view w) { return ascii::iequals(w, word); })) {
      return true;
    }
    path.remove_prefix(std::min(word.size() + 1, path.size()));
  }
  return false;
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
  for (const Node& one : route.weighted_clusters()) {
    out.push_back(Message(one).text("name"));
  }
  return out;
}

std::vector<std::string_view> clusters_of(const Filter& tcp_proxy) {
  std::vector<std::string_view> out;
  if (const std::string_view name = tcp_proxy.config.text("cluster"); !name.empty())
    out.push_back(name);
  for (const Node& one : tcp_proxy.config.message("weighted_clusters").list("clusters")) {
    out.push_back(Message(one).text("name"));
  }
  return out;
}

std::vector<std::string_view> mirrors_of(const Route& route) {
  std::vector<std::string_view> out;
  for (const Node& one : route.action.list("request_mirror_policies")) {
    out.push_back(Message(one).text("cluster"));
  }
  return out;
}

std::vector<const Upstream*> endpoints_behind(const Model& model, const Cluster& cluster) {
  std::vector<const Upstream*> out;
  const auto add = [&](const Cluster& one) {
    for (const Upstream& endpoint : one.endpoints) out.push_back(&endpoint);
  };
  add(cluster);
  for (const std::string_view name : cluster.members) {
    if (const Cluster* member = model.cluster(name)) add(*member);
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

}  // namespace merlon::audit::envoy
