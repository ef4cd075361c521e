#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "audit/nginx/origin_witness.h"
#include "audit/nginx/pattern.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// One CORS policy, wherever it is written: in a route, a virtual host, a table or a filter.
struct Policy {
  Message at;
  std::vector<std::string> affected;
  bool read = true;  ///< false where no filter of the connection manager reads it
};

bool is_off(const Message& policy) {
  const auto enabled = fraction(policy.message("filter_enabled"));
  return (enabled && *enabled == 0) || policy.flag("enabled") == false;
}

/// True when a filter reads the policies of a route table, or may: some are chosen by a match, or
/// have their configuration elsewhere.
bool is_read(const RouteConfig* config) {
  const auto reads = [](const Filter& filter) {
    return filter.is("cors") || filter.is("composite") || !filter.config;
  };
  return config == nullptr || config->users.empty() ||
         std::ranges::any_of(config->users, [&](const Hcm* user) {
           return std::ranges::any_of(user->filters, reads);
         });
}

class Collected {
 public:
  std::vector<Policy> policies;

  void add(const Message& at, std::string label, const RouteConfig* config) {
    if (!at || is_off(at) || !seen_.insert(at.node()).second) return;
    policies.push_back({at, {std::move(label)}, is_read(config)});
  }
  /// Those that a route, a host or a table holds.
  void add_all_of(const Message& holder, const std::string& label, const RouteConfig* config) {
    add(holder.message("cors"), label, config);
    const Message all = holder.message("typed_per_filter_config");
    if (!all) return;
    for (const config::Member& member : all.node()->members()) {
      const Typed own = own_config(Message(member.value));
      if (own.is("CorsPolicy")) add(own.config, label, config);
    }
  }

 private:
  std::set<const Node*> seen_;
};

std::vector<Policy> policies(const Inspection& in) {
  Collected out;
  for (const Route& route : in.model.routes) {
    const RouteConfig* config = route.host == nullptr ? nullptr : route.host->config;
    out.add_all_of(route.at, route.label(), config);
    for (const Node& one : route.weighted_clusters()) {
      out.add_all_of(Message(one), route.label(), config);
    }
    out.add(route.action.message("cors"), route.label(), config);
  }
  for (const VirtualHost& host : in.model.hosts) {
    out.add_all_of(host.at, std::string(host.domains.empty() ? "" : host.domains.front()),
                   host.config);
  }
  for (const RouteConfig& config : in.model.route_configs) {
    out.add_all_of(config.at, std::string(config.name), &config);
  }
  return std::move(out.policies);
}

/// Reports what a policy lets in; where no filter reads it, what it would.
Finding& report_let_in(Inspection& in, const Policy& policy, std::string_view rule, Level level,
                       const Mark& at, std::string what) {
  if (!policy.read) what += " (without effect: no cors filter reads the policy)";
  Finding& finding = in.report(rule, policy.read ? level : Level::kInfo, at, std::move(what));
  finding.affected = policy.affected;
  return finding;
}

/// The registrable end of a host, "example.com": whoever owns it is meant to be let in.
bool is_bare_suffix(std::string_view suffix) {
  return !suffix.empty() && suffix.front() != '.' && suffix.find("://") == std::string_view::npos;
}

/// An origin of someone else that a matcher lets through, "" when none is known; `any` when the
/// matcher takes every origin.
std::string witness_of(const Message& matcher, bool& any, std::string& why) {
  if (matcher.has("prefix")) {
    const std::string_view prefix = matcher.text("prefix");
    const bool scheme_only =
        prefix == "http" || prefix == "https" || prefix == "https://" || prefix == "http://";
    if (prefix.empty() || scheme_only) any = true;
    why = "a prefix has no end";
    // Ports follow a colon: whoever controls the host also controls them.
    if (prefix.ends_with(':') && !prefix.ends_with("http:") && !prefix.ends_with("https:")) {
      return {};
    }
    return any ? "https://attacker.test" : std::string(prefix) + ".attacker.test";
  }
  if (matcher.has("suffix")) {
    const std::string_view suffix = matcher.text("suffix");
    if (suffix.empty()) any = true;
    why = "a suffix without a dot in front is the end of other names too";
    if (any) return "https://attacker.test";
    return is_bare_suffix(suffix) ? "https://attacker" + std::string(suffix) : std::string{};
  }
  if (matcher.has("contains")) {
    why = "the text may stand anywhere";
    if (matcher.text("contains").empty()) any = true;
    return "https://" + std::string(matcher.text("contains")) + ".attacker.test";
  }
  const Message regex = matcher.message("safe_regex");
  const std::string_view pattern = regex ? regex.text("regex") : matcher.text("regex");
  if (pattern.empty()) return {};
  // Envoy compares the whole text.
  const std::string whole = fmt::format("^(?:{})$", pattern);
  if (pattern == ".*" || pattern == ".+" || pattern == "^.*$" || pattern == "\\*") {
    any = pattern != "\\*";
    return any ? "https://attacker.test" : std::string{};
  }
  const nginx::Witness found = nginx::find_witness(whole, matcher.is_true("ignore_case"));
  if (found.only_scheme) return {};
  any = found.origin == "https://attacker.test";
  why = "it " + found.why;
  return found.origin;
}

