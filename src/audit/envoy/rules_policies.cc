#include <fmt/format.h>

#include <algorithm>

#include "audit/envoy/rules.h"
#include "base/ascii.h"

// Policies of RBAC: those that let everyone in, only watch, or believe what a client writes.
namespace merlon::audit::envoy {
namespace {

/// Every RBAC filter of listeners and of connection managers; `hcm` is nullptr for one of a
/// listener without HTTP.
template <class F>
void each_rbac(const Inspection& in, F&& visit) {
  for (const FilterChain& chain : in.model.chains) {
    for (const Filter& filter : chain.filters) {
      if (filter.is("rbac") && filter.config) visit(chain, chain.hcm, filter);
    }
  }
  for (const Hcm& hcm : in.model.hcms) {
    for (const Filter& filter : hcm.filters) {
      if (filter.is("rbac") && filter.config) visit(*hcm.chain, &hcm, filter);
    }
  }
}

std::vector<std::string> affected(const FilterChain& chain, const Hcm* hcm) {
  return hcm == nullptr ? std::vector{std::string(chain.listener->name)} : labels(*hcm);
}

template <class F>
void each_policy(const Message& rules, F&& visit) {
  const Message policies = rules.message("policies");
  if (!policies) return;
  for (const config::Member& one : policies.node()->members()) visit(one.key, Message(one.value));
}

/// Reports what allows everyone everything among the policies of an RBAC.
void judge_open_policies(Inspection& in, const Message& rbac,
                         const std::vector<std::string>& affected) {
  const Message rules = rbac.message("rules");
  if (!allows_everyone(rules)) return;
  each_policy(rules, [&](const Node& name, const Message& policy) {
    if (!is_for_everyone(policy)) return;
    in.report("MTH-04", Level::kHigh, name.at(),
              fmt::format("policy {} allows everyone everything", name.text()))
        .affected = affected;
  });
}

/// Routes that bring a policy to a filter that refuses nobody by itself. In place of one that does,
/// the same is LOC-05.
void judge_routes(Inspection& in, const Hcm& hcm, const Filter& filter,
                  std::set<const Node*>& done) {
  for (const Route* route : hcm.all_routes()) {
    const Message own = override_of(*route, filter).config.message("rbac");
    if (!own || !route->action || is_open_by_nature(route->path)) continue;
    if (done.insert(own.node()).second) judge_open_policies(in, own, {route->label()});
  }
}

void check_open_policy(Inspection& in) {
  std::set<const Node*> done;
  each_rbac(in, [&](const FilterChain& chain, const Hcm* hcm, const Filter& filter) {
    judge_open_policies(in, filter.config, affected(chain, hcm));
    if (hcm != nullptr && !decides(filter)) judge_routes(in, *hcm, filter, done);
  });
}

/// What keeps a filter from refusing anybody, and where; unknown when something may be refused.
Mark watches_only_at(const Message& config, std::string& why, Level& level) {
  const Message rules = config.message("rules");
  if (config.has("matcher")) return {};
  if (rules.word("action", enums::kRbacAction) == "LOG") {
    why = "the action of the RBAC rules is LOG: nothing is refused";
    return rules.at("action");
  }
  const Message policies = rules.message("policies");
  if (rules.word("action", enums::kRbacAction) == "DENY" &&
      (!policies || policies.node()->members().empty())) {
    level = Level::kMedium;  // meshes write it where no intention denies
    why = "the RBAC rules deny, and have no policy: nothing is refused";
    return config.at("rules");
  }
  const bool shadow = config.has("shadow_rules");
  if (rules || (!shadow && !config.has("shadow_matcher"))) return {};
  why = "the RBAC filter only observes: there are no rules that refuse";
  return config.at(shadow ? "shadow_rules" : "shadow_matcher");
}

void check_watching(Inspection& in) {
  each_rbac(in, [&](const FilterChain& chain, const Hcm* hcm, const Filter& filter) {
    std::string why;
    Level level = Level::kHigh;
    const Mark at = watches_only_at(filter.config, why, level);
    if (!at.known() || filter.disabled) return;
    in.report("LOC-03", level, at, std::move(why)).affected = affected(chain, hcm);
  });
}

/// Header fields that say who the client is, and that clients may write.
bool is_address_field(std::string_view name) {
  constexpr std::string_view kFields[] = {"x-forwarded-for", "x-real-ip", "true-client-ip",
                                          "x-client-ip",     "forwarded", "cf-connecting-ip"};
  return std::ranges::any_of(kFields,
                             [&](std::string_view one) { return ascii::iequals(one, name); });
}

/// Envoy appends the address of the connection to X-Forwarded-For: who sends the field has two
/// entries in it, so that a whole value, or its end, is true.
bool is_anchored(const Hcm& hcm, const Message& header) {
  if (!hcm.at.is_true("use_remote_address") || hcm.at.is_true("skip_xff_append")) return false;
  if (!ascii::iequals(header.text("name"), "x-forwarded-for")) return false;
  const Message text = header.message("string_match");
  return header.has("exact_match") || header.has("suffix_match") || text.has("exact") ||
         text.has("suffix");
}

/// Reports a principal of a policy that is recognised by an address which clients write.
void judge_principal(Inspection& in, const Hcm& hcm, std::string_view policy, const Node& node) {
  const Message header = Message(node).message("header");
  const std::string_view name = header.text("name");
  if (!is_address_field(name) || is_anchored(hcm, header) || is_written_here(hcm, name)) return;
  Finding& finding = in.report("XFF-01", Level::kHigh, header.at("name"),
                               fmt::format("policy {} believes the {} that clients write: expected "
                                           "remote_ip or direct_remote_ip",
                                           policy, name));
  finding.evidence = fmt::format("{}: 10.0.0.1", name);
  finding.affected = labels(hcm);
}

void judge_headers(Inspection& in, const Hcm& hcm, const Message& rules) {
  each_policy(rules, [&](const Node& policy, const Message& at) {
    for (const Node& principal : at.list("principals")) {
      walk(principal, [&](const Node& node) { judge_principal(in, hcm, policy.text(), node); });
    }
  });
}

void check_believed_headers(Inspection& in) {
  std::set<const Node*> done;
  for (const Hcm& hcm : in.model.hcms) {
    if (hcm.listener->is_local() || hcm.listener->is_egress()) continue;
    const auto judge = [&](const Message& rbac) {
      const Message rules = rbac.message("rules");
      if (rules && done.insert(rules.node()).second) judge_headers(in, hcm, rules);
    };
    for (const Filter& filter : hcm.filters) {
      if (!filter.is("rbac")) continue;
      judge(filter.config);
      for (const Route* route : hcm.all_routes()) {
        judge(override_of(*route, filter).config.message("rbac"));
      }
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"MTH-04", check_open_policy}, {"LOC-03", check_watching}, {"XFF-01", check_believed_headers}};

}  // namespace

std::span<const RuleEntry> policy_rules() { return kRules; }

}  // namespace merlon::audit::envoy
