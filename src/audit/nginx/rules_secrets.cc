#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/password.h"

// How well secrets are kept: passwords that everyone tries, logs that everyone reads, answers whose
// length tells.
namespace merlon::audit::nginx {
namespace {

void check_default_passwords(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* named : scope.own_all("auth_basic_user_file")) {
      FileReader::Read keep;
      for_each_password(
          named_file(in, named->arg(0), keep), [&](std::string_view user, std::string_view field) {
            if (well_known_password(user, field).empty()) return;
            Finding& finding =
                in.report("EXP-04", Level::kCritical, *named,
                          fmt::format("the password of {} is one that is tried first", user));
            finding.affected.push_back(in.model.route_of(scope));
          });
    }
  }
}

void check_log_modes(Inspection& in) {
  if (!in.on_disk) return;
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("access_log"), Name("error_log")}) {
      for (const Directive* log : scope.own_all(name)) {
        const std::string path(log->arg(0));
        struct stat about{};
        if (!path.starts_with("/var/") || ::stat(path.c_str(), &about) != 0) continue;
        if (!S_ISREG(about.st_mode) || (about.st_mode & S_IROTH) == 0) continue;
        in.report("LOG-06", Level::kLow, *log,
                  fmt::format("everyone on this host may read {} (mode {:04o}): expected 0640",
                              path, about.st_mode & 07777));
      }
    }
  }
}

/// Compression tells by length what an answer repeats of a request (BREACH): a remark, where
/// answers to users that are signed in are compressed.
void check_compression(Inspection& in) {
  std::vector<std::string> routes;
  const Directive* first = nullptr;
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* gzip = scope->effective("gzip");
    if (gzip == nullptr || gzip->arg(0) != "on" || pass_of(*scope) == nullptr) continue;
    const Server* server = in.model.server_of(*scope);
    if (server == nullptr || !server->has_tls() || !has_authentication(in, *scope)) continue;
    if (first == nullptr) first = gzip;
    routes.push_back(in.model.route_of(*scope));
  }
  if (first == nullptr) return;
  Finding& finding = in.report(
      "TLS-09", Level::kInfo, *first,
      "answers to authenticated requests are compressed: where they repeat what a request "
      "held, their length gives secrets in them away");
  finding.affected = std::move(routes);
}

/// What a map can give, when it gives nothing else than words that stand in it.
bool may_give(const Directive& map, std::string_view value) {
  return std::ranges::any_of(map.body, [&](const Directive* entry) {
    return entry->is("include") || entry->is("default") || entry->arg(0) == value ||
           entry->arg(0).find('$') != std::string_view::npos;
  });
}

/// `if ($allowed = 0) { return 403; }` with a map that never gives 0 refuses nobody.
void check_map_defaults(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kIfInServer | kIfInLocation)) == 0 || scope.block == nullptr) continue;
    const unsigned status = return_status(scope);
    if (status != 401 && status != 403 && status != 404 && status != 444) continue;
    std::string_view variable = if_variable(*scope.block);
    if (!variable.starts_with('$')) continue;
    variable.remove_prefix(1);
    const auto& args = scope.block->args;
    const auto sign = std::ranges::find(args, "=", &Word::text);
    if (sign == args.end() || sign + 1 == args.end()) continue;
    std::string_view value = (sign + 1)->text;
    if (value.ends_with(')')) value.remove_suffix(1);
    const Directive* map = in.variables.map_of(variable);
    if (map == nullptr || map->incomplete || value.empty() || may_give(*map, value)) continue;
    Finding& finding =
        in.report("LOC-08", Level::kLow, *scope.block,
                  fmt::format("nothing is refused: ${} is never \"{}\", for its map has no default",
                              variable, value));
    finding.trail.push_back({map->mark(), "what it does not list is empty, and not refused"});
    finding.affected.push_back(in.model.route_of(scope));
  }
}

constexpr RuleEntry kRules[] = {{"EXP-04", check_default_passwords},
                                {"LOG-06", check_log_modes},
                                {"TLS-09", check_compression},
                                {"LOC-08", check_map_defaults}};

}  // namespace

std::span<const RuleEntry> secret_rules() { return kRules; }

}  // namespace merlon::audit::nginx