/// Envoy asks each matcher about the origin, and about "*": one that takes it takes everyone.
bool is_star(const Message& matcher) {
  for (const char* key : {"exact", "prefix", "suffix", "contains"}) {
    if (matcher.text(key) == "*") return true;
  }
  const Message regex = matcher.message("safe_regex");
  const std::string_view text = regex ? regex.text("regex") : matcher.text("regex");
  if (text.empty()) return false;
  // Of what takes any origin as it is written, another rule speaks.
  const nginx::Pattern whole(fmt::format("^(?:{})$", text), matcher.is_true("ignore_case"));
  return whole.search("*").value_or(false) && !whole.search("https://attacker.test").value_or(true);
}

void judge_matcher(Inspection& in, const Policy& policy, const Message& matcher, bool credentials) {
  const auto report = [&](std::string_view rule, Level level, std::string what,
                          std::string evidence) {
    report_let_in(in, policy, rule, level, matcher.at(), std::move(what)).evidence =
        std::move(evidence);
  };
  const std::string_view exact = is_star(matcher) ? "*" : matcher.text("exact");
  if (exact == "null") {
    return report("COR-03", Level::kMedium,
                  "the origin null is let in: every sandboxed frame has it", "Origin: null");
  }
  if (exact == "*") {
    if (credentials) {
      report("COR-01", Level::kHigh, "every origin is let in, with credentials",
             "Origin: https://attacker.test");
    }
    return;
  }
  bool any = false;
  std::string why;
  const std::string origin = witness_of(matcher, any, why);
  if (origin.empty()) return;
  if (any && credentials) {
    report("COR-01", Level::kHigh, "every origin is let in, with credentials", "Origin: " + origin);
  } else if (any) {
    report("COR-02", Level::kMedium, "every origin is let in", "Origin: " + origin);
  } else {
    report("COR-04", Level::kHigh, fmt::format("a foreign origin is let in: {}", why),
           "Origin: " + origin);
  }
}

void check_origins(Inspection& in) {
  for (const Policy& policy : policies(in)) {
    const bool credentials = policy.at.is_true("allow_credentials");
    for (const Node& one : policy.at.list("allow_origin_string_match")) {
      judge_matcher(in, policy, Message(one), credentials);
    }
    for (const Node& one : policy.at.list("allow_origin")) {
      if (one.text() != "*" || !credentials) continue;
      report_let_in(in, policy, "COR-01", Level::kHigh, one.at(),
                    "every origin is let in, with credentials");
    }
  }
}

