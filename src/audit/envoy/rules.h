#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "audit/envoy/fix.h"
#include "audit/envoy/model.h"
#include "audit/finding.h"
#include "audit/nginx/files.h"
#include "audit/rule_run.h"

/// The rules for Envoy. One rule is one small function in the file of its family.
namespace merlon::audit::envoy {

/// What a rule sees and where it reports to.
struct Inspection {
  const Model& model;
  const Options& options;
  FileReader& files;  ///< for certificates and keys that the configuration names
  AuditResult& out;
  std::string folder;    ///< relative file names are looked up from here
  std::int64_t now = 0;  ///< seconds since 1970 UTC
  bool on_disk = false;  ///< the configuration was read from files

  Finding& report(std::string_view rule, Level level, Mark at, std::string message);
  /// Says once per rule why it was not judged.
  void not_checked(std::string_view rule, std::string_view why);
};

using RuleEntry = Rule<Inspection>;

[[nodiscard]] std::span<const RuleEntry> exposure_rules();
[[nodiscard]] std::span<const RuleEntry> tls_rules();
[[nodiscard]] std::span<const RuleEntry> certificate_rules();
[[nodiscard]] std::span<const RuleEntry> limit_rules();
[[nodiscard]] std::span<const RuleEntry> header_rules();
[[nodiscard]] std::span<const RuleEntry> path_rules();
[[nodiscard]] std::span<const RuleEntry> forwarding_rules();
[[nodiscard]] std::span<const RuleEntry> upstream_rules();
[[nodiscard]] std::span<const RuleEntry> cors_rules();
[[nodiscard]] std::span<const RuleEntry> identity_rules();
[[nodiscard]] std::span<const RuleEntry> token_rules();
[[nodiscard]] std::span<const RuleEntry> access_rules();
[[nodiscard]] std::span<const RuleEntry> policy_rules();
[[nodiscard]] std::span<const RuleEntry> logging_rules();
[[nodiscard]] std::span<const RuleEntry> secret_rules();
[[nodiscard]] std::span<const RuleEntry> config_rules();

/// Runs every rule. Options.only_rules is applied to what comes out.
void run_rules(Inspection& inspection);
/// Ids of all rules for Envoy, sorted.
[[nodiscard]] std::vector<std::string_view> rule_ids();

// Helpers that several families share.

/// True for a connection manager that outside clients reach: not loopback, not egress, not behind
/// mandatory client certificates of a mesh.
[[nodiscard]] bool is_edge(const Hcm& hcm);
/// True for the answers to ACME challenges: whoever issues certificates asks for them, from
/// anywhere, in clear and without signing in.
[[nodiscard]] bool answers_challenges(const Route& route) noexcept;
/// True when something says which certificates of the other side are good. Without, Envoy takes
/// any.
[[nodiscard]] bool verifies_peer(const Tls& tls);
/// True when the chain demands and verifies a client certificate.
[[nodiscard]] bool has_mutual_tls(const FilterChain& chain);
/// The configuration of filter `kind` on a route, its virtual host or its route table, innermost
/// first; absent when none. One of its weighted clusters counts when it switches the filter off.
[[nodiscard]] Typed override_of(const Route& route, const Filter& filter);
/// What an entry of typed_per_filter_config says, out of the FilterConfig that may be around it.
[[nodiscard]] Typed own_config(const Message& entry);
/// The RBAC that holds for the route: its own, or the filter's.
[[nodiscard]] Message rbac_of(const Route& route, const Filter& filter);
/// True when the filter does nothing for this route.
[[nodiscard]] bool is_disabled(const Route& route, const Filter& filter);
/// True when a filter of this kind decides who may pass.
[[nodiscard]] bool is_access_kind(std::string_view kind) noexcept;
/// True when a filter decides who may pass, for requests of this route: of a kind that does, not
/// switched off, and not set up so that it refuses nobody.
[[nodiscard]] bool decides(const Route& route, const Filter& filter);
/// The same of a filter as it is where no route says otherwise.
[[nodiscard]] bool decides(const Filter& filter);
/// The same for requests of `path`, which the route takes: rules of other paths do not count. ""
/// is a path that is not known.
[[nodiscard]] bool decides(const Route& route, const Filter& filter, std::string_view path);
/// True when a filter may write the request field `name`: it then need not be the client's.
[[nodiscard]] bool is_written_here(const Hcm& hcm, std::string_view name);
/// True when whatever the RouteMatch `later` takes, `first` takes too.
[[nodiscard]] bool takes_all_of(const Message& first, const Message& later);
/// True when a StringMatcher takes `text`; nullopt when it is not known.
[[nodiscard]] std::optional<bool> matches(const Message& matcher, std::string_view text);
/// True when a policy of RBAC holds for every request of everyone.
[[nodiscard]] bool is_for_everyone(const Message& policy);
/// True when rules of RBAC allow everyone everything, by one of their policies.
[[nodiscard]] bool allows_everyone(const Message& rules);
/// True when anyone may register a name that ends so: "com", and not "example.com" or "internal".
[[nodiscard]] bool is_open_ending(std::string_view name);
/// True when `path` holds one of `words`, as a whole between characters that are no letters or
/// digits.
[[nodiscard]] bool has_word(std::string_view path, std::span<const std::string_view> words);
/// True when a RouteMatch takes `path`; nullopt when it asks for more than a path, or for a regular
/// expression.
[[nodiscard]] std::optional<bool> takes_path(const Message& match, std::string_view path);
/// True when a rule of jwt_authn asks for a token, an optional one too.
[[nodiscard]] bool asks_for_token(const Message& rule);
/// True when jwt_authn asks for a token on `path`. The first rule that matches is the one applied;
/// one that asks for more than a path, or for a regular expression, may match.
[[nodiscard]] bool asks_for_token(const Message& jwt, std::string_view path);
/// The rule before `rule` that asks for no token and takes all of its requests; absent when none.
[[nodiscard]] Message rule_hiding(const Message& jwt, const Node& rule);
/// True when a regular expression of Envoy, which takes whole texts only, matches; nullopt when it
/// is not understood.
[[nodiscard]] std::optional<bool> matches_whole(std::string_view regex, std::string_view text);
/// The requirement of that name in a JwtAuthentication's requirement_map.
[[nodiscard]] Message requirement_named(const Message& jwt, std::string_view name);
/// True when what a route says of the filter makes it refuse nobody: an RBACPerRoute that is empty
/// or allows everyone everything, or a requirement of jwt_authn that requests without a token meet.
[[nodiscard]] bool is_idle_override(const Typed& own, const Filter& filter);
/// True for paths that are meant for everyone, by their words: health checks, sign-in, static
/// files.
[[nodiscard]] bool is_open_by_nature(std::string_view path);
/// True for paths by which a platform watches a service: health checks and metrics.
[[nodiscard]] bool is_operational(std::string_view path);
/// True when any filter of the connection manager, or of the chain before it, decides who may pass
/// on some route at least.
[[nodiscard]] bool has_access_control(const Hcm& hcm);
/// True when a policy's permission or principal holds for every request.
[[nodiscard]] bool is_true_for_any(const Message& rule);
/// A header matcher that every request meets.
[[nodiscard]] bool matches_all(const Message& matcher);
/// Labels of all its routes, sorted.
[[nodiscard]] std::vector<std::string> labels(const Hcm& hcm);
[[nodiscard]] std::vector<std::string> sorted(std::vector<std::string> words);
/// Clusters that the action of a route may lead to, by name.
[[nodiscard]] std::vector<std::string_view> clusters_of(const Route& route);
/// The same of a tcp_proxy, and of the mirrors of a route.
[[nodiscard]] std::vector<std::string_view> clusters_of(const Filter& tcp_proxy);
[[nodiscard]] std::vector<std::string_view> mirrors_of(const Route& route);
/// The endpoints that requests to a cluster come to; an aggregate has those of its members.
[[nodiscard]] std::vector<const Upstream*> endpoints_behind(const Model& model,
                                                            const Cluster& cluster);
/// Header mutations `field` (request_headers_to_remove, …) of the route, its host and its table.
[[nodiscard]] bool removes_header(const Route& route, std::string_view field,
                                  std::string_view header);
/// Visits each HTTP filter of this kind that has a configuration: its connection manager, its place
/// there, and the configuration.
template <class F>
void each_filter(const Inspection& in, std::string_view kind, F&& visit) {
  for (const Hcm& hcm : in.model.hcms) {
    for (std::size_t i = 0; i < hcm.filters.size(); ++i) {
      if (hcm.filters[i].is(kind) && hcm.filters[i].config) visit(hcm, i, hcm.filters[i].config);
    }
  }
}
/// Visits every node below `root`, parents first.
template <class F>
void walk(const Node& root, F&& visit) {
  std::vector<const Node*> todo{&root};
  while (!todo.empty()) {
    const Node* node = todo.back();
    todo.pop_back();
    visit(*node);
    for (const Node& item : node->items()) todo.push_back(&item);
    for (const config::Member& member : node->members()) todo.push_back(&member.value);
  }
}

}  // namespace merlon::audit::envoy
