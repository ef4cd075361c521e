#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// Of this very location: one inside of it inherits none.
const Scope* limit_except_of(const Scope& scope) {
  for (const Scope* child : scope.children) {
    if (child->context == kLimitExcept) return child;
  }
  return nullptr;
}

/// The ifs of `levels` on the method, on what a map makes of it, or on a flag that one of them
/// sets.
std::vector<const Directive*> ifs_on_method(const Inspection& in, const Scope& scope,
                                            const std::vector<const Scope*>& levels) {
  std::set<std::string_view> flags;
  const auto on_method = [&](std::string_view name) {
    return name == "request_method" || flags.contains(name);
  };
  std::vector<const Directive*> out;
  for (const Scope* level : levels) {
    for (const Directive* step : level->rewrites) {
      const bool asks =
          step->is("if") && in.variables.depends_on(if_variable(*step), on_method, scope);
      if (!asks) continue;
      out.push_back(step);
      for (const Directive* set : step->body) {
        if (set->is("set") && set->arg(0).starts_with('$')) flags.insert(set->arg(0).substr(1));
      }
    }
  }
  return out;
}

/// True when an `if` of the location or its server may turn away a method that nobody knows. One
/// that looks for a known method does not.
bool tests_method(const Inspection& in, const Scope& scope) {
  std::vector<const Scope*> levels;
  if (const Server* server = in.model.server_of(scope)) levels.push_back(server->scope);
  if (levels.empty() || levels.back() != &scope) levels.push_back(&scope);
  RewritePhase phase({.variables = {{"request_method", "MERLON-MADE-UP"}}}, &in.variables);
  for (const Scope* level : levels) phase.run(*level);
  return std::ranges::any_of(ifs_on_method(in, scope, levels), [&](const Directive* step) {
    const bool leads_away = std::ranges::any_of(step->body, [](const Directive* one) {
      return one->is("rewrite") || (one->is("return") && status_of(*one) >= 300);
    });
    return leads_away && phase.enters(*step).value_or(true);
  });
}

bool forwards_any_method(const Inspection& in, const Location& location) {
  const Scope& scope = *location.scope;
  const Directive* pass = pass_of(scope);
  if (pass == nullptr || pass->is("grpc_pass") || pass->is("memcached_pass")) return false;
  if (scope.has("internal") || return_status(scope) != 0) return false;
  const Directive* fixed = scope.effective("proxy_method");
  return fixed == nullptr && limit_except_of(scope) == nullptr && !tests_method(in, scope) &&
         !is_denied_to_all(scope);
}

void check_unrestricted(Inspection& in) {
  for (const Server& server : in.model.servers) {
    Finding* finding = nullptr;
    for (const Location* location : server.all_locations) {
      if (!forwards_any_method(in, *location)) continue;
      if (location->scope->incomplete) continue;
      if (finding == nullptr) {
        finding = &in.report("MTH-01", Level::kMedium, location->at(),
                             "any method is forwarded, made-up ones too: expected a list of those "
                             "that the route serves");
        finding->confidence = Confidence::kLikely;
      }
      finding->affected.push_back(location->label());
    }
  }
}

/// Whether a list of limit_except holds `method`. What it lists is not limited; GET implies HEAD.
bool lists(const Scope& limit, std::string_view method) {
  return std::ranges::any_of(limit.block->args,
                             [&](const Word& word) { return ascii::iequals(word.text, method); });
}

/// The methods of `methods` that neither limit_except nor an `if` keeps strangers from.
std::vector<std::string> open_methods(const Inspection& in, const Scope& scope,
                                      const Directive& methods) {
  // What limit_except itself lacks is MTH-04.
  const Scope* limit = limit_except_of(scope);
  std::vector<std::string> out;
  for (const Word& word : methods.args) {
    if (limit != nullptr && !lists(*limit, word.text)) continue;
    const std::string method(word.text);
    if (refused_by_if(in, scope, {.variables = {{"request_method", method}}})) continue;
    out.push_back(method);
  }
  return out;
}