/// The header written by hand, with the origin that asked in it.
void check_written_origins(Inspection& in) {
  const auto judge = [&](const Message& holder, std::string label) {
    Message origin;
    bool credentials = false;
    for (const Node& one : holder.list("response_headers_to_add")) {
      const Message header = Message(one).message("header");
      const std::string_view key = header.text("key");
      credentials = credentials || (ascii::iequals(key, "access-control-allow-credentials") &&
                                    ascii::iequals(header.text("value"), "true"));
      if (ascii::iequals(key, "access-control-allow-origin")) origin = header;
    }
    if (credentials && origin.text("value") == "*") {
      // Browsers refuse the pair: it does not work, and is meant to let everyone in.
      in.report("COR-01", Level::kMedium, origin.at("value"),
                "every origin is let in, with credentials: expected the cors filter with a list")
          .affected = {std::move(label)};
      return;
    }
    if (!ascii::iequals(origin.text("value"), "%REQ(origin)%") &&
        !ascii::iequals(origin.text("value"), "%REQUEST_HEADER(origin)%")) {
      return;
    }
    Finding& finding = in.report(
        credentials ? "COR-01" : "COR-02", credentials ? Level::kHigh : Level::kMedium,
        origin.at("value"),
        credentials ? "whatever origin asks is let in, with credentials: expected the cors filter "
                      "with a list"
                    : "whatever origin asks is let in: expected the cors filter with a list");
    finding.evidence = "Origin: https://attacker.test";
    finding.affected = {std::move(label)};
  };
  for (const RouteConfig& config : in.model.route_configs) {
    judge(config.at, std::string(config.name));
  }
  for (const VirtualHost& host : in.model.hosts) {
    judge(host.at, std::string(host.domains.empty() ? "" : host.domains.front()));
  }
  for (const Route& route : in.model.routes) judge(route.at, route.label());
}

void check_width(Inspection& in) {
  constexpr std::uint64_t kSecondsMax = 86'400;
  for (const Policy& policy : policies(in)) {
    if (!policy.read) continue;
    const auto report = [&](const char* key, std::string what) {
      in.report("COR-06", Level::kLow, policy.at.at(key), std::move(what)).affected =
          policy.affected;
    };
    if (policy.at.text("allow_methods") == "*") {
      report("allow_methods", "every method is allowed to other origins");
    } else if (policy.at.text("allow_headers") == "*") {
      report("allow_headers", "every header is allowed to other origins");
    } else if (policy.at.number("max_age").value_or(0) > kSecondsMax) {
      report("max_age", "browsers keep the answer to a preflight for more than a day");
    } else if (policy.at.is_true("allow_private_network_access")) {
      report("allow_private_network_access", "sites of the Internet may reach it from inside");
    }
  }
}

bool says_vary(const Message& holder) {
  return std::ranges::any_of(holder.list("response_headers_to_add"), [](const Node& one) {
    return ascii::iequals(Message(one).message("header").text("key"), "vary");
  });
}

/// Envoy answers with the origin that asked, whatever lets it in, and never writes Vary.
void check_vary(Inspection& in) {
  std::set<const Node*> varied;
  const auto note = [&](const Message& policy, bool varies) {
    if (varies && policy) varied.insert(policy.node());
  };
  const auto policies_of = [&](const Message& holder, bool varies) {
    note(holder.message("cors"), varies);
    const Message all = holder.message("typed_per_filter_config");
    if (!all) return;
    for (const config::Member& member : all.node()->members()) {
      note(own_config(Message(member.value)).config, varies);
    }
  };
  for (const RouteConfig& config : in.model.route_configs) {
    const bool table = says_vary(config.at);
    policies_of(config.at, table);
    for (const VirtualHost* host : config.hosts) {
      const bool all = table || says_vary(host->at);
      policies_of(host->at, all);
      for (const Route* route : host->routes) {
        policies_of(route->at, all || says_vary(route->at));
        note(route->action.message("cors"), all || says_vary(route->at));
      }
    }
  }
  for (const Policy& policy : policies(in)) {
    const auto origins = policy.at.list("allow_origin_string_match");
    const bool public_to_all =
        !policy.at.is_true("allow_credentials") &&
        std::ranges::any_of(origins, [](const Node& one) { return is_star(Message(one)); });
    if (origins.empty() || !policy.read || public_to_all || varied.contains(policy.at.node()))
      continue;
    Finding& finding = in.report(
        "COR-05", Level::kLow, policy.at.at("allow_origin_string_match"),
        "answers name the origin that asked, and Envoy adds no Vary: expected "
        "response_headers_to_add with \"vary: origin\", or a cache gives one site's answer to "
        "another");
    finding.confidence = Confidence::kLikely;
    finding.affected = policy.affected;
  }
}

constexpr RuleEntry kRules[] = {{"COR-01", check_origins}, {"COR-01", check_written_origins},
                                {"COR-02", nullptr},       {"COR-03", nullptr},
                                {"COR-04", nullptr},       {"COR-05", check_vary},
                                {"COR-06", check_width}};

}  // namespace

std::span<const RuleEntry> cors_rules() { return kRules; }

}  // namespace merlon::audit::envoy
