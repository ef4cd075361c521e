#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "audit/nginx/address_list.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/password.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

void check_if(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kIfInLocation) continue;
    const bool answers = scope.has("return");
    std::vector<std::string> unsafe;
    for (const Directive* directive : scope.settings) {
      const std::string_view name = directive->name.text;
      if (is_one_of(name, {"return", "rewrite", "set", "break", "include", "access_log",
                           "limit_rate", "error_log", "rewrite_log"})) {
        continue;
      }
      // A block that ends in a return answers by itself: its headers do what they seem to.
      if (answers && is_one_of(name, {"add_header", "default_type", "more_set_headers",
                                      "add_trailer", "expires", "charset"})) {
        continue;
      }
      if (!directive->known || std::ranges::find(unsafe, name) != unsafe.end()) continue;
      unsafe.emplace_back(name);
    }
    if (unsafe.empty()) continue;
    in.report("LOC-01", Level::kMedium, *scope.block,
              fmt::format("{} inside if: only return, rewrite and set work there as they look",
                          join_some(unsafe)))
        .affected.push_back(in.model.route_of(scope));
  }
}

/// The access control that stands in this very scope and that return and rewrite come before; ""
/// when there is none. limit_except is none: for the methods that it limits, nginx leaves them out.
std::string own_access_control(const Inspection& in, const Scope& scope) {
  for (const Directive* deny : scope.own_all("deny")) {
    return fmt::format("deny {}", deny->arg(0));
  }
  if (scope.has("auth_basic") && asked_password(in, scope) != nullptr) return "auth_basic";
  for (const Name name : {Name("auth_request"), Name("auth_jwt")}) {
    const Directive* at = scope.own(name);
    if (at != nullptr && at->arg(0) != "off") return std::string(name.text);
  }
  return {};
}

/// What an `if` answers by itself to some: texts, not preflights or redirects, which are rarely for
/// those only who get past the access control.
bool answers_with_text(const Scope& scope) {
  const Directive* at = scope.own("return");
  return return_status(scope) / 100 == 2 && at->args.size() > 1 && !at->arg(1).empty();
}

/// The access control around a location that answers with a text of its own, which comes before
/// that too; "" when there is none, and for texts that are for everyone by their name.
std::string outer_access_control(const Inspection& in, const Scope& scope) {
  const bool text = scope.location != nullptr && answers_with_text(scope);
  if (!text || is_open_on_purpose(scope.location->path)) return {};
  if (!has_authentication(in, scope) && !has_network_acl(scope)) return {};
  std::string out;
  for (const Scope* level = scope.parent; level != nullptr && out.empty(); level = level->parent) {
    out = own_access_control(in, *level);
  }
  return out;
}

