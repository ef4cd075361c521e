#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/nginx/address_list.h"
#include "audit/nginx/directives.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/identity_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"

namespace merlon::audit::nginx {
namespace {

/// Whether anything reads the variable of a claim, a requirement of this scope among others.
bool reads(const Inspection& in, const Scope& scope, std::string_view claim) {
  if (in.variables.is_used(claim)) return true;
  const auto names = [&](const Word& word) {
    return in.variables.depends_on(
        word.text, [&](std::string_view variable) { return variable == claim; }, scope);
  };
  return std::ranges::any_of(
      scope.effective_all("auth_jwt_require"),
      [&](const Directive* required) { return std::ranges::any_of(required->args, names); });
}

void check_audience(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* jwt = scope.own("auth_jwt");
    if (jwt == nullptr || jwt->arg(0) == "off") continue;
    std::vector<std::string> missing;
    if (!reads(in, scope, "jwt_claim_aud")) missing.emplace_back("audience");
    if (!reads(in, scope, "jwt_claim_iss")) missing.emplace_back("issuer");
    if (missing.empty()) continue;
    in.report("JWT-03", Level::kHigh, *jwt,
              fmt::format("the {} of tokens {} not checked: one that was made for another service "
                          "is taken; expected auth_jwt_require",
                          join_some(missing), missing.size() == 1 ? "is" : "are"))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_key_transport(Inspection& in) {
  std::map<const Directive*, std::size_t> reported;
  for (const KeySource& source : key_sources(in.model)) {
    const auto& [request, location] = source;
    const Directive* pass = location->scope->own("proxy_pass");
    if (pass == nullptr) continue;
    const Target target = parse_target(pass->arg(0));
    const bool clear = target.scheme == "http" && distance_of(target.host) == Distance::kPublic;
    const bool unverified =
        target.scheme == "https" && !location->scope->flag("proxy_ssl_verify", false);
    if (!clear && !unverified) continue;
    const auto [found, added] = reported.try_emplace(pass, in.out.findings.size());
    if (!added) continue;
    Finding& finding = in.report(
        "JWT-05", Level::kHigh, *pass,
        clear ? "the keys that verify tokens are fetched in clear: whoever is on the way replaces "
                "them"
              : "the keys that verify tokens come from a server whose certificate is not verified");
    finding.trail.push_back({request->mark(), "the keys are asked for here"});
    finding.affected.push_back(location->label());
  }
}

/// An `if` with more than one variable in its parentheses, which may stand apart.
bool compares(const Directive& condition) {
  return std::ranges::count_if(condition.args, [](const Word& word) {
           return word.text != "(" && word.text != ")";
         }) > 1;
}

/// The variables that anything but a log reads.
std::set<std::string_view> read_outside_logs(const Model& model) {
  std::set<std::string_view> out;
  for (const Directive& directive : model.tree.directives) {
    if (directive.is("log_format") || directive.is("access_log")) continue;
    const bool defines = directive.is("map") || directive.is("set");
    for (std::size_t i = 0; i < directive.args.size(); ++i) {
      if (defines && i == (directive.is("map") ? 1 : 0)) continue;
      for (const VariableUse& use : variables_in(directive.arg(i))) out.insert(use.name);
    }
  }
  return out;
}

/// if ($arg_token), and if ($arg_token != "") { return 400; }: neither takes it for who the client
/// is.
bool asks_for_presence(const Directive& condition) {
  if (!compares(condition)) return true;
  const auto has = [&](auto&& is) { return std::ranges::any_of(condition.args, is); };
  return has([](const Word& word) { return word.text == "!="; }) &&
         has([](const Word& word) { return word.text.empty(); }) &&
         std::ranges::any_of(condition.body,
                             [](const Directive* inside) { return inside->is("return"); });
}

/// A map that puts something else into the log where there is a credential. One that is read
/// elsewhere, or compares with a value, is a check.
bool masks(const Directive& map, const std::set<std::string_view>& read_elsewhere) {
  const std::string_view name = map.arg(1).substr(std::min<std::size_t>(1, map.arg(1).size()));
  return !read_elsewhere.contains(name) &&
         std::ranges::all_of(map.body, [](const Directive* entry) {
           const std::string_view key = entry->name.text;
           const bool compares = !key.empty() && key != "default" && !key.starts_with('~');
           return !compares && query_credential_in(entry->arg(0)).empty();
         });
}

/// The query argument with a credential that a directive names; "" when none.
std::string_view credential_of(const Directive& directive) {
  for (const Word& word : directive.args) {
    const std::string_view credential = query_credential_in(word.text);
    if (!credential.empty()) return credential;
  }
  return {};
}

void check_query_credentials(Inspection& in) {
  for (const Directive* use : query_credential_uses(in)) {
    Finding& finding = in.report(
        "JWT-06", Level::kHigh, *use,
        fmt::format("a credential is taken from the query (${}): URLs end up in logs, histories "
                    "and Referer fields; expected the Authorization header",
                    credential_of(*use)));
    const auto scope = in.model.scope_of_block.find(use->parent);
    if (scope != in.model.scope_of_block.end()) {
      finding.affected.push_back(in.model.route_of(*scope->second));
    }
  }
}

/// A shared secret in a file that others read lets them make tokens.
void check_key_files(Inspection& in) {
  if (!in.on_disk) return;
  for (const Scope& scope : in.model.scopes) {
    const Directive* key = scope.own("auth_jwt_key_file");
    if (key == nullptr || key->arg(0).find('$') != std::string_view::npos) continue;
    std::string path(key->arg(0));
    if (!path.starts_with('/')) {
      const std::string& main = in.model.tree.files.front()->path;
      path.insert(0, main, 0, main.rfind('/') + 1);
    }
    const FileReader::Read got = in.files.read(path, path);
    struct stat about{};
    if (got.source == nullptr || ::stat(path.c_str(), &about) != 0) continue;
    const bool shared = got.source->text.find("\"oct\"") != std::string::npos;
    if (!shared || (about.st_mode & S_IROTH) == 0) continue;
    in.report("JWT-04", Level::kCritical, *key,
              fmt::format("everyone on this host may read the shared secret in {} and make tokens "
                          "with it: expected keys of an asymmetric algorithm",
                          key->arg(0)))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_leeway(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* leeway = scope.own("auth_jwt_leeway");
    std::uint64_t value = 0;
    if (leeway == nullptr || !parse_time(leeway->arg(0), value) || value <= 300'000) continue;
    in.report(
        "JWT-07", Level::kMedium, *leeway,
        fmt::format("expired tokens are taken for {} more: expected 60s or less", leeway->arg(0)));
  }
}

bool is_server_error(std::string_view code) { return code.size() == 3 && code[0] == '5'; }

/// Where an error_page leads to inside of the server; nullptr when to another one or nowhere.
const Location* target_of(const Model& model, const Server& server, const Directive& page) {
  const std::string_view target = page.args.empty() ? "" : page.args.back().text;
  if (!target.starts_with('@')) return model.match(server, target.substr(0, target.find('?')));
  for (const Location* location : server.all_locations) {
    if (location->match == Location::Match::kNamed && location->path == target) return location;
  }
  return nullptr;
}

/// The server that a proxy_pass asks, without a path that a variable brings.
Target asked_by(const Directive& pass) {
  const std::string_view whole = pass.arg(0);
  return parse_target(whole.substr(0, std::min(whole.find("$request_uri"), whole.find("$uri"))));
}

/// True when an upstream is asked for the path that the client asked for, although an error_page
/// leads here; `named` keeps the path, others have one of their own.
bool keeps_path(const Directive& pass, bool named) {
  const std::string_view whole = pass.arg(0);
  if (whole.find("$request_uri") != std::string_view::npos) return true;
  return named &&
         (parse_target(whole).path.empty() || whole.find("$uri") != std::string_view::npos);
}

/// True when the location that an error leads to asks on its own who the client is. Certificates
/// and addresses that the whole server asks for do not stand for the authorisation.
bool is_asked_again(const Inspection& in, const Scope& scope) {
  const Directive* request = scope.effective("auth_request");
  if (request != nullptr && request->arg(0) != "off") return true;
  const bool own = scope.has("auth_basic") || scope.has("auth_jwt") || scope.has("deny");
  return is_denied_to_all(scope) || (own && guards(in, scope));
}

/// True when the location that an error leads to answers with what `guarded` protects.
bool serves_the_same(const Inspection& in, const Scope& guarded, const Location& to) {
  const Scope& scope = *to.scope;
  if (is_asked_again(in, scope) || return_status(scope) != 0 || scope.has("rewrite")) return false;
  const bool named = to.match == Location::Match::kNamed;
  const Directive* mine = pass_of(guarded);
  const Directive* other = pass_of(scope);
  if ((mine == nullptr) != (other == nullptr)) return false;
  if (mine != nullptr && mine->is("proxy_pass") && other->is("proxy_pass")) {
    const Target one = asked_by(*mine);
    const Target two = asked_by(*other);
    const bool same = one.host == two.host && one.port == two.port;
    return same && keeps_path(*other, named);
  }
  if (!named) return false;
  if (mine != nullptr) return mine->name.text == other->name.text && mine->arg(0) == other->arg(0);
  const Directive* root = guarded.effective("root");
  const Directive* there = scope.effective("root");
  return root != nullptr && there != nullptr && root->arg(0) == there->arg(0) &&
         !scope.has("try_files") && !scope.has("alias") && !guarded.has("alias");
}

/// A question that decides about a request, and the statuses of its refusals.
struct Guard {
  const Directive* at = nullptr;
  bool refuses_401 = false;
  bool refuses_403 = false;
  bool may_fail = false;  ///< it asks a service: what goes wrong there is answered with 5xx
};

/// What decides about the requests of a scope.
std::vector<Guard> guards_of(const Inspection& in, const Scope& scope) {
  std::vector<Guard> out;
  const Directive* request = scope.effective("auth_request");
  if (request != nullptr && request->arg(0) != "off") out.push_back({request, true, true, true});
  const Directive* satisfy = scope.effective("satisfy");
  const bool either = satisfy != nullptr && satisfy->arg(0) == "any";
  if (const Directive* basic = asked_password(in, scope))
    out.push_back({.at = basic, .refuses_401 = true});
  const Scope* list = list_in_force(scope);
  const Directive* closed = list == nullptr ? nullptr : end_of_list(*list, scope).closed;
  // Whoever may show a password instead is asked for it.
  if (closed != nullptr) out.push_back({.at = closed, .refuses_401 = either, .refuses_403 = true});
  return out;
}

/// True when an error_page is for refusals of `guard`, or for its failures.
bool is_for_refusals(const Directive& page, const Guard& guard) {
  return std::ranges::any_of(page.args, [&](const Word& word) {
    return (guard.may_fail && is_server_error(word.text)) ||
           (guard.refuses_401 && word.text == "401") || (guard.refuses_403 && word.text == "403");
  });
}

/// The location by which an error_page answers those whom `guard` refuses with what it protects;
/// nullptr when it does not.
const Location* opened_by(const Inspection& in, const Scope& scope, const Guard& guard,
                          const Directive& page) {
  const Server* server = in.model.server_of(scope);
  if (server == nullptr || !is_for_refusals(page, guard)) return nullptr;
  const Location* to = target_of(in.model, *server, page);
  if (to == nullptr || !serves_the_same(in, scope, *to)) return nullptr;
  // A list or a password of the whole server is asked for there once more.
  return guard.may_fail || !guards(in, *to->scope) ? to : nullptr;
}

Finding& report_fail_open(Inspection& in, const Guard& guard, const Directive& page,
                          const Location& to) {
  Finding& finding = in.report(
      "JWT-08", Level::kHigh, page,
      guard.may_fail
          ? std::string("when the authorisation service fails or refuses, the request is answered "
                        "all the same: expected an error")
          : fmt::format("whom {} refuses gets what it protects all the same: expected an error",
                        guard.at->name.text));
  finding.trail.push_back({guard.at->mark(), guard.may_fail ? "authorised here" : "refused here"});
  finding.trail.push_back({to.at().mark(), "answered here, without a question"});
  return finding;
}

/// An error_page that leads to the same content without the question.
void check_fail_open(Inspection& in) {
  std::map<const Directive*, Finding*> reported;
  for (const Scope* scope : request_scopes(in.model)) {
    for (const Directive* page : scope->effective_all("error_page")) {
      for (const Guard& guard : guards_of(in, *scope)) {
        const Location* to = opened_by(in, *scope, guard, *page);
        if (to == nullptr) continue;
        Finding*& finding = reported[page];
        if (finding == nullptr) finding = &report_fail_open(in, guard, *page, *to);
        finding->affected.push_back(in.model.route_of(*scope));
        break;
      }
    }
  }
}

/// True when an error_page is for what goes wrong while the authorisation service is asked: its
/// absence, or its own refusals where they are intercepted.
bool is_for_authorizer(const Scope& authorizer, const Directive& page) {
  return authorizer.flag("proxy_intercept_errors", false) ||
         std::ranges::any_of(page.args,
                             [](const Word& word) { return is_server_error(word.text); });
}

/// True when an error_page gives a success: "=200", or "=" with a location that answers so. Who may
/// come there is not asked of a subrequest, but a `return` is heard.
bool turns_into_success(const Model& model, const Server& server, const Directive& page) {
  bool success = false;
  bool of_target = false;
  for (const Word& word : page.args) {
    success = success || word.text.starts_with("=2");
    of_target = of_target || word.text == "=";
  }
  if (!success && !of_target) return false;
  const Location* to = target_of(model, server, page);
  if (to == nullptr) return success;
  const unsigned status = return_status(*to->scope);
  return status == 0 || (status >= 200 && status < 300);
}

/// True when an `if` of the scope answers as an auth_request hears a refusal. The rewrite phase
/// comes to it before a `return` behind it.
bool may_refuse(const Model& model, const Scope& scope) {
  for (const Directive* step : scope.rewrites) {
    if (step->is("return")) return false;
    const auto block = model.scope_of_block.find(step);
    if (block == model.scope_of_block.end()) continue;
    const unsigned status = return_status(*block->second);
    if (status == 401 || status == 403) return true;
  }
  return false;
}

/// The location that an auth_request asks must not say yes by itself.
void check_authorizer(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* request = scope.own("auth_request");
    const Server* server = in.model.server_of(scope);
    if (request == nullptr || request->arg(0) == "off" || server == nullptr) continue;
    const Location* location = in.model.match(*server, request->arg(0));
    if (location == nullptr) continue;
    const unsigned status = return_status(*location->scope);
    const bool asks =
        may_refuse(in.model, *server->scope) || may_refuse(in.model, *location->scope);
    if (status >= 200 && status < 300 && !asks) {
      Finding& finding = in.report("JWT-08", Level::kHigh, *location->scope->own("return"),
                                   "the authorisation request is always answered with success");
      finding.trail.push_back({request->mark(), "asked here"});
      finding.affected.push_back(in.model.route_of(scope));
    }
    for (const Directive* page : location->scope->effective_all("error_page")) {
      if (!is_for_authorizer(*location->scope, *page)) continue;
      if (!turns_into_success(in.model, *server, *page)) continue;
      Finding& finding = in.report(
          "JWT-08", Level::kHigh, *page,
          "a failure of the authorisation service is turned into success: everyone is let "
          "in");
      finding.remediation =
          "Write this error_page without \"=\", or repeat it so in the location that is asked";
      finding.trail.push_back({request->mark(), "asked here"});
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"JWT-02", nullptr},
    {"JWT-03", check_audience},
    {"JWT-04", check_key_files},
    {"JWT-05", check_key_transport},
    {"JWT-06", check_query_credentials},
    {"JWT-07", check_leeway},
    {"JWT-08", check_fail_open},
    {"JWT-08", check_authorizer},
};

}  // namespace

bool answers_the_refused(const Inspection& inspection, const Scope& scope) {
  const std::vector<const Directive*> pages = scope.effective_all("error_page");
  if (pages.empty()) return false;
  const std::vector<Guard> all = guards_of(inspection, scope);
  return std::ranges::any_of(pages, [&](const Directive* page) {
    return std::ranges::any_of(all, [&](const Guard& guard) {
      return opened_by(inspection, scope, guard, *page) != nullptr;
    });
  });
}

std::vector<const Directive*> query_credential_uses(const Inspection& inspection) {
  const std::set<std::string_view> read_elsewhere = read_outside_logs(inspection.model);
  std::vector<const Directive*> out;
  for (const Directive& directive : inspection.model.tree.directives) {
    const std::string_view name = directive.name.text;
    const bool relevant = name == "auth_jwt" || name == "map" || name == "if" ||
                          name == "proxy_set_header" || name == "set" ||
                          name == "auth_request_set" || name == "fastcgi_param";
    if (!relevant || credential_of(directive).empty()) continue;
    if (name == "if" && asks_for_presence(directive)) continue;
    if (name == "map" && masks(directive, read_elsewhere)) continue;
    out.push_back(&directive);
  }
  return out;
}

std::span<const RuleEntry> identity_rules() { return kRules; }

}  // namespace merlon::audit::nginx
