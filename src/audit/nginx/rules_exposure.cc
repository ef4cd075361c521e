#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// True when a module takes the Server field out, or puts another text into it.
bool hides_server_field(const Scope& scope) {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    for (const Directive* directive : level->settings) {
      if (!directive->is("more_clear_headers") && !directive->is("more_set_headers")) continue;
      for (const Word& word : directive->args) {
        if (ascii::iequals(word.text.substr(0, 6), "server")) return true;
      }
    }
  }
  return false;
}

void check_server_tokens(Inspection& in) {
  Finding* unset = nullptr;
  for (const Scope& scope : in.model.scopes) {
    const Directive* tokens = scope.own("server_tokens");
    if (tokens == nullptr || (scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    if (tokens->arg(0) != "on" && tokens->arg(0) != "build") continue;
    Finding& finding =
        in.report("INF-01", Level::kLow, *tokens,
                  fmt::format("server_tokens {} tells everyone nginx's version: expected off",
                              tokens->arg(0)));
    finding.affected.push_back(in.model.route_of(scope));
    finding.fix = replace_statement(*tokens, "server_tokens off;");
  }
  if (!in.model.framed) {
    in.not_checked("INF-01", "the http block, which may set server_tokens, is not in the files");
    return;
  }
  for (const Server& server : in.model.servers) {
    if (server.scope->effective("server_tokens") != nullptr || server.is_local()) continue;
    if (hides_server_field(*server.scope) || server.scope->may_inherit_unseen()) continue;
    if (unset == nullptr) {
      unset = &in.report("INF-01", Level::kLow, *in.model.http->block,
                         "server_tokens is not set: nginx tells everyone its version");
      unset->fix = insert_first(*in.model.http->block, "server_tokens off;");
    }
    unset->affected.push_back(server.label());
  }
}

void check_upstream_banner(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Name name :
         {Name("proxy_pass_header"), Name("fastcgi_pass_header"), Name("uwsgi_pass_header")}) {
      for (const Directive* pass : scope.own_all(name)) {
        const std::string_view header = pass->arg(0);
        if (!ascii::iequals(header, "Server") && !ascii::iequals(header, "X-Powered-By")) continue;
        Finding& finding =
            in.report("INF-02", Level::kLow, *pass,
                      fmt::format("{} {} lets the upstream's own banner through to clients",
                                  name.text, header));
        finding.affected.push_back(in.model.route_of(scope));
        finding.fix = remove_statement(*pass);
      }
    }
  }
  Finding* unset = nullptr;
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    const bool proxy = scope.has("proxy_pass");
    if ((!proxy && !scope.has("fastcgi_pass")) || scope.has("internal")) continue;
    const Name hide = proxy ? Name("proxy_hide_header") : Name("fastcgi_hide_header");
    const auto hidden = scope.effective_all(hide);
    const bool done = std::ranges::any_of(
        hidden, [](const Directive* d) { return ascii::iequals(d->arg(0), "X-Powered-By"); });
    if (done || (hidden.empty() && scope.may_inherit_unseen())) continue;
    if (unset == nullptr) {
      unset = &in.report("INF-02", Level::kInfo, *pass_of(scope),
                         fmt::format("an X-Powered-By of the upstream reaches clients: expected "
                                     "\"{} X-Powered-By\"",
                                     hide.text));
      unset->confidence = Confidence::kPossible;
    }
    unset->affected.push_back(location.label());
  }
}

void check_error_pages(Inspection& in) {
  Finding* finding = nullptr;
  for (const Server& server : in.model.servers) {
    if (server.is_local() || only_redirects(server)) continue;
    std::vector<std::string> bare;
    for (const Location* location : server.all_locations) {
      const Scope& scope = *location->scope;
      if (pass_of(scope) == nullptr || location->internal) continue;
      if (scope.effective("error_page") != nullptr || scope.may_inherit_unseen()) continue;
      bare.push_back(location->label());
    }
    if (bare.empty()) continue;
    if (finding == nullptr) {
      finding = &in.report("INF-03", Level::kLow, server.at(),
                           "errors are answered with nginx's and the upstream's own pages: "
                           "expected error_page, and proxy_intercept_errors on");
      finding->confidence = Confidence::kLikely;
    }
    finding->affected.insert(finding->affected.end(), bare.begin(), bare.end());
  }
}

