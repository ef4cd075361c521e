#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// Filters that run code, and so may decide who passes in ways that are not read here.
bool runs_code(const Filter& filter) {
  constexpr std::string_view kKinds[] = {"lua",    "wasm",      "ext_proc",
                                         "golang", "composite", "gcp_authn"};
  return std::ranges::find(kKinds, filter.kind) != std::end(kKinds);
}

/// A filter that refuses nobody, which a rule of its own says.
bool is_reported_idle(const Filter& filter) {
  if (!is_access_kind(filter.kind) || filter.disabled || decides(filter)) return false;
  return !filter.is("rbac") || filter.config.has("rules") || filter.config.has("shadow_rules") ||
         filter.config.has("shadow_matcher");
}

/// Each jwt_authn filter with what stands behind it and the routes: work that a hostile file with
/// thousands of them would make endless. Of one connection manager the first few are judged.
template <class F>
void each_jwt(Inspection& in, F&& visit) {
  constexpr int kJudgedMax = 8;
  const Hcm* last = nullptr;
  int judged = 0;
  each_filter(in, "jwt_authn", [&](const Hcm& hcm, std::size_t place, const Message& config) {
    judged = last == &hcm ? judged + 1 : 1;
    last = &hcm;
    if (judged <= kJudgedMax) return visit(hcm, place, config);
    in.not_checked("JWT-02", "one connection manager has more than 8 filters jwt_authn");
  });
}

void check_absent(Inspection& in) {
  for (const Hcm& hcm : in.model.hcms) {
    if (!is_edge(hcm) || has_access_control(hcm)) continue;
    if (std::ranges::any_of(hcm.filters, runs_code)) continue;
    if (std::ranges::any_of(hcm.filters, is_reported_idle)) continue;
    std::vector<std::string> open;
    for (const Route* route : hcm.all_routes()) {
      const bool meant = is_operational(route->path) ||  // how else would it be watched
                         answers_challenges(*route);
      if (route->action && !meant) open.push_back(route->label());
    }
    if (open.empty() && hcm.routes != nullptr) continue;
    Finding& finding = in.report("JWT-01", Level::kMedium, hcm.at.at(),
                                 "no filter authenticates: whoever connects is served");
    finding.affected = sorted(std::move(open));
    finding.confidence = Confidence::kPossible;
  }
}

/// True when a rule of jwt_authn asks for a token on the path of a route, or may.
bool covers(const Message& jwt, const Route& route) {
  std::string_view path = route.path;
  if (path.ends_with('*')) path.remove_suffix(1);
  return asks_for_token(jwt, path);
}

/// Routes that rules for other paths leave out: worth a look, since both may be meant.
void check_uncovered(Inspection& in) {
  each_jwt(in, [&](const Hcm& hcm, std::size_t place, const Message& config) {
    const Filter& jwt = hcm.filters[place];
    if (!is_edge(hcm) || !decides(jwt) || std::ranges::any_of(hcm.filters, runs_code)) return;
    std::vector<std::string> open;
    for (const Route* route : hcm.all_routes()) {
      if (!route->action || is_open_by_nature(route->path) || covers(config, *route)) continue;
      if (override_of(*route, jwt).config) continue;
      const bool other = std::ranges::any_of(hcm.filters, [&](const Filter& filter) {
        return &filter != &jwt && decides(*route, filter);
      });
      if (!other && route->path.starts_with('/')) open.push_back(route->label());
    }
    if (open.empty()) return;
    Finding& finding = in.report("JWT-01", Level::kLow, config.at("rules"),
                                 "no rule of jwt_authn asks for a token on some of the routes");
    finding.affected = sorted(std::move(open));
    finding.confidence = Confidence::kPossible;
  });
}

