#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

// Which filters really decide who may pass: one that is there may be off, ask nothing or only
// watch.
namespace merlon::audit::envoy {
namespace {

bool refuses(const Message& rules) {
  if (!rules) return false;
  const EnumWord action = rules.word("action");
  if (action == "LOG") return false;
  const Message policies = rules.message("policies");
  const bool empty = !policies || policies.node()->members().empty();
  return action != "DENY" || !empty;  // ALLOW without policies allows nobody
}

bool decides_rbac(const Message& rbac) {
  return rbac.has("matcher") || refuses(rbac.message("rules"));
}

/// A requirement that a request without a token meets.
bool is_optional(const Message& requirement) {
  if (requirement.has("allow_missing") || requirement.has("allow_missing_or_failed")) return true;
  const auto any = requirement.message("requires_any").list("requirements");
  return std::ranges::any_of(any, [](const Node& one) { return is_optional(Message(one)); });
}

/// True when some rule asks for a token. An optional one counts: another rule speaks of it.
bool asks_for_tokens(const Message& jwt) {
  const auto rules = jwt.list("rules");
  return jwt.has("filter_state_rules") || std::ranges::any_of(rules, [](const Node& one) {
           const Message rule(one);
           const Message own = rule.message("requires");
           return (own && !own.node()->members().empty()) || rule.has("requirement_name");
         });
}

bool decides_ext_authz(const Message& config) {
  return fraction(config.message("filter_enabled")).value_or(1) > 0 ||
         config.message("deny_at_disable").is_true("default_value");
}

/// What the filter's own configuration asks of requests, given that it is on.
bool decides_when_on(const Filter& filter) {
  // One without a configuration has it elsewhere, or is of an API that is not read.
  if (!filter.config) return true;
  if (filter.is("jwt_authn")) return asks_for_tokens(filter.config);
  if (filter.is("ext_authz")) return decides_ext_authz(filter.config);
  if (filter.is("rbac")) return decides_rbac(filter.config);
  return true;
}

bool is_everywhere(const Message& range) {
  return range && range.number("prefix_len").value_or(0) == 0;  // absent is 0 to Envoy
}

bool all_true(std::span<const Node> rules) {
  return !rules.empty() &&
         std::ranges::all_of(rules, [](const Node& one) { return is_true_for_any(Message(one)); });
}

bool one_true(std::span<const Node> rules) {
  return std::ranges::any_of(rules, [](const Node& one) { return is_true_for_any(Message(one)); });
}

}  // namespace

Message requirement_named(const Message& jwt, std::string_view name) {
  const Message map = jwt.message("requirement_map");
  return map ? Message(map.node()->find(name)) : Message{};
}

bool matches_all(const Message& matcher) {
  if (!matcher || matcher.is_true("invert_match")) return false;
  const std::string_view name = matcher.text("name");
  if (matcher.is_true("present_match")) return name.starts_with(':');
  const Message text = matcher.message("string_match");
  const std::string_view prefix =
      text.has("prefix") ? text.text("prefix") : matcher.text("prefix_match");
  return ascii::iequals(name, ":path") && prefix == "/";
}

bool is_true_for_any(const Message& rule) {
  if (rule.is_true("any")) return true;
  for (const char* key : {"source_ip", "direct_remote_ip", "remote_ip", "destination_ip"}) {
    if (is_everywhere(rule.message(key))) return true;
  }
  if (matches_all(rule.message("header"))) return true;
  if (rule.path("url_path.path").text("prefix") == "/") return true;
  return one_true(rule.message("or_ids").list("ids")) ||
         one_true(rule.message("or_rules").list("rules")) ||
         all_true(rule.message("and_ids").list("ids")) ||
         all_true(rule.message("and_rules").list("rules"));
}

bool is_access_kind(std::string_view kind) noexcept {
  constexpr std::string_view kKinds[] = {"jwt_authn", "ext_authz",    "basic_auth",
                                         "oauth2",    "api_key_auth", "rbac"};
  return std::ranges::find(kKinds, kind) != std::end(kKinds);
}

bool is_idle_override(const Typed& own, const Filter& filter) {
  if (own.is("RBACPerRoute")) return !decides_rbac(own.config.message("rbac"));
  return filter.is("jwt_authn") && own.config.has("requirement_name") &&
         is_optional(requirement_named(filter.config, own.config.text("requirement_name")));
}

bool is_disabled(const Route& route, const Filter& filter) {
  const Typed own = override_of(route, filter);
  if (own.is("FilterConfig")) {
    // With `config` and without `disabled` it switches the filter on.
    return own.config.flag("disabled").value_or(filter.disabled && !own.config.has("config"));
  }
  if (own.config) return own.config.is_true("disabled") || is_idle_override(own, filter);
  return filter.disabled;
}

bool decides(const Filter& filter) {
  return is_access_kind(filter.kind) && !filter.disabled && decides_when_on(filter);
}

bool decides(const Route& route, const Filter& filter) {
  if (!is_access_kind(filter.kind) || is_disabled(route, filter)) return false;
  // What a route says in place of the filter's configuration, is_disabled() has looked at.
  const Typed own = override_of(route, filter);
  const bool replaced = own.is("RBACPerRoute") || own.config.has("requirement_name") ||
                        (own.is("FilterConfig") && own.config.has("config"));
  return replaced || decides_when_on(filter);
}

bool is_open_by_nature(std::string_view path) {
  constexpr std::string_view kWords[] = {"health", "ready",  "livez",  "ping",     ".well-known",
                                         "live",   "login",  "oauth",  "callback", "favicon",
                                         "status", "public", "static", "jwks",     "signin"};
  return std::ranges::any_of(
      kWords, [&](std::string_view w) { return path.find(w) != std::string_view::npos; });
}

bool is_operational(std::string_view path) {
  constexpr std::string_view kPaths[] = {"/health", "/ready", "/live",   "/stats/prometheus",
                                         "/ping",   "/alive", "/metrics"};
  return std::ranges::any_of(kPaths, [&](std::string_view one) { return path.starts_with(one); });
}

bool has_access_control(const Hcm& hcm) {
  const auto routes = hcm.all_routes();
  const auto somewhere = [&](const Filter& filter) {
    return decides(filter) ||
           std::ranges::any_of(routes, [&](const Route* route) { return decides(*route, filter); });
  };
  return std::ranges::any_of(hcm.filters, somewhere) ||
         std::ranges::any_of(hcm.chain->filters, [](const Filter& f) { return decides(f); });
}

}  // namespace merlon::audit::envoy