void check_private_address(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Directive* redirect = location.scope->effective("proxy_redirect");
    const Directive* pass = location.scope->own("proxy_pass");
    if (redirect == nullptr || redirect->arg(0) != "off" || pass == nullptr) continue;
    const Target target = parse_target(pass->arg(0));
    const bool address = !target.host.empty() && ascii::is_digit(target.host[0]);
    const Directive* host = forwarded_header(*location.scope, "Host");
    if (!address || host != nullptr || distance_of(target.host) != Distance::kPrivate) continue;
    in.report("INF-05", Level::kLow, *redirect,
              fmt::format("redirects of the upstream keep its address {}: expected "
                          "proxy_redirect default",
                          target.host))
        .affected.push_back(location.label());
  }
}

void check_autoindex(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* index = scope->own("autoindex");
    if (index == nullptr || index->arg(0) != "on" || pass_of(*scope) != nullptr) continue;
    if (return_status(*scope) != 0) continue;
    const bool guarded =
        has_authentication(in.model, *scope) || has_network_acl(*scope) || scope->has("internal");
    const Server* server = in.model.server_of(*scope);
    const bool local = server != nullptr && server->is_local();
    Finding& finding = in.report("INF-06", guarded || local ? Level::kLow : Level::kMedium, *index,
                                 "the names of all files are listed: expected autoindex off");
    finding.affected.push_back(in.model.route_of(*scope));
    finding.fix = replace_statement(*index, "autoindex off;");
  }
  if (in.model.http == nullptr) return;
  const Directive* index = in.model.http->own("autoindex");
  if (index == nullptr || index->arg(0) != "on" || in.model.http->block == &in.model.tree.root) {
    return;
  }
  Finding& finding = in.report("INF-06", Level::kMedium, *index,
                               "the names of all files of every server are listed: expected off");
  finding.fix = replace_statement(*index, "autoindex off;");
}

/// The folder that a scope serves files from; "" when it serves none.
const Directive* folder_of(const Scope& scope) {
  const Directive* alias = scope.own("alias");
  return alias != nullptr ? alias : scope.effective("root");
}

/// A folder that a build fills, as opposed to one in which an application's own files lie.
bool is_output_folder(std::string_view root) {
  while (root.ends_with('/')) root.remove_suffix(1);
  const std::size_t slash = root.rfind('/');
  const std::string_view leaf = slash == std::string_view::npos ? root : root.substr(slash + 1);
  constexpr std::array<std::string_view, 16> kOutput = {
      "html", "public",      "dist",   "build", "static",  "www",   "htdocs",  "web",
      "out",  "public_html", "assets", "media", "wwwroot", "_site", "webroot", "site"};
  return std::ranges::find(kOutput, leaf) != kOutput.end();
}

/// Where PHP applications are unpacked whole, their own .env and .git with them.
bool is_document_root(std::string_view root) {
  while (root.ends_with('/')) root.remove_suffix(1);
  return root.ends_with("/html") || root.ends_with("/htdocs") || root.ends_with("/www") ||
         root.ends_with("/public_html");
}

bool runs_scripts(const Server& server) {
  return std::ranges::any_of(server.all_locations, [](const Location* location) {
    return location->scope->has("fastcgi_pass");
  });
}

/// Folders that packages fill: nobody works in them.
bool is_of_package(std::string_view root) {
  return root.starts_with("/usr/share/") || root.starts_with("/usr/lib/") ||
         root.starts_with("/opt/bitnami/");
}

/// A file in the folder that must not be served, when this host is the one that serves; "".
std::string hidden_file_in(const Inspection& in, std::string_view root) {
  if (!in.on_disk || !root.starts_with('/')) return {};
  for (const char* name : {".git", ".env", ".svn", ".hg", ".htpasswd", ".aws", ".ssh"}) {
    std::string path = fmt::format("{}/{}", root, name);
    if (::access(path.c_str(), F_OK) == 0) return path;
  }
  return {};
}