/// True when an RBAC filter, or what a route puts in its place, asks for what jwt_authn found out:
/// its metadata, or the headers that it writes claims into.
bool reads_claims(const Hcm& hcm, const Filter& rbac, const Message& jwt) {
  std::set<std::string_view> words = {"envoy.filters.http.jwt_authn", "istio_authn"};
  if (const Message providers = jwt.message("providers")) {
    for (const config::Member& one : providers.node()->members()) {
      const Message provider(one.value);
      if (provider.has("forward_payload_header")) {
        words.insert(provider.text("forward_payload_header"));
      }
      for (const Node& claim : provider.list("claim_to_headers")) {
        words.insert(Message(claim).text("header_name"));
      }
    }
  }
  const auto asks = [&](const Message& at) {
    bool found = false;
    if (!at) return false;
    walk(*at.node(), [&](const Node& node) {
      // Conditions in CEL are not read: they may ask for anything.
      found = found || words.contains(node.text()) || Message(node).has("condition") ||
              Message(node).has("cel_expr_parsed") || Message(node).has("cel_expr_checked");
    });
    return found;
  };
  const auto routes = hcm.all_routes();
  return asks(rbac.config) || std::ranges::any_of(routes, [&](const Route* route) {
           return asks(override_of(*route, rbac).config);
         });
}

/// Who, behind jwt_authn, may refuse requests that came without a token.
enum class Judge : std::uint8_t { kNone, kCode, kFilter };

Judge judge_behind(const Hcm& hcm, std::size_t place) {
  Judge out = Judge::kNone;
  for (std::size_t i = place + 1; i < hcm.filters.size(); ++i) {
    const Filter& filter = hcm.filters[i];
    if (runs_code(filter) && !filter.disabled) out = Judge::kCode;
    const auto routes = hcm.all_routes();
    const bool on = decides(filter) || std::ranges::any_of(routes, [&](const Route* route) {
                      return decides(*route, filter);
                    });
    if (!on) continue;
    const bool looks = filter.is("rbac")
                           ? reads_claims(hcm, filter, hcm.filters[place].config)
                           : filter.is("ext_authz") && !filter.config.is_true("failure_mode_allow");
    if (looks) return Judge::kFilter;
  }
  return out;
}

/// What rules ask for: their own requirements, and those of the map that they name.
std::set<const Node*> requirements_of(const Message& jwt) {
  std::set<const Node*> out;
  const auto add = [&](const Message& requirement) {
    if (requirement) out.insert(requirement.node());
  };
  for (const Node& one : jwt.list("rules")) {
    add(Message(one).message("requires"));
    add(requirement_named(jwt, Message(one).text("requirement_name")));
  }
  add(jwt.message("filter_state_rules"));
  return out;
}

Finding& report_optional(Inspection& in, Judge behind, Mark at, std::string message) {
  Finding& finding = in.report("JWT-02", behind == Judge::kCode ? Level::kMedium : Level::kHigh,
                               std::move(at), std::move(message));
  if (behind == Judge::kCode) finding.confidence = Confidence::kPossible;
  return finding;
}

/// Reports a requirement that requests without a token, or with a bad one, meet.
void judge_requirement(Inspection& in, Judge behind, const Node& node) {
  if (!node.is_mapping()) return;
  const Message at(node);
  for (const std::string_view key : {"allow_missing", "allow_missing_or_failed"}) {
    if (!at.has(key)) continue;
    report_optional(in, behind, at.at(key),
                    fmt::format("requests without a {}token pass, and no RBAC filter looks at the "
                                "claims",
                                key == "allow_missing" ? "" : "valid "));
  }
}

void check_optional(Inspection& in) {
  each_jwt(in, [&](const Hcm& hcm, std::size_t place, const Message& config) {
    const Judge behind = judge_behind(hcm, place);
    if (behind == Judge::kFilter) return;
    for (const Node* root : requirements_of(config)) {
      walk(*root, [&](const Node& node) { judge_requirement(in, behind, node); });
    }
  });
}

/// The first rule that matches is applied: behind one for all paths that asks for nothing, the
/// others are never looked at.
void check_hidden_rules(Inspection& in) {
  each_jwt(in, [&](const Hcm& hcm, std::size_t place, const Message& config) {
    if (hcm.filters[place].disabled) return;
    const Judge behind = judge_behind(hcm, place);
    if (behind == Judge::kFilter) return;
    for (const Node& one : config.list("rules")) {
      const Message first = asks_for_token(Message(one)) ? rule_hiding(config, one) : Message{};
      if (!first) continue;
      Finding& finding = report_optional(
          in, behind, one.at(),
          "this rule is never applied: the first that matches is, and one before it asks for no "
          "token");
      finding.remediation = "Put the rule for the wider match behind this one";
      finding.trail.push_back({first.at(), "this rule takes the requests"});
    }
  });
}

