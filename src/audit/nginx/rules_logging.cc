#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/nginx/header_view.h"
#include "audit/nginx/identity_view.h"
#include "audit/nginx/pattern.h"
#include "audit/nginx/regex_syntax.h"
#include "audit/nginx/rules.h"
#include "audit/words.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

bool has_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

/// What stands for a secret in texts that patterns are tried on.
constexpr std::string_view kSecret = "0123456789abcdef0123456789abcdef";

bool is_credential(std::string_view name) {
  if (name == "http_authorization" || name == "http_cookie" || name == "request_body" ||
      name == "sent_http_set_cookie" || name == "upstream_http_set_cookie" ||
      name == "http_proxy_authorization" || name == "http_x_api_key" ||
      name == "http_x_auth_token" || name == "http_apikey") {
    return true;
  }
  if (name.starts_with("cookie_")) {
    return names_secret(name) || speaks_of_authentication(name) ||
           has_word(name, {"sess*", "*session*", "*sessid*", "*sid", "jwt*", "*jwt", "*csrf*",
                           "*xsrf*", "remember*"});
  }
  if (name.starts_with("http_")) return names_secret(name);
  return !query_credential_in(fmt::format("${}", name)).empty();
}

/// What `set` gives to variables, by their names, in whatever scope.
std::multimap<std::string_view, std::string_view> set_values(const Model& model) {
  std::multimap<std::string_view, std::string_view> out;
  for (const Scope& scope : model.scopes) {
    for (const Directive* set : scope.own_all("set")) {
      const std::string_view name = set->arg(0);
      if (name.starts_with('$')) out.emplace(name.substr(1), set->arg(1));
    }
  }
  return out;
}

/// Texts that hold a secret, of the kind that a variable named so holds.
std::vector<std::string> samples_of(std::string_view variable, const Pattern& pattern) {
  if (variable.ends_with("authorization")) {
    return {fmt::format("Basic {}", kSecret), fmt::format("Bearer {}", kSecret)};
  }
  if (variable != "http_cookie") return {std::string(kSecret)};
  std::vector<std::string> out;
  for (const std::string_view name :
       {"sid", "sessionid", "session_id", "session", "PHPSESSID", "JSESSIONID", "connect.sid",
        "token", "auth", "auth_token", "jwt", "access_token"}) {
    out.push_back(fmt::format("{}={}", name, kSecret));
    out.push_back(fmt::format("a=b; {}={}; c=d", name, kSecret));
  }
  // Of the cookie that the pattern is about: its name says whether it is a secret.
  std::string own = pattern.sample();
  const std::size_t sign = own.find('=');
  std::string lower = own.substr(0, sign);
  std::ranges::transform(lower, lower.begin(), ascii::lower);
  if (sign != std::string::npos && is_credential("cookie_" + lower)) {
    out.push_back(own.substr(0, sign + 1).append(kSecret));
  }
  return out;
}

/// True when what `value` takes of a match of the key of `entry` is a secret of the credential that
/// the map looks at. Its scheme, or a cookie that is none, is no secret.
bool captures_secret(const Directive& map, const Directive& entry) {
  const std::string_view key = entry.name.text;
  const std::vector<VariableUse> sources = variables_in(map.arg(0));
  if (!key.starts_with('~') || sources.size() != 1 || !is_credential(sources[0].name)) return false;
  const bool ignore_case = key.starts_with("~*");
  const std::string_view text = key.substr(ignore_case ? 2 : 1);
  const Pattern pattern(text, ignore_case);
  const std::vector<std::string> samples = samples_of(sources[0].name, pattern);
  return std::ranges::any_of(variables_in(entry.arg(0)), [&](const VariableUse& use) {
    const bool numbered = use.name.size() == 1 && ascii::is_digit(use.name[0]);
    const std::size_t group =
        numbered ? static_cast<std::size_t>(use.name[0] - '0') : pattern.group_named(use.name);
    if (group == 0) return false;
    return std::ranges::any_of(samples, [&](const std::string& sample) {
      return captured(text, ignore_case, sample, group).value_or("").find(kSecret) !=
             std::string::npos;
    });
  });
}

/// True when a map or a `set` hands a credential on under the name of `variable`, whole or what is
/// secret of it.
bool copies_credential(const Inspection& in,
                       const std::multimap<std::string_view, std::string_view>& sets,
                       std::string_view variable) {
  const auto holds_one = [](std::string_view value) {
    return std::ranges::any_of(variables_in(value),
                               [](const VariableUse& use) { return is_credential(use.name); });
  };
  if (const Directive* map = in.variables.map_of(variable)) {
    return map->is("map") && std::ranges::any_of(map->body, [&](const Directive* entry) {
             const bool fallback = entry->name.text == "default" && !entry->name.quoted;
             const bool open = fallback || entry->name.text.starts_with('~');
             return open && (holds_one(entry->arg(0)) || captures_secret(*map, *entry));
           });
  }
  const auto [first, last] = sets.equal_range(variable);
  return std::any_of(first, last, [&](const auto& one) { return holds_one(one.second); });
}