void check_hidden_files(Inspection& in) {
  for (const Server& server : in.model.servers) {
    if (only_redirects(server) || return_status(*server.scope) != 0) continue;
    if (server.scope->block == &in.model.tree.root || server.scope->incomplete) continue;
    const bool guarded_somewhere = std::ranges::any_of(
        server.all_locations, [](const Location* location) { return location->scope->incomplete; });
    if (guarded_somewhere || server.is_local()) continue;
    const Location* location = in.model.match(server, "/.git/config");
    const Scope& scope = location == nullptr ? *server.scope : *location->scope;
    if (handler_of(scope).kind != Handler::Kind::kStatic || is_denied_to_all(scope)) continue;
    if (has_authentication(in.model, scope) || has_network_acl(scope)) continue;
    if (scope.has("rewrite") || scope.has("internal")) continue;
    const Directive* root = folder_of(scope);
    if (root == nullptr || root->arg(0).find('$') != std::string_view::npos) continue;
    // try_files that names no request file serves one file only.
    const Directive* tries = scope.own("try_files");
    if (tries != nullptr && tries->arg(0).find("$uri") == std::string_view::npos) continue;
    const std::string found = hidden_file_in(in, root->arg(0));
    // A folder whose scripts run is where an application lives, with its .env and .git.
    const bool application =
        runs_scripts(server) && (!is_output_folder(root->arg(0)) || is_document_root(root->arg(0)));
    const bool package = is_of_package(root->arg(0));
    const Level level = !found.empty() || (application && !package) ? Level::kHigh
                        : package                                   ? Level::kLow
                                                                    : Level::kMedium;
    Finding& finding = in.report(
        "INF-07", level, *root,
        fmt::format("hidden files under {} are served: expected \"location ~ /\\.(?!well-known) "
                    "{{ deny all; }}\"",
                    root->arg(0)));
    finding.evidence = found.empty()
                           ? "/.git/config and /.env are answered from the folder if they are there"
                           : fmt::format("{} is there", found);
    finding.confidence = found.empty() ? Confidence::kLikely : Confidence::kCertain;
    finding.affected.push_back(server.label());
  }
}

bool is_system_folder(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  constexpr std::array<std::string_view, 16> kSystem = {
      "/",          "/etc", "/home",          "/root",   "/var",       "/usr",
      "/proc",      "/sys", "/dev",           "/boot",   "/etc/nginx", "/etc/ssl",
      "/usr/local", "/opt", "/usr/local/etc", "/var/lib"};
  if (std::ranges::find(kSystem, path) != kSystem.end()) return true;
  if (path.starts_with("/root/") || path.starts_with("/proc/")) return true;
  // Some packages put their pages and error texts in a folder of /etc.
  return path.starts_with("/etc/") && !is_output_folder(path) &&
         path.find("error") == std::string_view::npos &&
         path.find("page") == std::string_view::npos;
}

bool serves_files_from(const Model& model, const Directive& root) {
  const auto found = model.scope_of_block.find(root.parent);
  if (found == model.scope_of_block.end()) return false;
  const auto serves = [&](const Scope& scope) {
    return folder_of(scope) == &root && handler_of(scope).kind == Handler::Kind::kStatic &&
           !is_denied_to_all(scope);
  };
  for (const Scope& scope : model.scopes) {
    if ((scope.context & (kServer | kLocation | kIfInLocation)) == 0) continue;
    if (!scope.is_below(*found->second) || !serves(scope)) continue;
    // A server whose every request meets a location serves nothing by itself.
    const bool covered = scope.context == kServer && scope.server != nullptr &&
                         model.match(*scope.server, "/") != nullptr;
    if (!covered) return true;
  }
  return false;
}

void check_roots(Inspection& in) {
  std::set<std::string> keys;
  for (const Scope& scope : in.model.scopes) {
    const Directive* key = scope.own("ssl_certificate_key");
    if (key != nullptr) keys.emplace(key->arg(0));
  }
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("root"), Name("alias")}) {
      const Directive* root = scope.own(name);
      if (root == nullptr || (scope.context & (kHttp | kServer | kLocation)) == 0) continue;
      std::string_view path = root->arg(0);
      if (path.find('$') != std::string_view::npos) continue;
      const bool system = is_system_folder(path);
      std::string folder(path);
      if (!folder.ends_with('/')) folder += '/';
      std::string secret;
      for (const std::string& key : keys) {
        if (key.starts_with(folder)) secret = key;
      }
      // An alias to one file of /etc names that file only.
      const bool one_file = name.text == "alias" && scope.location != nullptr &&
                            scope.location->match == Location::Match::kExact;
      if ((!system || one_file) && secret.empty()) continue;
      if (!serves_files_from(in.model, *root)) continue;
      // What is internal is reached by what an upstream says, not by what a client asks for.
      Finding& finding = in.report(
          "INF-08", scope.has("internal") ? Level::kMedium : Level::kCritical, *root,
          secret.empty() ? fmt::format("{} {} serves the system's own files: expected a folder "
                                       "that holds nothing else",
                                       name.text, path)
                         : fmt::format("{} {} serves the private key {}", name.text, path, secret));
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

void check_debug_log(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* log : scope.own_all("error_log")) {
      if (!log->arg(1).starts_with("debug")) continue;
      Finding& finding = in.report("INF-09", Level::kLow, *log,
                                   "the error log is at debug: headers and bodies end up in it; "
                                   "expected warn or error");
      finding.fix = replace_statement(*log, fmt::format("error_log {} warn;", log->arg(0)));
    }
  }
}

