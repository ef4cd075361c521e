#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"
#include "base/ascii.h"
#include "base/ip.h"

// What a client writes and the configuration believes: who it is, where it comes from, and which
// file it means.
namespace merlon::audit::nginx {
namespace {

/// Headers by which upstreams are told who is signed in; in lower case, with "-" for "_".
bool names_an_identity(std::string_view field) {
  if (field.starts_with("http-")) field.remove_prefix(5);
  constexpr std::array<std::string_view, 20> kNames = {"remote-user",
                                                       "x-remote-user",
                                                       "x-user",
                                                       "x-user-id",
                                                       "x-username",
                                                       "x-forwarded-user",
                                                       "x-forwarded-email",
                                                       "x-forwarded-groups",
                                                       "x-auth-request-user",
                                                       "x-auth-request-email",
                                                       "x-auth-request-groups",
                                                       "x-authenticated-user",
                                                       "x-webauth-user",
                                                       "x-auth-user",
                                                       "x-client-cert",
                                                       "x-client-verify",
                                                       "x-client-dn",
                                                       "x-forwarded-client-cert",
                                                       "x-roles",
                                                       "x-user-roles"};
  return std::ranges::find(kNames, field) != kNames.end() || field.starts_with("x-ssl-client") ||
         field.starts_with("ssl-client");
}

void check_passed_identity(Inspection& in) {
  const Fronts fronts(in.model);
  each_upstream_header(
      in.model, [&](const Scope& scope, const Directive& at, std::string_view field) {
        if (!names_an_identity(field) || trusts_named_proxies(scope)) return;
        const Origin origin = in.variables.origin(at.arg(1), scope, at);
        if (!is_written_by_client(origin.source) || origin.source.starts_with("$http_auth")) return;
        if (fronts.speak_for(scope, header_of(origin.source))) return;
        Finding& finding = in.report(
            "XFF-04", Level::kHigh, at,
            fmt::format("{} tells the upstream who the client is, and the client writes it in {}: "
                        "expected what was verified here, or \"\"",
                        at.arg(0), origin.source));
        finding.confidence = Confidence::kLikely;
        finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
        finding.affected.push_back(in.model.route_of(scope));
      });
}

bool is_claimed_address(std::string_view variable) {
  constexpr std::array<std::string_view, 6> kFields = {
      "http_x_forwarded_for", "http_x_real_ip", "http_true_client_ip",
      "http_x_client_ip",     "http_client_ip", "http_x_originating_ip"};
  return std::ranges::find(kFields, variable) != kFields.end();
}

/// Refusals that hang on an address field: whoever is refused writes another address.
void check_claimed_addresses(Inspection& in) {
  const Fronts fronts(in.model);
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kIfInServer | kIfInLocation)) == 0 || return_status(scope) < 400)
      continue;
    if (trusts_named_proxies(scope)) continue;
    std::string field;
    const auto claims = [&](std::string_view variable) {
      const bool hit = is_claimed_address(variable);
      if (hit) field = header_of(fmt::format("${}", variable));
      return hit;
    };
    const bool claimed = std::ranges::any_of(scope.block->args, [&](const Word& word) {
      return in.variables.depends_on(word.text, claims, scope);
    });
    if (!claimed || fronts.speak_for(scope, field)) continue;
    Finding& finding =
        in.report("XFF-01", Level::kMedium, *scope.block,
                  "who is let in depends on an address that the client writes itself: expected "
                  "$remote_addr, with set_real_ip_from for the proxies in front");
    finding.confidence = Confidence::kLikely;
    const std::string_view variable = if_variable(*scope.block);
    const Directive* map = variable.empty() ? nullptr : in.variables.map_of(variable.substr(1));
    if (map != nullptr) finding.trail.push_back({map->mark(), "it is looked up here"});
    finding.evidence = "X-Forwarded-For: 10.0.0.1 is taken for the client's address";
    finding.affected.push_back(in.model.route_of(scope));
  }
}

/// `proxy` of a geo block: whose X-Forwarded-For is looked up in place of the connection's address.
void check_geo_proxies(Inspection& in) {
  for (const Directive& geo : in.model.tree.directives) {
    if (!geo.is("geo") || !geo.is_block) continue;
    for (const Directive* entry : geo.body) {
      if (!entry->is("proxy")) continue;
      const auto cidr = Cidr::parse(entry->arg(0));
      if (!cidr || cidr->prefix_bits > 4) continue;
      in.report("XFF-01", Level::kHigh, *entry,
                fmt::format("{} lets every client choose the address that is looked up here: "
                            "expected the addresses of your proxies",
                            entry->arg(0)))
          .evidence = "X-Forwarded-For: 10.0.0.1 is looked up as 10.0.0.1";
    }
  }
}

/// The word of a directive that names files and holds what a client wrote; nullptr when none does.
const Word* client_word(const Inspection& in, const Directive& directive, const Scope& scope,
                        Origin& origin) {
  const bool tries = directive.is("try_files");
  const std::size_t last = directive.args.empty() ? 0 : directive.args.size() - 1;
  for (std::size_t i = 0; i < directive.args.size(); ++i) {
    if (tries && i == last) continue;  // a place inside of nginx, or a status
    for (const VariableUse& use : variables_in(directive.arg(i))) {
      origin = in.variables.origin_of_variable(use.name, scope, directive);
      if (!origin.client() || (origin.taint & (kSlashFree | kHostOnly)) != 0) continue;
      // Of the Host field nginx takes no slash and no "..".
      if (is_written_by_client(origin.source) && origin.source != "$http_host") {
        return &directive.args[i];
      }
    }
  }
  return nullptr;
}

/// nginx normalises the path of a request, and nothing else: "../" in a query leads anywhere.
void check_client_files(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    for (const Name name : {Name("alias"), Name("root"), Name("try_files")}) {
      for (const Directive* directive : scope->own_all(name)) {
        Origin origin;
        const Word* word = client_word(in, *directive, *scope, origin);
        if (word == nullptr) continue;
        Finding& finding = in.report(
            "INF-08", Level::kCritical, *directive, *word,
            fmt::format("{} becomes part of a file name, and nginx does not normalise it: with "
                        "\"../\" every file that nginx may read is served; expected a map",
                        origin.source));
        finding.evidence =
            fmt::format("\"../../../../etc/passwd\" in {} leads out of the folder", origin.source);
        finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
        finding.affected.push_back(in.model.route_of(*scope));
      }
    }
  }
}

constexpr RuleEntry kRules[] = {{"XFF-04", check_passed_identity},
                                {"XFF-01", check_claimed_addresses},
                                {"XFF-01", check_geo_proxies},
                                {"INF-08", check_client_files}};

}  // namespace

std::span<const RuleEntry> belief_rules() { return kRules; }

}  // namespace merlon::audit::nginx