/// True when header matchers ask for nothing but what a client wants to send: the method, the path
/// or the host say what is asked for.
bool is_clients_choice(std::span<const Node> headers) {
  return !headers.empty() && std::ranges::none_of(headers, [](const Node& one) {
    const std::string_view name = Message(one).text("name");
    return name.starts_with(':') || ascii::iequals(name, "host");
  });
}

std::string_view path_of(const Message& match) {
  for (const char* key : {"path", "prefix", "path_separated_prefix"}) {
    if (match.has(key)) return match.text(key);
  }
  return {};
}

/// True when a rule for `path`, or for some paths that begin like it, asks for a token.
bool asks_around(std::span<const Node> rules, std::string_view path) {
  return std::ranges::any_of(rules, [&](const Node& one) {
    const Message match = Message(one).message("match");
    return asks_for_token(Message(one)) &&
           (path_of(match).starts_with(path) || takes_path(match, path).value_or(false));
  });
}

/// Filters before jwt_authn that may write the header fields which its rules ask for.
bool may_write_headers(const Filter& filter) {
  return runs_code(filter) || filter.is("ext_authz") || filter.is("header_mutation");
}

/// A rule without a token that hangs on what a client sends: who sends it is not asked.
void check_chosen_rules(Inspection& in) {
  constexpr std::size_t kLookedAtMax = 100;  // each rule is compared with those behind it
  each_jwt(in, [&](const Hcm& hcm, std::size_t place, const Message& config) {
    if (hcm.filters[place].disabled || !is_edge(hcm)) return;
    const auto before = std::span(hcm.filters).first(place);
    if (std::ranges::any_of(before, may_write_headers)) return;
    const Judge behind = judge_behind(hcm, place);
    if (behind == Judge::kFilter) return;
    auto rules = config.list("rules");
    for (rules = rules.first(std::min(rules.size(), kLookedAtMax)); !rules.empty();
         rules = rules.subspan(1)) {
      const Message rule(rules.front());
      const Message match = rule.message("match");
      const std::string_view path = path_of(match);
      const auto headers = match.list("headers");
      const bool chosen =
          headers.empty() ? match.has("query_parameters") : is_clients_choice(headers);
      if (asks_for_token(rule) || !chosen) continue;
      if (path.empty() || is_open_by_nature(path) || !asks_around(rules, path)) continue;
      Finding& finding = report_optional(
          in, behind, rule.at("match"),
          "no token is asked for when the client sends a header or a parameter of its choice");
      if (finding.confidence == Confidence::kCertain) finding.confidence = Confidence::kLikely;
    }
  });
}

/// Providers alone ask for nothing: rules do, or routes.
void check_idle(Inspection& in) {
  each_jwt(in, [&](const Hcm& hcm, std::size_t place, const Message& config) {
    const Filter& filter = hcm.filters[place];
    const auto routes = hcm.all_routes();
    if (hcm.routes == nullptr || filter.disabled || decides(filter)) return;
    if (std::ranges::any_of(routes, [&](const Route* r) { return decides(*r, filter); })) return;
    const Judge behind = judge_behind(hcm, place);
    if (behind == Judge::kFilter) return;
    const bool hidden = std::ranges::any_of(
        config.list("rules"), [](const Node& one) { return asks_for_token(Message(one)); });
    if (hidden) return;  // check_hidden_rules() has said which
    const char* key = config.has("rules") ? "rules" : "providers";
    report_optional(in, behind, config.at(key),
                    "no rule of jwt_authn asks for a token: every request passes unverified");
  });
}

/// A share of requests that is never asked about passes.
void check_share(Inspection& in, const Hcm& hcm, const Filter& filter) {
  const Message enabled = filter.config.message("filter_enabled");
  const double share = fraction(enabled).value_or(1);
  if (share >= 1 || filter.config.message("deny_at_disable").is_true("default_value")) return;
  Finding& finding = in.report(
      "JWT-08", Level::kHigh, filter.config.at("filter_enabled"),
      fmt::format("the authorisation service is asked about {:.4g} % of requests, and the others "
                  "pass: expected 100 %, or deny_at_disable",
                  share * 100));
  finding.affected = labels(hcm);
}