bool is_guarded(const Inspection& in, const Scope& scope) {
  if (has_authentication(in.model, scope) || has_network_acl(scope)) return true;
  if (is_denied_to_all(scope) || scope.has("internal")) return true;
  // An allow without its deny is a finding of its own, with this very cause.
  const std::vector<const Directive*> allows = scope.effective_all("allow");
  return !allows.empty() && std::ranges::none_of(allows, [](const Directive* allow) {
    return allow->arg(0) == "all" || allow->arg(0) == "0.0.0.0/0";
  });
}

/// Conditions on the client's address do what allow and deny do.
bool tests_address(const Inspection& in, const Scope& scope) {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    for (const Scope* child : level->children) {
      if ((child->context & (kIfInServer | kIfInLocation)) == 0 || !child->has("return")) continue;
      const bool address = in.variables.depends_on(
          if_variable(*child->block),
          [](std::string_view v) { return v.find("remote_addr") != std::string_view::npos; },
          scope);
      const std::string_view variable = if_variable(*child->block);
      const Directive* map = variable.empty() ? nullptr : in.variables.map_of(variable.substr(1));
      if (address || (map != nullptr && map->is("geo"))) return true;
    }
  }
  return false;
}

/// A location that hands php-fpm's own status page on: pm.status_path, by its usual names.
bool is_fpm_status(const Location& location) {
  if (!location.scope->has("fastcgi_pass") || location.internal) return false;
  constexpr std::array<std::string_view, 6> kPaths = {
      "/status", "/php-status", "/php_status", "/fpm_status", "/phpfpm-status", "/php-fpm-status"};
  return std::ranges::any_of(kPaths, [&](std::string_view path) {
    if (!location.is_regex()) return location.path == path;
    return location.pattern->search(path).value_or(false) &&
           !location.pattern->search("/a.php").value_or(true) &&
           !location.pattern->search("/a").value_or(true);
  });
}

void check_fpm_status(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    if (!is_fpm_status(location) || location.server->is_local() || scope.incomplete) continue;
    if (is_guarded(in, scope) || tests_address(in, scope) || return_status(scope) != 0) continue;
    in.report("EXP-02", Level::kMedium, location.at(),
              "the status page of php-fpm is open to everyone: expected \"allow 127.0.0.1; deny "
              "all;\"")
        .affected.push_back(location.label());
  }
}