void check_return(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const unsigned status = return_status(*scope);
    if (status == 0 || (status >= 400 && status < 600)) continue;
    const bool in_if = (scope->context & (kIfInServer | kIfInLocation)) != 0;
    if (in_if && !answers_with_text(*scope)) continue;
    std::string control = own_access_control(in, in_if ? *scope->parent : *scope);
    const bool outer = control.empty();
    if (outer) control = outer_access_control(in, *scope);
    if (control.empty()) continue;
    const bool redirect = status >= 300;
    const Level level = redirect ? Level::kLow : in_if || outer ? Level::kMedium : Level::kHigh;
    Finding& finding =
        in.report("LOC-02", level, *scope->own("return"),
                  fmt::format("return answers before {} is looked at: {} the {}", control,
                              in_if ? "whoever meets the if gets" : "everyone gets",
                              redirect ? "redirect" : "answer"));
    finding.evidence =
        fmt::format("{} answers {} to a denied client", in.model.route_of(*scope), status);
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

/// The location that a rewrite in a guarded one leads to, when nothing guards that.
const Location* unguarded_end_of(const Inspection& in, const Location& location,
                                 const Directive& rewrite) {
  const std::string_view flag = rewrite.arg(2);
  const std::string_view to = rewrite.arg(1);
  if (!to.starts_with('/') || (flag != "last" && !flag.empty())) return nullptr;
  const std::string path(to.substr(0, to.find_first_of("?$")));
  const Location* next = in.model.match(*location.server, path);
  if (next == nullptr || next == &location || next->scope->is_below(*location.scope)) {
    return nullptr;
  }
  if (guards(in, *next->scope) || next->scope->incomplete) return nullptr;
  // A path of its own that a regular expression takes is PTH-10, rewritten or not.
  return next->is_regex() && path.starts_with(location.path) ? nullptr : next;
}

void report_rewrite(Inspection& in, const Location& location, const Directive& rewrite,
                    const Location& next, std::string_view who) {
  Finding& finding =
      in.report("LOC-02", Level::kHigh, rewrite,
                fmt::format("rewrite leads to {} before {} is looked at, and nothing guards "
                            "that: {} its answer",
                            next.path, own_access_control(in, *location.scope), who));
  finding.trail.push_back({next.at().mark(), "the request is answered here"});
  finding.evidence = fmt::format("{} answers a denied client", location.label());
  finding.affected.push_back(location.label());
}

/// The rewrites in the ifs of a guarded location. False when `steps`, those of the location for
/// each if, are more than may be gone through.
bool judge_rewrites_in_ifs(Inspection& in, const Location& location, std::size_t& steps) {
  constexpr std::size_t kStepsMax = 100'000;
  const Scope& scope = *location.scope;
  for (const Scope* block : scope.children) {
    const Directive* rewrite = block->context == kIfInLocation ? block->own("rewrite") : nullptr;
    if (rewrite == nullptr) continue;
    steps += scope.rewrites.size();
    if (steps > kStepsMax) return false;
    if (!strangers_may_enter(in, *block)) continue;
    const Location* next = unguarded_end_of(in, location, *rewrite);
    // A page of its own for some, such as for old browsers, is nothing of what is guarded.
    if (next == nullptr || pass_of(*next->scope) == nullptr) continue;
    report_rewrite(in, location, *rewrite, *next, "whoever meets the if gets");
  }
  return true;
}

/// Where a rewrite that stands in a guarded location leads: nginx rewrites before it looks at who
/// asks, so that only what guards the new location counts.
void check_rewrite(Inspection& in) {
  std::size_t steps = 0;
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    if (own_access_control(in, scope).empty() || return_status(scope) != 0) continue;
    if (!guards(in, scope)) continue;  // a list of a few that are kept out
    for (const Directive* rewrite : scope.own_all("rewrite")) {
      const Location* next = unguarded_end_of(in, location, *rewrite);
      if (next == nullptr) continue;
      report_rewrite(in, location, *rewrite, *next, "everyone gets");
      break;
    }
    if (judge_rewrites_in_ifs(in, location, steps)) continue;
    return in.not_checked("LOC-02", "there are too many ifs to go through them all");
  }
}

/// A few that are kept out, where the outer level keeps out all but a few: its list is replaced.
void check_replaced_list(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* deny = scope.own("deny");
    if (deny == nullptr || scope.parent == nullptr || scope.has("allow") || scope.incomplete) {
      continue;
    }
    if ((scope.context & (kServer | kLocation)) == 0 || !has_network_acl(*scope.parent)) continue;
    if (has_network_acl(scope) || is_denied_to_all(scope)) continue;
    const Directive* satisfy = scope.effective("satisfy");
    const bool any = satisfy != nullptr && satisfy->arg(0) == "any";
    if (any && has_authentication(in, scope)) continue;
    Finding& finding =
        in.report("LOC-03", Level::kHigh, *deny,
                  "this list replaces the one around it, which ends with \"deny all\": addresses "
                  "that match nothing are let in");
    finding.evidence =
        fmt::format("a client from any other address reaches {}", in.model.route_of(scope));
    const Scope* outer = scope.parent->level_of("deny");
    if (outer != nullptr) {
      finding.trail.push_back({outer->own("deny")->mark(), "the list that is not inherited"});
    }
    finding.affected.push_back(in.model.route_of(scope));
  }
}