void check_fail_open(Inspection& in) {
  const auto judge = [&](const Message& config, std::vector<std::string> affected) {
    if (!config.is_true("failure_mode_allow")) return;
    Finding& finding = in.report("JWT-08", Level::kHigh, config.at("failure_mode_allow"),
                                 "requests pass when the authorisation service does not answer");
    finding.affected = std::move(affected);
    finding.fix = set_field(config, "failure_mode_allow", "false");
  };
  for (const FilterChain& chain : in.model.chains) {
    for (const Filter& filter : chain.filters) {
      if (filter.is("ext_authz")) judge(filter.config, {std::string(chain.listener->name)});
    }
  }
  each_filter(in, "ext_authz", [&](const Hcm& hcm, std::size_t place, const Message& config) {
    judge(config, labels(hcm));
    if (!hcm.filters[place].disabled) check_share(in, hcm, hcm.filters[place]);
    const Message body = config.message("with_request_body");
    if (body.is_true("allow_partial_message")) {
      Finding& finding =
          in.report("JWT-08", Level::kMedium, body.at("allow_partial_message"),
                    "the authorisation service judges the first part of a body only");
      finding.confidence = Confidence::kLikely;
    }
  });
  each_filter(in, "wasm", [&](const Hcm&, std::size_t, const Message& config) {
    const Message plugin = config.message("config");
    const char* key = plugin.is_true("fail_open") ? "fail_open" : "failure_policy";
    if (!plugin.is_true("fail_open") && plugin.word(key, enums::kPluginFailure) != "FAIL_OPEN")
      return;
    in.report("JWT-08", Level::kHigh, plugin.at(key), "requests pass when the plug-in fails");
  });
}

/// Who else judges requests that go past the filter at `place`.
Judge judge_beside(const Hcm& hcm, std::size_t place) {
  Judge out = Judge::kNone;
  for (std::size_t i = 0; i < hcm.filters.size(); ++i) {
    const Filter& filter = hcm.filters[i];
    if (i == place || filter.disabled) continue;
    if (decides(filter)) return Judge::kFilter;
    if (runs_code(filter)) out = Judge::kCode;
  }
  return out;
}

void check_passed_through(Inspection& in) {
  each_filter(in, "oauth2", [&](const Hcm& hcm, std::size_t place, const Message& config) {
    const Judge beside = judge_beside(hcm, place);
    for (const Node& one : config.message("config").list("pass_through_matcher")) {
      if (matches_all(Message(one))) {
        in.report("JWT-02", Level::kHigh, one.at(),
                  "every request passes without signing in: pass_through_matcher takes them all")
            .affected = labels(hcm);
      } else if (beside != Judge::kFilter && is_clients_choice({&one, 1})) {
        report_optional(in, beside, one.at(),
                        "requests with a header of the client's choice pass without signing in, "
                        "and no filter asks for a token: expected jwt_authn")
            .affected = labels(hcm);
      }
    }
  });
}

void check_clear_passwords(Inspection& in) {
  each_filter(in, "basic_auth", [&](const Hcm& hcm, std::size_t place, const Message&) {
    if (hcm.chain->tls != nullptr || hcm.chain->transport_unknown) return;
    if (hcm.listener->is_local() || hcm.listener->is_egress()) return;
    in.report("LOC-06", Level::kHigh, hcm.filters[place].at.at(),
              "passwords cross the network in clear: the filter chain has no TLS");
  });
}

constexpr RuleEntry kRules[] = {{"JWT-01", check_absent},         {"JWT-02", check_optional},
                                {"JWT-08", check_fail_open},      {"LOC-06", check_clear_passwords},
                                {"JWT-02", check_passed_through}, {"JWT-02", check_idle},
                                {"JWT-02", check_hidden_rules},   {"JWT-02", check_chosen_rules},
                                {"JWT-01", check_uncovered}};

}  // namespace

std::span<const RuleEntry> identity_rules() { return kRules; }

}  // namespace merlon::audit::envoy