/// The names of the formats that some access_log uses.
std::set<std::string_view> formats_in_use(const Model& model) {
  std::set<std::string_view> out;
  for (const Scope& scope : model.scopes) {
    for (const Directive* log : scope.own_all("access_log")) {
      if (log->args.size() >= 2) out.insert(log->arg(1));
    }
  }
  return out;
}

/// The variables in `text`, a word of a log format, that record a credential as it was sent.
std::vector<std::string> leaks_in(const Inspection& in,
                                  const std::multimap<std::string_view, std::string_view>& sets,
                                  std::string_view text) {
  std::vector<std::string> out;
  for (const VariableUse& use : variables_in(text)) {
    // A map may have masked it: what the map makes of it is not the credential.
    const bool itself = is_credential(use.name) && in.variables.map_of(use.name) == nullptr;
    if (itself || copies_credential(in, sets, use.name)) {
      out.push_back(fmt::format("${}", use.name));
    }
  }
  return out;
}

void check_credentials(Inspection& in) {
  const std::set<std::string_view> used = formats_in_use(in.model);
  const auto sets = set_values(in.model);
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kHttp) continue;
    for (const Directive* format : scope.own_all("log_format")) {
      const bool applies = used.contains(format->arg(0)) || !in.model.framed;
      for (std::size_t i = 1; i < format->args.size(); ++i) {
        const Word& word = format->args[i];
        const std::vector<std::string> leaks = leaks_in(in, sets, word.text);
        if (leaks.empty()) continue;
        Finding& finding = in.report(
            "LOG-01", applies ? Level::kHigh : Level::kInfo, *format, word,
            fmt::format("{} {} into the log as sent: who reads the log can act as the user{}",
                        join_some(leaks), leaks.size() == 1 ? "goes" : "go",
                        applies ? "" : " (no access_log uses this format yet)"));
        finding.affected.push_back(fmt::format("log_format {}", format->arg(0)));
      }
    }
  }
}

/// The word of a log format that records the query; nullptr when none does.
const Word* query_in(const Directive& format) {
  for (std::size_t i = 1; i < format.args.size(); ++i) {
    for (const VariableUse& use : variables_in(format.arg(i))) {
      if (use.name == "request" || use.name == "request_uri" || use.name == "args" ||
          use.name == "query_string") {
        return &format.args[i];
      }
    }
  }
  return nullptr;
}

/// A credential that is taken from the query, in the requests of a scope.
struct QueryCredential {
  const Scope* scope;
  const Directive* taken;  ///< where
};

/// The maps of `uses` by the variables that they define, and by those of maps that read these.
std::map<std::string_view, const Directive*> maps_of(const Inspection& in,
                                                     const std::vector<const Directive*>& uses) {
  constexpr int kRoundsMax = 4;
  std::map<std::string_view, const Directive*> out;
  const auto variable = [](const Directive& map) {
    return map.arg(1).substr(std::min<std::size_t>(1, map.arg(1).size()));
  };
  for (const Directive* use : uses) {
    if (use->is("map")) out.emplace(variable(*use), use);
  }
  for (int round = 0; round < kRoundsMax && !out.empty(); ++round) {
    for (const Directive& map : in.model.tree.directives) {
      if (!map.is("map")) continue;
      for (const VariableUse& source : variables_in(map.arg(0))) {
        if (const auto found = out.find(source.name); found != out.end()) {
          out.emplace(variable(map), found->second);
        }
      }
    }
  }
  return out;
}

/// The scopes in which requests come to `uses`: where they stand or, of maps, where something reads
/// what they give.
std::vector<QueryCredential> query_credentials(const Inspection& in,
                                               const std::vector<const Directive*>& uses) {
  std::vector<QueryCredential> out;
  for (const Directive* use : uses) {
    const auto found = in.model.scope_of_block.find(use->parent);
    const bool here = found != in.model.scope_of_block.end() && found->second->context != kHttp;
    if (here) out.push_back({found->second, use});
  }
  const auto maps = maps_of(in, uses);
  if (maps.empty()) return out;
  const auto add = [&](const Scope& scope, const Directive& reader) {
    if (reader.is("access_log") || reader.is("add_header")) return;
    for (const Word& word : reader.args) {
      for (const VariableUse& use : variables_in(word.text)) {
        const auto map = maps.find(use.name);
        if (map != maps.end()) out.push_back({&scope, map->second});
      }
    }
  };
  for (const Scope* scope : request_scopes(in.model)) {
    if (scope->block != nullptr) add(*scope, *scope->block);  // the condition of an `if`
    for (const Directive* setting : scope->settings) add(*scope, *setting);
  }
  return out;
}