void check_allow_without_deny(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const std::vector<const Directive*> allows = scope.own_all("allow");
    if (allows.empty() || scope.incomplete || closes_list(scope)) continue;
    // In limit_except, MTH-04 says it of the block.
    if ((scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    const ListEnd end = end_of_list(scope, scope);
    if (end.open != nullptr || end.half != nullptr) continue;
    if (scope.block == &in.model.tree.root) continue;  // a list that others include
    const Directive* satisfy = scope.effective("satisfy");
    const bool any = satisfy != nullptr && satisfy->arg(0) == "any";
    if (any && has_authentication(in, scope)) continue;
    if (is_denied_to_all(scope)) continue;
    Finding& finding =
        in.report("LOC-03", Level::kHigh, *allows.front(),
                  "allow without \"deny all\" after it: addresses that match nothing are let in");
    finding.evidence =
        fmt::format("a client from any other address reaches {}", in.model.route_of(scope));
    const Scope* outer = scope.parent == nullptr ? nullptr : scope.parent->level_of("deny");
    if (outer != nullptr) {
      finding.trail.push_back({outer->own("deny")->mark(),
                               "this deny is not inherited: the level below has rules of its own"});
    }
    finding.affected.push_back(in.model.route_of(scope));
    const Directive& last = *allows.back();
    if (!replace_statement(last, "x").empty()) {
      std::string line = replace_statement(last, "deny all;")[0].replacement;
      finding.fix = {{last.file, last.end_line + 1, last.end_line, line}};
    }
  }
}

/// A list that ends for everyone of one family of addresses, on a server that takes another too.
void check_half_closed_list(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Scope* list = list_in_force(*scope);
    const Directive* deny = list == nullptr ? nullptr : end_of_list(*list, *scope).half;
    if (deny == nullptr || is_denied_to_all(*scope)) continue;
    const Directive* satisfy = scope->effective("satisfy");
    const bool any = satisfy != nullptr && satisfy->arg(0) == "any";
    if (any && has_authentication(in, *scope)) continue;
    const bool ipv4 = whole_families(deny->arg(0)) == kIpv4;
    Finding& finding = in.report(
        "LOC-03", Level::kHigh, *deny,
        fmt::format("{} is about {} only, and the server takes {} too: expected \"deny all\"",
                    deny->arg(0), ipv4 ? "IPv4" : "IPv6", ipv4 ? "IPv6" : "IPv4"));
    finding.evidence = fmt::format("a client with an {} address reaches {}", ipv4 ? "IPv6" : "IPv4",
                                   in.model.route_of(*scope));
    if (const Directive* from = scope->effective("set_real_ip_from")) {
      finding.trail.push_back({from->mark(), "this proxy hands in addresses of both"});
    }
    finding.affected.push_back(in.model.route_of(*scope));
    finding.fix = replace_statement(*deny, "deny all;");
  }
}

