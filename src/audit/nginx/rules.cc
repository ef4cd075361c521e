#include "audit/nginx/rules.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "audit/nginx/address_list.h"

namespace merlon::audit::nginx {
namespace {

using Family = std::span<const RuleEntry> (*)();

constexpr std::array<Family, 26> kFamilies = {config_rules,      refused_rules,
                                              header_rules,      method_rules,
                                              file_rules,        exposure_rules,
                                              tls_rules,         stream_rules,
                                              cors_rules,        limit_rules,
                                              path_rules,        order_rules,
                                              belief_rules,      injection_rules,
                                              forwarding_rules,  upstream_rules,
                                              access_rules,      identity_rules,
                                              logging_rules,     system_rules,
                                              certificate_rules, reach_rules,
                                              secret_rules,      content_policy_rules,
                                              cleartext_rules,   client_certificate_rules};

void add_include_trail(const Directive& at, std::vector<TrailStep>& trail) {
  std::vector<TrailStep> steps;
  constexpr std::size_t kStepsMax = 8;
  for (const Directive* via = at.via; via != nullptr && steps.size() < kStepsMax; via = via->via) {
    steps.push_back({via->mark(), fmt::format("included from here as \"{}\"", via->arg(0))});
  }
  std::ranges::reverse(steps);
  trail.insert(trail.end(), steps.begin(), steps.end());
}

std::string_view indentation(std::string_view line) {
  const std::size_t end = line.find_first_not_of(" \t");
  return line.substr(0, end == std::string_view::npos ? 0 : end);
}

/// True when nothing but `directive` and blanks stand on its lines.
bool is_alone(const Directive& directive) {
  const std::string_view first = first_line_of(directive);
  if (indentation(first).size() + 1 != directive.name.column) return false;
  std::string_view last =
      directive.end_line == directive.name.line ? first : directive.file->line(directive.end_line);
  while (!last.empty() && (last.back() == ' ' || last.back() == '\t' || last.back() == '\r')) {
    last.remove_suffix(1);
  }
  if (!last.ends_with(';')) return false;
  return std::ranges::count(last, ';') == 1 || directive.name.line != directive.end_line;
}

/// `text` as a quoted word. nginx takes a backslash for itself, but before a quote, another
/// backslash or one of "trn".
std::string quoted(std::string_view text) {
  constexpr std::string_view kEscapable = "\\\"'trn";
  const bool single =
      text.find('"') != std::string_view::npos && text.find('\'') == std::string_view::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool last = i + 1 == text.size();
    switch (text[i]) {
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\\':
        if (last || kEscapable.find(text[i + 1]) != std::string_view::npos) out += '\\';
        break;
      default:
        if (text[i] == quote) out += '\\';
        break;
    }
    out += text[i];
  }
  return out + quote;
}

bool has_directive_like(const Scope& scope, std::span<const std::string_view> starts) {
  return std::ranges::any_of(scope.settings, [&](const Directive* directive) {
    return std::ranges::any_of(
        starts, [&](std::string_view start) { return directive->name.text.starts_with(start); });
  });
}

bool has_directive_like(const Server& server, std::span<const std::string_view> starts) {
  for (const Scope* level = server.scope; level != nullptr; level = level->parent) {
    if (has_directive_like(*level, starts)) return true;
  }
  return std::ranges::any_of(server.all_locations, [&](const Location* location) {
    return has_directive_like(*location->scope, starts);
  });
}

}  // namespace

Finding& Inspection::report(std::string_view rule, Level level, const Directive& at,
                            std::string message) {
  return report(rule, level, at, at.name, std::move(message));
}

Finding& Inspection::report(std::string_view rule, Level level, const Directive& at,
                            const Word& word, std::string message) {
  Finding& finding = add_finding(out, options, rule, level, at.mark(word), std::move(message));
  add_include_trail(at, finding.trail);
  return finding;
}

void Inspection::not_checked(std::string_view rule, std::string_view why) {
  add_not_checked(out, rule, why);
}

void run_rules(Inspection& inspection) {
  run_families(std::span<const Family>(kFamilies), inspection);
}

std::vector<std::string_view> rule_ids() { return ids_of(std::span<const Family>(kFamilies)); }

std::vector<const Scope*> request_scopes(const Model& model) {
  std::vector<const Scope*> out;
  constexpr std::uint32_t kAnswering =
      kServer | kLocation | kIfInLocation | kIfInServer | kLimitExcept;
  for (const Scope& scope : model.scopes) {
    if ((scope.context & kAnswering) != 0) out.push_back(&scope);
  }
  return out;
}

unsigned status_of(const Directive& directive) {
  const std::string_view code = directive.arg(0);
  unsigned status = 0;
  const auto [end, error] = std::from_chars(code.data(), code.data() + code.size(), status);
  return error == std::errc{} && end == code.data() + code.size() ? status : 302;
}

unsigned return_status(const Scope& scope) {
  const Directive* at = scope.own("return");
  return at == nullptr ? 0 : status_of(*at);
}

const Directive* asked_password(const Inspection& inspection, const Scope& scope) {
  const Directive* basic = scope.effective("auth_basic");
  if (basic == nullptr || basic->arg(0) == "off") return nullptr;
  const bool has_file =
      scope.effective("auth_basic_user_file") != nullptr || scope.may_inherit_unseen();
  return has_file && !is_switched_off(inspection, scope, *basic) ? basic : nullptr;
}

