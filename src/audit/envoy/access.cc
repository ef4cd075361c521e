#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "audit/nginx/pattern.h"
#include "base/ascii.h"

// Which filters really decide who may pass: one that is there may be off, ask nothing or only
// watch.
namespace merlon::audit::envoy {
namespace {

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

bool refuses(const Message& rules) {
  if (!rules) return false;
  const EnumWord action = rules.word("action", enums::kRbacAction);
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

/// True when some rule asks for a token and is reached.
bool asks_for_tokens(const Message& jwt) {
  const auto rules = jwt.list("rules");
  return jwt.has("filter_state_rules") || std::ranges::any_of(rules, [&](const Node& one) {
           return asks_for_token(Message(one)) && !rule_hiding(jwt, one);
         });
}

/// True when a StringMatcher takes every path, as far as samples tell.
bool takes_every_path(const Message& matcher) {
  return matches(matcher, "/") == true && matches(matcher, "/7/~sample.X-_") == true;
}

/// The paths that a RouteMatch takes, when they are all that it asks for.
struct PathMatch {
  std::string_view text;
  bool exact = false;
  bool ignore_case = false;

  [[nodiscard]] bool same(std::string_view other) const {
    return ignore_case ? ascii::iequals(other, text) : other == text;
  }
  [[nodiscard]] bool starts(std::string_view path) const {
    return same(path.substr(0, text.size()));
  }
};

std::optional<PathMatch> only_path(const Message& match) {
  const std::size_t cased = match.has("case_sensitive") ? 1 : 0;
  if (!match || match.node()->members().size() != 1 + cased) return {};
  const bool ignore_case = match.flag("case_sensitive") == false;
  if (match.has("path")) return PathMatch{match.text("path"), true, ignore_case};
  for (const char* key : {"prefix", "path_separated_prefix"}) {
    if (match.has(key)) return PathMatch{match.text(key), false, ignore_case};
  }
  return {};
}

/// True when a regular expression takes what begins with `start`, as far as samples tell.
bool takes_start(std::string_view regex, std::string_view start) {
  constexpr std::string_view kSamples[] = {"", "a", "7/~sample.x", "-Q_0"};
  return std::ranges::all_of(kSamples, [&](std::string_view end) {
    return matches_whole(regex, fmt::format("{}{}", start, end)).value_or(false);
  });
}

bool regex_takes_all_of(const Message& first, const Message& later) {
  const std::string_view regex = first.message("safe_regex").text("regex");
  if (regex.empty() || first.node()->members().size() != 1) return false;
  if (later.flag("case_sensitive") == false) return false;
  if (later.has("path")) return matches_whole(regex, later.text("path")).value_or(false);
  if (later.has("prefix")) return takes_start(regex, later.text("prefix"));
  const std::string_view parent = later.text("path_separated_prefix");
  return !parent.empty() && takes_start(regex, fmt::format("{}/", parent));
}

/// True when a permission of RBAC holds for a GET of `path`; nullopt when it is not known.
std::optional<bool> permits(const Message& permission, std::string_view path);

std::optional<bool> permits_any(std::span<const Node> permissions, std::string_view path) {
  std::optional<bool> out = false;
  for (const Node& one : permissions) {
    const auto holds = permits(Message(one), path);
    if (holds == true) return true;
    if (!holds) out = {};
  }
  return out;
}

std::optional<bool> permits_all(std::span<const Node> permissions, std::string_view path) {
  std::optional<bool> out = true;
  for (const Node& one : permissions) {
    const auto holds = permits(Message(one), path);
    if (holds == false) return false;
    if (!holds) out = {};
  }
  return out;
}

std::optional<bool> permits(const Message& permission, std::string_view path) {
  if (permission.is_true("any")) return true;
  if (const Message url = permission.path("url_path.path")) return matches(url, path);
  if (const Message header = permission.message("header")) {
    const bool is_path = ascii::iequals(header.text("name"), ":path");
    if (!is_path && !ascii::iequals(header.text("name"), ":method")) return {};
    if (header.is_true("invert_match")) return {};
    return matches(header.message("string_match"), is_path ? path : "GET");
  }
  if (const Message either = permission.message("or_rules")) {
    return permits_any(either.list("rules"), path);
  }
  if (const Message both = permission.message("and_rules")) {
    return permits_all(both.list("rules"), path);
  }
  if (const Message not_rule = permission.message("not_rule")) {
    const auto holds = permits(not_rule, path);
    return holds ? std::optional(!*holds) : holds;
  }
  return {};
}

/// True when nobody in particular is asked for on `path`: an ALLOW lets everyone through, or no
/// DENY is about it.
bool leaves_open(const Message& rules, std::string_view path) {
  constexpr std::size_t kLookedAtMax = 1000;
  const Message policies = rules.message("policies");
  if (!policies || policies.node()->members().size() > kLookedAtMax) return false;
  const bool denies = rules.word("action", enums::kRbacAction) == "DENY";
  const auto speaks = [&](const config::Member& one) {
    const Message policy(one.value);
    const auto holds = permits_any(policy.list("permissions"), path);
    if (denies) return holds.value_or(true);
    const bool conditional = policy.has("condition") || policy.has("checked_condition");
    return holds.value_or(false) && !conditional && one_true(policy.list("principals"));
  };
  return std::ranges::any_of(policies.node()->members(), speaks) != denies;
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

}  // namespace

std::optional<bool> matches_whole(std::string_view regex, std::string_view text) {
  constexpr std::size_t kStepsMax = 5000;  // paths are short, and RE2 does not backtrack
  return nginx::Pattern(fmt::format("^(?:{})$", regex), false).search(text, kStepsMax);
}

std::optional<bool> matches(const Message& matcher, std::string_view text) {
  std::string value(text);
  const bool ignore_case = matcher.is_true("ignore_case");
  const auto cased = [&](std::string_view key) {
    std::string out(matcher.text(key));
    if (ignore_case) std::ranges::transform(out, out.begin(), ascii::lower);
    return out;
  };
  if (ignore_case) std::ranges::transform(value, value.begin(), ascii::lower);
  if (matcher.has("exact")) return value == cased("exact");
  if (matcher.has("prefix")) return value.starts_with(cased("prefix"));
  if (matcher.has("suffix")) return value.ends_with(cased("suffix"));
  if (matcher.has("contains")) return value.find(cased("contains")) != std::string::npos;
  const Message regex = matcher.message("safe_regex");
  return regex ? matches_whole(regex.text("regex"), text) : std::nullopt;
}

bool takes_all_of(const Message& first, const Message& later) {
  const auto wide = only_path(first);
  if (!wide) return first && regex_takes_all_of(first, later);
  const bool parted = first.has("path_separated_prefix");
  if (!wide->exact && !parted && (wide->text.empty() || wide->text == "/")) return true;
  if (wide->exact && !later.has("path")) return false;
  if (later.flag("case_sensitive") == false && !wide->ignore_case) return false;
  for (const char* key : {"path", "prefix", "path_separated_prefix"}) {
    if (!later.has(key)) continue;
    const std::string_view text = later.text(key);
    if (wide->exact) return wide->same(text);
    if (!wide->starts(text)) return false;
    const std::string_view rest = text.substr(wide->text.size());
    return !parted || rest.starts_with('/') || (rest.empty() && !later.has("prefix"));
  }
  return false;
}

std::optional<bool> takes_path(const Message& match, std::string_view path) {
  const auto want = only_path(match);
  if (!want) return {};
  if (want->exact) return want->same(path);
  if (!want->starts(path)) return false;
  const std::string_view rest = path.substr(want->text.size());
  return match.has("prefix") || rest.empty() || rest.front() == '/';
}

bool asks_for_token(const Message& rule) {
  const Message own = rule.message("requires");
  return (own && !own.node()->members().empty()) || rule.has("requirement_name");
}

Message rule_hiding(const Message& jwt, const Node& rule) {
  constexpr std::size_t kLookedAtMax = 100;  // each rule is compared with these before it
  const Message match = Message(rule).message("match");
  const auto rules = jwt.list("rules");
  for (const Node& one : rules.first(std::min(rules.size(), kLookedAtMax))) {
    if (&one == &rule) break;
    const Message first(one);
    if (!asks_for_token(first) && takes_all_of(first.message("match"), match)) return first;
  }
  return {};
}

bool asks_for_token(const Message& jwt, std::string_view path) {
  if (jwt.has("filter_state_rules")) return true;
  for (const Node& one : jwt.list("rules")) {
    const Message rule(one);
    const auto matched = takes_path(rule.message("match"), path);
    if (asks_for_token(rule) ? matched.value_or(true) : matched.value_or(false)) {
      return asks_for_token(rule);
    }
  }
  return false;
}

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
  return ascii::iequals(name, ":path") && (prefix == "/" || takes_every_path(text));
}

bool is_true_for_any(const Message& rule) {
  if (rule.is_true("any")) return true;
  for (const char* key : {"source_ip", "direct_remote_ip", "remote_ip", "destination_ip"}) {
    if (is_everywhere(rule.message(key))) return true;
  }
  if (matches_all(rule.message("header"))) return true;
  if (const Message url = rule.path("url_path.path"); url && takes_every_path(url)) return true;
  return one_true(rule.message("or_ids").list("ids")) ||
         one_true(rule.message("or_rules").list("rules")) ||
         all_true(rule.message("and_ids").list("ids")) ||
         all_true(rule.message("and_rules").list("rules"));
}

bool is_for_everyone(const Message& policy) {
  const bool conditional = policy.has("condition") || policy.has("checked_condition");
  return !conditional && one_true(policy.list("permissions")) &&
         one_true(policy.list("principals"));
}

bool allows_everyone(const Message& rules) {
  const EnumWord action = rules.word("action", enums::kRbacAction);
  const Message policies = rules.message("policies");
  if (!policies || (!action.empty() && action != "ALLOW")) return false;
  return std::ranges::any_of(policies.node()->members(), [](const config::Member& one) {
    return is_for_everyone(Message(one.value));
  });
}

bool is_access_kind(std::string_view kind) noexcept {
  constexpr std::string_view kKinds[] = {"jwt_authn", "ext_authz",    "basic_auth",
                                         "oauth2",    "api_key_auth", "rbac"};
  return std::ranges::find(kKinds, kind) != std::end(kKinds);
}

bool is_idle_override(const Typed& own, const Filter& filter) {
  if (own.is("RBACPerRoute")) {
    const Message rbac = own.config.message("rbac");
    return !decides_rbac(rbac) || (!rbac.has("matcher") && allows_everyone(rbac.message("rules")));
  }
  return filter.is("jwt_authn") && own.config.has("requirement_name") &&
         is_optional(requirement_named(filter.config, own.config.text("requirement_name")));
}

bool is_disabled(const Route& route, const Filter& filter) {
  const Typed own = override_of(route, filter);
  if (own.is("FilterConfig")) return own.config.flag("disabled").value_or(filter.disabled);
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
  const bool replaced = own.is("RBACPerRoute") || own.config.has("requirement_name");
  return replaced || decides_when_on(filter);
}

bool decides(const Route& route, const Filter& filter, std::string_view path) {
  if (!decides(route, filter)) return false;
  if (path.empty()) return true;
  if (filter.is("rbac")) {
    const Message rbac = rbac_of(route, filter);
    const bool by_rules = rbac.has("rules") && !rbac.has("matcher");
    return !by_rules || !leaves_open(rbac.message("rules"), path);
  }
  const bool jwt = filter.is("jwt_authn") && filter.config && !override_of(route, filter).config;
  return !jwt || asks_for_token(filter.config, path);
}

bool is_open_by_nature(std::string_view path) {
  constexpr std::string_view kWords[] = {
      "health", "healthz", "healthcheck", "ready",    "readyz", "readiness", "live",
      "livez",  "ping",    "login",       "liveness", "signin", "callback",  "oauth",
      "oauth2", "favicon", "status",      "public",   "static", "jwks",      "robots"};
  return path.find("/.well-known") != std::string_view::npos || has_word(path, kWords);
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