void check_satisfy(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* satisfy = scope->effective("satisfy");
    if (satisfy == nullptr || satisfy->arg(0) != "any") continue;
    if (!has_authentication(in, *scope)) continue;
    const Scope* allow = scope->level_of("allow");
    if (allow == nullptr) continue;
    const Scope* deny = scope->level_of("deny");
    if (deny != nullptr && deny != allow && deny->is_below(*allow)) continue;
    const Directive* open = end_of_list(*allow, *scope).open;
    if (open == nullptr) continue;
    Finding& finding = in.report(
        "LOC-04", Level::kCritical, *satisfy,
        fmt::format("satisfy any with \"allow {}\": every address satisfies it, so nobody is asked "
                    "to authenticate",
                    open->arg(0)));
    finding.trail.push_back({open->mark(), "this rule lets everyone in"});
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

void check_auth_off(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    if (scope->parent == nullptr) continue;
    for (const Name name : {Name("auth_basic"), Name("auth_request"), Name("auth_jwt")}) {
      const Directive* off = scope->own(name);
      if (off == nullptr || off->arg(0) != "off") continue;
      const Directive* outer = scope->parent->effective(name);
      if (outer == nullptr || outer->arg(0) == "off") continue;
      if (is_denied_to_all(*scope) || has_network_acl(*scope)) continue;
      if (has_authentication(in, *scope)) continue;
      const unsigned status = return_status(*scope);
      const Location* location = in.model.location_of(*scope);
      const bool harmless = status >= 300 || scope->has("internal") ||
                            (location != nullptr && is_open_on_purpose(location->path));
      // Of tokens, catalogue rule JWT-02 speaks.
      const bool token = name.text == "auth_jwt";
      if (token && harmless) continue;
      Finding& finding =
          in.report(token ? "JWT-02" : "LOC-05",
                    harmless ? Level::kInfo
                    : token  ? Level::kHigh
                             : Level::kMedium,
                    *off,
                    fmt::format("{} is switched off for {}, which the outer level protects",
                                name.text, in.model.route_of(*scope)));
      finding.trail.push_back({outer->mark(), "it is on here"});
      finding.affected.push_back(in.model.route_of(*scope));
    }
  }
}

/// True when other hosts may speak to the server in clear all the way.
bool is_reached_in_clear(const Inspection& in, const Server& server) {
  return !server.listens.empty() && !server.is_local() &&
         server.scope->block != &in.model.tree.root &&
         !terminates_elsewhere(in.model, in.variables, server);
}

/// The auth_basic by which at least those are asked for a password who do not switch it off.
const Directive* password_of_some(const Inspection& in, const Scope& scope) {
  if (const Directive* asked = asked_password(in, scope)) return asked;
  const Directive* basic = scope.effective("auth_basic");
  const bool file = basic != nullptr && scope.effective("auth_basic_user_file") != nullptr;
  return file && !switch_of_client(in, scope, *basic).empty() ? basic : nullptr;
}

void check_basic_in_clear(Inspection& in) {
  std::map<const Server*, bool> in_clear;
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* basic = password_of_some(in, *scope);
    const Server* server = in.model.server_of(*scope);
    if (basic == nullptr || server == nullptr) continue;
    const auto [clear, added] = in_clear.try_emplace(server);
    if (added) clear->second = is_reached_in_clear(in, *server);
    if (!clear->second) continue;
    const bool exposed = std::ranges::any_of(server->listens, [&](const Listen& l) {
      return !l.ssl && !l.quic && !l.is_local() && !l.proxy_protocol &&
             !redirects_cleartext(in, *scope, l);
    });
    if (!exposed) continue;
    const Level level = relies_on_forwarded_scheme(*server) ? Level::kMedium : Level::kHigh;
    Finding& finding = in.report("LOC-06", level, *basic,
                                 "passwords travel in clear: auth_basic on a server without TLS");
    finding.confidence = Confidence::kLikely;
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

enum class Hash : std::uint8_t { kStrong, kMd5, kWeak };

Hash hash_of(std::string_view field) {
  if (field.starts_with("$2") || field.starts_with("$5$") || field.starts_with("$6$") ||
      field.starts_with("$y$") || field.starts_with("$7$") || field.starts_with("$argon2") ||
      field.starts_with("{SSHA")) {
    return Hash::kStrong;
  }
  if (field.starts_with("$apr1$") || field.starts_with("$1$")) return Hash::kMd5;
  return Hash::kWeak;
}

void check_password_files(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* named : scope.own_all("auth_basic_user_file")) {
      FileReader::Read keep;
      Hash worst = Hash::kStrong;
      for_each_password(named_file(in, named->arg(0), keep),
                        [&](std::string_view, std::string_view field) {
                          worst = std::max(worst, hash_of(field));
                        });
      if (worst == Hash::kStrong) continue;
      in.report("LOC-06", worst == Hash::kMd5 ? Level::kMedium : Level::kHigh, *named,
                worst == Hash::kMd5
                    ? "passwords are kept as MD5 hashes, which are fast to guess: expected bcrypt"
                    : "passwords are kept in clear or under a broken hash: expected bcrypt");
    }
  }
}