/// Where tokens are taken from the query, a log of the query is a log of tokens.
void check_logged_query(Inspection& in) {
  std::map<std::string_view, const Directive*> formats;
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* format : scope.own_all("log_format")) formats[format->arg(0)] = format;
  }
  std::set<const Directive*> reported;
  for (const auto& [scope, taken] : query_credentials(in, query_credential_uses(in))) {
    for (const Directive* log : scope->effective_all("access_log")) {
      if (log->arg(0) == "off" || log->arg(0) == "/dev/null") continue;
      const auto format = formats.find(log->arg(1));
      const bool own = format != formats.end();
      const Word* word = own ? query_in(*format->second) : &log->name;
      const bool known = own || log->args.size() == 1 || log->arg(1) == "combined";
      const Directive* at = own ? format->second : log;
      if (word == nullptr || !known || !reported.insert(at).second) continue;
      Finding& finding =
          in.report("LOG-01", Level::kHigh, *at, *word,
                    "the log records the query, in which tokens are taken: expected a format with "
                    "$uri in place of $request");
      finding.trail.push_back({taken->mark(), "the token is taken from the query here"});
      finding.affected.push_back(in.model.route_of(*scope));
    }
  }
}

void check_access_log(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer)) == 0) continue;
    const Directive* log = scope.own("access_log");
    if (log == nullptr || (log->arg(0) != "off" && log->arg(0) != "/dev/null")) continue;
    if (scope.block == &in.model.tree.root) continue;
    if (scope.server != nullptr) {
      if (only_redirects(*scope.server) || scope.server->is_local()) continue;
      if (return_status(scope) != 0) continue;
      const auto& locations = scope.server->all_locations;
      const bool all_log =
          !locations.empty() && std::ranges::all_of(locations, [](const Location* location) {
            const Directive* own = location->scope->effective("access_log");
            return own->arg(0) != "off" && own->arg(0) != "/dev/null";
          });
      if (all_log) continue;
      const bool status_only =
          !scope.server->all_locations.empty() &&
          std::ranges::all_of(scope.server->all_locations, [](const Location* location) {
            return handler_of(*location->scope).kind == Handler::Kind::kStatus ||
                   is_denied_to_all(*location->scope);
          });
      if (status_only) continue;
    }
    if (scope.context == kHttp) {
      const bool own = !in.model.servers.empty() &&
                       std::ranges::all_of(in.model.servers, [](const Server& server) {
                         return server.scope->has("access_log");
                       });
      if (own) continue;
    }
    Finding& finding = in.report("LOG-02", Level::kMedium, *log,
                                 "requests leave no trace: expected an access log");
    finding.affected.push_back(in.model.route_of(scope));
  }
}

void check_error_log(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* log : scope.own_all("error_log")) {
      const std::string_view path = log->arg(0);
      const std::string_view level = log->arg(1);
      std::string what;
      if (path == "off") {
        what = "error_log knows no \"off\": it writes to a file of that name";
      } else if (path == "/dev/null") {
        what = "errors leave no trace: expected a file or stderr at warn";
      } else if (level == "emerg" || level == "alert" || level == "crit") {
        what = fmt::format(
            "at {} refused requests and failed upstreams are not logged: expected "
            "error or warn",
            level);
      }
      if (what.empty()) continue;
      in.report("LOG-03", Level::kMedium, *log, std::move(what))
          .affected.push_back(in.model.route_of(scope));
    }
  }
}

void check_fields(Inspection& in) {
  const std::set<std::string_view> used = formats_in_use(in.model);
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kHttp) continue;
    for (const Directive* format : scope.own_all("log_format")) {
      if (!used.contains(format->arg(0))) continue;
      std::string all;
      for (std::size_t i = 1; i < format->args.size(); ++i) all.append(format->arg(i));
      std::vector<std::string> missing;
      if (!has_any(all, {"remote_addr", "proxy_protocol_addr", "realip", "x_forwarded_for",
                         "x_real_ip", "connecting_ip"})) {
        missing.emplace_back("the client's address");
      }
      if (!has_any(all, {"$status", "${status", "upstream_status"})) {
        missing.emplace_back("the status");
      }
      if (!has_any(all, {"$request", "${request", "$uri", "${uri"})) {
        missing.emplace_back("the request");
      }
      if (!has_any(all, {"$time_", "${time_", "$msec", "${msec"})) missing.emplace_back("the time");
      if (missing.empty()) continue;
      in.report("LOG-04", Level::kLow, *format,
                fmt::format("log format {} lacks {}", format->arg(0), join_some(missing)));
    }
  }
}

void check_escape(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* format : scope.own_all("log_format")) {
      if (format->arg(1) != "escape=none") continue;
      in.report("LOG-05", Level::kLow, *format,
                "what clients send is logged unescaped: they can write lines of their own; "
                "expected escape=json");
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"LOG-01", check_credentials}, {"LOG-01", check_logged_query}, {"LOG-02", check_access_log},
    {"LOG-03", check_error_log},   {"LOG-04", check_fields},       {"LOG-05", check_escape},
};

}  // namespace

std::span<const RuleEntry> logging_rules() { return kRules; }

}  // namespace merlon::audit::nginx