void check_status_pages(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Handler handler = handler_of(*scope);
    if (handler.kind != Handler::Kind::kStatus) continue;
    const Server* server = in.model.server_of(*scope);
    if (server != nullptr && server->is_local()) continue;
    if (is_guarded(in, *scope) || tests_address(in, *scope) || scope->incomplete) continue;
    const bool writes = handler.at->is("api") && handler.at->arg(0) == "write=on";
    Finding& finding = in.report(
        writes ? "EXP-01" : "EXP-02", writes ? Level::kCritical : Level::kMedium, *handler.at,
        fmt::format("{} is open to everyone: expected \"allow 127.0.0.1; deny all;\"",
                    statement(*handler.at)));
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

/// True when `path` starts with `word` as whole segments, or has it as its last one behind one
/// other. Deeper down, such as in /api/v1/metrics, it is a business's word.
bool names_endpoint(std::string_view path, std::string_view word) {
  if (path.starts_with('^')) path.remove_prefix(1);
  while (path.size() > 1 && (path.ends_with('/') || path.ends_with('$'))) path.remove_suffix(1);
  const std::size_t at = path.find(word);
  if (at == std::string_view::npos) return false;
  const std::size_t end = at + word.size();
  if (at == 0) {
    return end == path.size() || path[end] == '/' || path[end] == '$' || path[end] == '(';
  }
  return end == path.size() && path.find('/', 1) == at;
}

void check_management(Inspection& in) {
  struct Endpoint {
    std::string_view path;
    Level level;
  };
  constexpr std::array<Endpoint, 18> kEndpoints = {{{"/metrics", Level::kHigh},
                                                    {"/actuator", Level::kHigh},
                                                    {"/debug/pprof", Level::kHigh},
                                                    {"/debug/vars", Level::kHigh},
                                                    {"/heapdump", Level::kHigh},
                                                    {"/jolokia", Level::kHigh},
                                                    {"/server-status", Level::kHigh},
                                                    {"/fpm-status", Level::kHigh},
                                                    {"/phpinfo.php", Level::kHigh},
                                                    {"/swagger", Level::kMedium},
                                                    {"/swagger-ui", Level::kMedium},
                                                    {"/api-docs", Level::kMedium},
                                                    {"/graphiql", Level::kMedium},
                                                    {"/phpmyadmin", Level::kHigh},
                                                    {"/adminer", Level::kHigh},
                                                    {"/h2-console", Level::kHigh},
                                                    {"/elasticsearch", Level::kHigh},
                                                    {"/prometheus", Level::kMedium}}};
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    if (pass_of(scope) == nullptr || location.internal) continue;
    if (location.path.find("/health") != std::string_view::npos) continue;  // /actuator/health
    if (is_guarded(in, scope) || tests_address(in, scope) || location.server->is_local()) continue;
    if (return_status(scope) != 0 || scope.incomplete) continue;
    for (const Endpoint& endpoint : kEndpoints) {
      if (!names_endpoint(location.path, endpoint.path)) continue;
      Finding& finding = in.report(
          "EXP-03", endpoint.level, location.at(),
          fmt::format("{} of the upstream is open to everyone: expected an address list or "
                      "authentication",
                      endpoint.path));
      finding.confidence = Confidence::kLikely;
      finding.affected.push_back(location.label());
      break;
    }
  }
}

void check_default_site(Inspection& in) {
  for (const Server& server : in.model.servers) {
    const Directive* index = server.scope->own("index");
    const Directive* root = server.scope->own("root");
    if (index == nullptr || root == nullptr || root->arg(0) != "/var/www/html") continue;
    const bool stock = std::ranges::any_of(
        index->args, [](const Word& word) { return word.text == "index.nginx-debian.html"; });
    if (!stock) continue;
    in.report("EXP-05", Level::kInfo, *index, "the site that the package installs is still there")
        .affected.push_back(server.label());
  }
}

void check_version_wildcards(Inspection& in) {
  for (const Location& location : in.model.locations) {
    if (!location.is_regex() || pass_of(*location.scope) == nullptr) continue;
    constexpr std::array<std::string_view, 8> kAnyVersion = {
        "/v[0-9]", "/v\\d", "/v(\\d", "/v([0-9]", "/(v[0-9]", "/(v\\d", "/(?:v[0-9]", "/(?:v\\d"};
    const bool wild = std::ranges::any_of(kAnyVersion, [&](std::string_view form) {
      return location.path.find(form) != std::string_view::npos;
    });
    if (!wild) continue;
    in.report("EXP-06", Level::kLow, location.at(),
              "every API version is routed, retired and unborn ones too: expected the versions "
              "that are served")
        .affected.push_back(location.label());
  }
}

constexpr RuleEntry kRules[] = {
    {"INF-01", check_server_tokens},
    {"INF-02", check_upstream_banner},
    {"INF-03", check_error_pages},
    {"INF-05", check_private_address},
    {"INF-06", check_autoindex},
    {"INF-07", check_hidden_files},
    {"INF-08", check_roots},
    {"INF-09", check_debug_log},
    {"EXP-02", check_status_pages},
    {"EXP-02", check_fpm_status},
    {"EXP-01", nullptr},
    {"EXP-03", check_management},
    {"EXP-05", check_default_site},
    {"EXP-06", check_version_wildcards},
};

}  // namespace

std::span<const RuleEntry> exposure_rules() { return kRules; }

}  // namespace merlon::audit::nginx