bool asks_for_certificate(const Inspection& inspection, const Scope& scope) {
  const Directive* verify = scope.effective("ssl_verify_client");
  if (verify == nullptr || verify->arg(0) != "on") return false;
  const Server* server = inspection.model.server_of(scope);
  return server == nullptr || std::ranges::none_of(server->listens, [&](const Listen& listen) {
           return !listen.ssl && !listen.quic && !listen.is_local() &&
                  !redirects_cleartext(inspection, scope, listen);
         });
}

bool has_authentication(const Inspection& inspection, const Scope& scope) {
  if (asked_password(inspection, scope) != nullptr) return true;
  for (const Name name : {Name("auth_request"), Name("auth_jwt"), Name("auth_digest"),
                          Name("auth_ldap"), Name("auth_pam"), Name("auth_oidc")}) {
    const Directive* at = scope.effective(name);
    if (at != nullptr && at->arg(0) != "off") return true;
  }
  for (const Name name :
       {Name("access_by_lua_block"), Name("access_by_lua_file"), Name("access_by_lua")}) {
    if (scope.effective(name) != nullptr) return true;
  }
  return asks_for_certificate(inspection, scope);
}

bool has_network_acl(const Scope& scope) {
  const Scope* list = list_in_force(scope);
  return list != nullptr && end_of_list(*list, scope).closed != nullptr;
}

bool is_denied_to_all(const Scope& scope) {
  const unsigned status = return_status(scope);
  if (status == 403 || status == 404 || status == 444 || status == 410 || status == 401 ||
      status == 421)
    return true;
  if (!has_network_acl(scope)) return false;
  const Scope* allow = scope.level_of("allow");
  const Scope* deny = scope.level_of("deny");
  return deny != nullptr && (allow == nullptr || (allow != deny && deny->is_below(*allow)));
}

bool guards(const Inspection& inspection, const Scope& scope) {
  return is_denied_to_all(scope) || has_network_acl(scope) ||
         has_authentication(inspection, scope) || refused_by_if(inspection, scope);
}

bool scripts_decide(const Server& server) {
  constexpr std::array<std::string_view, 3> kStarts = {"rewrite_by_lua", "access_by_lua",
                                                       "server_rewrite_by_lua"};
  return has_directive_like(server, kStarts);
}

bool scripts_edit_header(const Server& server) {
  constexpr std::array<std::string_view, 2> kStarts = {"header_filter_by_lua", "js_header_filter"};
  return has_directive_like(server, kStarts);
}

bool accepts_any_host(const Model& model, const Server& server) {
  for (const Socket& socket : model.sockets) {
    if (!socket.servers.empty() && socket.servers.front().first == &server && model.framed) {
      return true;
    }
  }
  return std::ranges::any_of(server.names, [](std::string_view name) {
    return name == "_" || name == "*" || name == "~.*" || name == "~.+" || name == "~^.*$" ||
           name == "~^(.*)$" || name == "~^(.+)$";
  });
}

std::string statement(const Directive& directive) {
  std::string out(directive.name.text);
  for (const Word& word : directive.args) {
    // A bare word that is shorter than what was written had escapes: bare, it would be another.
    const bool bare = !word.quoted && word.length == word.text.size();
    out += " " + (bare ? std::string(word.text) : quoted(word.text));
  }
  return out;
}

std::string_view first_line_of(const Directive& directive) {
  // Counting lines from the start of the file would make long files slow.
  const std::string_view text = directive.file->text;
  const char* at = directive.name.text.data();
  if (at < text.data() || at >= text.data() + text.size()) {
    return directive.file->line(directive.name.line);
  }
  const auto offset = static_cast<std::size_t>(at - text.data());
  const std::size_t before = offset == 0 ? std::string_view::npos : text.rfind('\n', offset - 1);
  const std::size_t start = before == std::string_view::npos ? 0 : before + 1;
  return text.substr(start, std::min(text.find('\n', offset), text.size()) - start);
}

bool is_kept_apart(const Inspection& in, const Directive& directive) {
  struct stat about{};
  return in.on_disk && directive.via != nullptr &&
         ::stat(directive.file->path.c_str(), &about) == 0 && (about.st_mode & 077) == 0;
}

std::string_view named_file(Inspection& in, std::string_view name, FileReader::Read& keep) {
  if (!in.on_disk || name.empty() || name.find('$') != std::string_view::npos) return {};
  std::string path(name);
  if (!name.starts_with('/')) {
    const std::string& main = in.model.tree.files.front()->path;
    path = main.substr(0, main.rfind('/') + 1) + path;
  }
  keep = in.files.read(path, path);
  return keep.source == nullptr ? std::string_view{} : std::string_view(keep.source->text);
}

std::vector<Edit> replace_statement(const Directive& directive, std::string_view text) {
  if (directive.is_block || !is_alone(directive)) return {};
  return {{directive.file, directive.name.line, directive.end_line,
           fmt::format("{}{}\n", indentation(first_line_of(directive)), text)}};
}

std::vector<Edit> remove_statement(const Directive& directive) {
  if (directive.is_block || !is_alone(directive)) return {};
  return {{directive.file, directive.name.line, directive.end_line, {}}};
}

std::vector<Edit> insert_first(const Directive& block, std::string_view text) {
  if (!block.is_block || block.file == nullptr || block.body.empty()) return {};
  const Directive& first = *block.body.front();
  if (first.via != block.via || first.name.line <= block.name.line) return {};
  const std::string_view line = first_line_of(first);
  if (indentation(line).size() + 1 != first.name.column) return {};
  return {{block.file, first.name.line, first.name.line - 1,
           fmt::format("{}{}\n", indentation(line), text)}};
}

}  // namespace merlon::audit::nginx