bool is_vital(std::string_view name) {
  constexpr std::array<std::string_view, 9> kVital = {"host",
                                                      "x-real-ip",
                                                      "x-forwarded-for",
                                                      "x-forwarded-proto",
                                                      "x-forwarded-host",
                                                      "forwarded",
                                                      "authorization",
                                                      "x-forwarded-user",
                                                      "x-user"};
  return std::ranges::any_of(kVital,
                             [&](std::string_view vital) { return ascii::iequals(vital, name); });
}

bool passes_below(const Scope& scope) {
  if (pass_of(scope) != nullptr) return true;
  return std::ranges::any_of(scope.children, [](const Scope* child) {
    return (child->context & (kLocation | kIfInLocation)) != 0 && passes_below(*child);
  });
}

/// What to repeat of an outer level: where a fix of its own (HST-01) changes the statement there,
/// what that makes of it.
std::string as_repeated(const Directive& header) {
  const bool host = ascii::iequals(header.arg(0), "Host") && header.arg(1) == "$http_host";
  return host ? fmt::format("{} Host $host;", header.name.text) : statement(header) + ";";
}

void check_lost_request_headers(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Name name =
        scope->has("grpc_set_header") ? Name("grpc_set_header") : Name("proxy_set_header");
    const Directive* first = scope->own(name);
    if (first == nullptr || scope->parent == nullptr || !passes_below(*scope)) continue;
    const Scope* outer = scope->parent->level_of(name);
    if (outer == nullptr) continue;
    const auto own = scope->own_all(name);
    std::vector<std::string> lost;
    std::vector<const Directive*> causes;
    for (const Directive* header : outer->own_all(name)) {
      if (!is_vital(header->arg(0))) continue;
      const bool repeated = std::ranges::any_of(
          own, [&](const Directive* d) { return ascii::iequals(d->arg(0), header->arg(0)); });
      if (repeated) continue;
      lost.emplace_back(header->arg(0));
      causes.push_back(header);
    }
    if (lost.empty()) continue;
    Finding& finding = in.report(
        "LOC-07", Level::kMedium, *first,
        fmt::format("{} here replaces all of the outer level: {} {} lost, and should be repeated",
                    name.text, join_some(lost), lost.size() == 1 ? "is" : "are"));
    const std::vector<Edit> shape = replace_statement(*first, "");
    std::string lines;
    for (const Directive* cause : causes) {
      finding.trail.push_back({cause->mark(), fmt::format("{} is set here", cause->arg(0))});
      if (!shape.empty()) {
        lines += shape[0].replacement.substr(0, shape[0].replacement.size() - 1) +
                 as_repeated(*cause) + "\n";
      }
    }
    finding.affected.push_back(in.model.route_of(*scope));
    if (!lines.empty()) {
      finding.fix = {{first->file, first->name.line, first->name.line - 1, lines}};
    }
  }
}

/// The location that would take what `location` takes, were it not there, when that one asks for
/// `name`: nginx takes the longest prefix and nothing of shorter ones.
const Location* protected_prefix(const Location& location, Name name) {
  const Location* found = nullptr;
  for (const Location* other : location.server->locations) {
    const bool prefix =
        other->match == Location::Match::kPrefix || other->match == Location::Match::kPrefixFirst;
    if (!prefix || other == &location || !location.path.starts_with(other->path)) continue;
    if (found == nullptr || other->path.size() > found->path.size()) found = other;
  }
  const Directive* on = found == nullptr ? nullptr : found->scope->own(name);
  return on == nullptr || on->arg(0) == "off" ? nullptr : found;
}