void check_dav(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* methods = scope->effective("dav_methods");
    if (methods == nullptr || methods->arg(0) == "off") continue;
    if (handler_of(*scope).kind != Handler::Kind::kStatic) continue;
    const bool guarded = has_authentication(in, *scope) || has_network_acl(*scope);
    const Server* server = in.model.server_of(*scope);
    if (guarded || (server != nullptr && server->is_local())) continue;
    if (scope->context == kServer && !scope->children.empty() && methods->parent != scope->block) {
      continue;
    }
    const std::vector<std::string> open = open_methods(in, *scope, *methods);
    if (open.empty()) continue;
    in.report("MTH-03", Level::kHigh, *methods,
              fmt::format("anyone may use {} on the files: neither authentication nor an address "
                          "list stands before it",
                          join_some(open, 6)))
        .affected.push_back(in.model.route_of(*scope));
  }
}

bool restricts(const Inspection& in, const Scope& limit) {
  if (has_network_acl(limit)) return true;
  if (limit.has("auth_basic") && asked_password(in, limit) != nullptr) return true;
  for (const Name name : {Name("auth_request"), Name("auth_jwt"), Name("auth_digest"),
                          Name("auth_ldap"), Name("auth_pam")}) {
    const Directive* at = limit.own(name);
    if (at != nullptr && at->arg(0) != "off") return true;
  }
  return limit.has("access_by_lua_block") || limit.has("access_by_lua_file") || limit.has("return");
}

void check_limit_except(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kLimitExcept || scope.incomplete) continue;
    if (restricts(in, scope)) continue;
    // A deny list inside narrows something, but lets every other address through.
    in.report("MTH-04", Level::kHigh, *scope.block,
              fmt::format("limit_except {} holds neither \"deny all\" nor authentication: every "
                          "other method is let through",
                          scope.block->arg(0)))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_override(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kLimitExcept || !restricts(in, scope) || scope.parent == nullptr) continue;
    if (!scope.parent->has("proxy_pass")) continue;
    if (forwarded_header(*scope.parent, "X-HTTP-Method-Override") != nullptr) continue;
    if (scope.parent->level_of("proxy_set_header") == nullptr &&
        scope.parent->may_inherit_unseen()) {
      continue;
    }
    Finding& finding = in.report(
        "MTH-05", Level::kLow, *scope.block,
        "the methods are limited, but X-HTTP-Method-Override reaches the upstream, which may act "
        "on it");
    finding.confidence = Confidence::kPossible;
    finding.affected.push_back(in.model.route_of(scope));
  }
}

void check_connect(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* connect = scope.own("proxy_connect");
    if (connect == nullptr) connect = scope.own("tunnel_pass");
    if (connect == nullptr) continue;
    const Server* server = in.model.server_of(scope);
    const bool local = server != nullptr && server->is_local();
    in.report("MTH-06", local ? Level::kInfo : Level::kHigh, *connect,
              "CONNECT is served: clients can open connections to other hosts through this server");
  }
}

void check_answer(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kLimitExcept) continue;
    if (!scope.has("deny") || !has_network_acl(scope) || is_denied_to_all(*scope.parent)) continue;
    bool mapped = false;
    for (const Directive* page : scope.effective_all("error_page")) {
      const auto is_403 = [](const Word& word) { return word.text == "403"; };
      const auto is_405 = [](const Word& word) { return word.text == "=405" || word.text == "="; };
      mapped |= std::ranges::any_of(page->args, is_403) && std::ranges::any_of(page->args, is_405);
    }
    if (mapped) continue;
    in.report("MTH-07", Level::kLow, *scope.block,
              "a refused method is answered 403: expected 405 with Allow (RFC 9110, 15.5.6)")
        .affected.push_back(in.model.route_of(scope));
  }
}

constexpr RuleEntry kRules[] = {
    {"MTH-01", check_unrestricted}, {"MTH-03", check_dav},     {"MTH-04", check_limit_except},
    {"MTH-05", check_override},     {"MTH-06", check_connect}, {"MTH-07", check_answer},
};

}  // namespace

std::span<const RuleEntry> method_rules() { return kRules; }

}  // namespace merlon::audit::nginx