/// `off` beside a location whose prefix is shorter: as much an exception as one inside of it.
void check_auth_off_beside(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    if (location.is_regex() || location.match == Location::Match::kNamed) continue;
    if (return_status(scope) != 0 || location.internal || is_open_on_purpose(location.path))
      continue;
    if (is_denied_to_all(scope) || has_network_acl(scope)) continue;
    if (has_authentication(in, scope)) continue;
    for (const Name name : {Name("auth_basic"), Name("auth_request")}) {
      const Directive* off = scope.own(name);
      if (off == nullptr || off->arg(0) != "off" || scope.parent->effective(name) != nullptr)
        continue;
      const Location* outer = protected_prefix(location, name);
      if (outer == nullptr) continue;
      Finding& finding = in.report("LOC-05", Level::kMedium, *off,
                                   fmt::format("{} is switched off for {}, which lies below {}",
                                               name.text, in.model.route_of(scope), outer->path));
      finding.trail.push_back({outer->scope->own(name)->mark(), "it is on here"});
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

/// A realm whose name is "off" for clients that send something: they leave the question out.
void check_auth_off_by_client(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* basic = scope->own("auth_basic");
    const std::string source = basic == nullptr ? "" : switch_of_client(in, *scope, *basic);
    if (source.empty() || return_status(*scope) != 0 || is_denied_to_all(*scope)) continue;
    Finding& finding = in.report(
        "LOC-05", has_network_acl(*scope) ? Level::kLow : Level::kMedium, *basic,
        fmt::format("the client switches auth_basic off by what it sends in {}: expected a realm "
                    "that no client chooses",
                    source));
    const Directive* map = in.variables.map_of(variables_in(basic->arg(0))[0].name);
    finding.trail.push_back({map->mark(), "it makes \"off\" of the realm"});
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

/// True when content of a server comes from its own scope, and not from locations only.
bool answers_itself(const Server& server) {
  return std::ranges::none_of(server.locations,
                              [](const Location* location) { return location->path == "/"; });
}

/// auth_basic without a file of passwords: nginx starts, and asks nobody.
void check_missing_passwords(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    if ((scope->context & (kServer | kLocation)) == 0) continue;
    const Directive* basic = scope->effective("auth_basic");
    if (basic == nullptr || basic->arg(0) == "off" || scope->may_inherit_unseen()) continue;
    if (scope->effective("auth_basic_user_file") != nullptr) continue;
    if (scope->server != nullptr && !answers_itself(*scope->server)) continue;
    if (return_status(*scope) != 0 || is_denied_to_all(*scope) || scope->has("internal")) continue;
    const bool guarded = has_network_acl(*scope) || has_authentication(in, *scope);
    in.report("LOC-05", guarded ? Level::kMedium : Level::kHigh, *basic,
              "nobody is asked for a password: nginx leaves auth_basic out where "
              "auth_basic_user_file names no file")
        .affected.push_back(in.model.route_of(*scope));
  }
}

constexpr RuleEntry kRules[] = {
    {"LOC-01", check_if},
    {"LOC-02", check_return},
    {"LOC-02", check_rewrite},
    {"LOC-03", check_allow_without_deny},
    {"LOC-03", check_replaced_list},
    {"LOC-03", check_half_closed_list},
    {"LOC-04", check_satisfy},
    {"LOC-05", check_auth_off},
    {"LOC-05", check_auth_off_beside},
    {"LOC-05", check_auth_off_by_client},
    {"LOC-05", check_missing_passwords},
    {"LOC-06", check_basic_in_clear},
    {"LOC-06", check_password_files},
    {"LOC-07", check_lost_request_headers},
};

}  // namespace

std::span<const RuleEntry> access_rules() { return kRules; }

}  // namespace merlon::audit::nginx
