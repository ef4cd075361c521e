#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "audit/nginx/regex_syntax.h"
#include "audit/nginx/rewrite_phase.h"
#include "audit/nginx/rules.h"

// Files that are served and should not be: listings, hidden ones, the system's own, private keys.
namespace merlon::audit::nginx {
namespace {

constexpr std::string_view kFolderOfRequest =
    "variables that each request decides name the folder that files are served from";

void check_autoindex(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* index = scope->own("autoindex");
    if (index == nullptr || index->arg(0) != "on" || pass_of(*scope) != nullptr) continue;
    if (return_status(*scope) != 0) continue;
    const bool guarded = guards(in, *scope) || scope->has("internal");
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

/// True when one of the files that try_files looks for is the one of the request: without, it
/// serves those that it names itself. The last word is where the request goes on to.
bool tries_what_was_asked_for(const Directive& tries) {
  const auto is_path = [](const Word& word) {
    const std::vector<VariableUse> uses = variables_in(word.text);
    return !uses.empty() && (uses.back().name == "uri" || uses.back().name == "document_uri") &&
           uses.back().at + uses.back().length == word.text.size();
  };
  return !tries.args.empty() &&
         std::any_of(tries.args.begin(), std::prev(tries.args.end()), is_path);
}

/// The scope that answers a request for `path` with a file; nullptr when something else is done
/// with it. `request` holds what is known of it besides.
const Scope* file_scope(const Inspection& in, const Server& server, const std::string& path,
                        Request request = {}) {
  request.variables["uri"] = path;
  RewritePhase phase(std::move(request), &in.variables);
  phase.run(*server.scope);
  const Location* location = in.model.match(server, phase.uri().value_or(path));
  const Scope& scope = location == nullptr ? *server.scope : *location->scope;
  if (location != nullptr) phase.run(scope);
  const bool file = phase.status() == 0 && handler_of(scope).kind == Handler::Kind::kStatic;
  if (!file || is_denied_to_all(scope)) return nullptr;
  const std::optional<std::string> asked = phase.uri();
  if (asked ? *asked != path : scope.has("rewrite")) return nullptr;
  const Directive* tries = scope.own("try_files");
  return tries == nullptr || tries_what_was_asked_for(*tries) ? &scope : nullptr;
}

/// The scope from which everyone gets the hidden file `path`; nullptr when nobody does.
const Scope* open_file_scope(const Inspection& in, const Server& server, const std::string& path) {
  const Scope* scope = file_scope(in, server, path);
  if (scope == nullptr || scope->has("internal")) return nullptr;
  if (has_authentication(in, *scope) || has_network_acl(*scope)) return nullptr;
  return refused_by_if(in, *scope, {.variables = {{"uri", path}}}) ? nullptr : scope;
}

/// A file in the folder that must not be served and is, when this host is the one that serves; "".
std::string hidden_file_in(const Inspection& in, const Server& server, const Directive& root) {
  const std::string folder = named_folder(in, root);
  if (!in.on_disk || !folder.starts_with('/')) return {};
  for (const char* name : {".git/config", ".env", ".svn/entries", ".hg/hgrc", ".htpasswd",
                           ".aws/credentials", ".ssh/authorized_keys"}) {
    const std::string path = fmt::format("{}/{}", folder, name);
    if (::access(path.c_str(), F_OK) != 0) continue;
    const Scope* scope = open_file_scope(in, server, fmt::format("/{}", name));
    if (scope != nullptr && folder_of(*scope) == &root) return path;
  }
  return {};
}

/// What shows that hidden files are served.
std::string evidence_of(const Inspection& in, const Server& server, const std::string& path,
                        const std::string& found) {
  if (!found.empty()) return fmt::format("{} is there", found);
  const bool as_written =
      file_scope(in, server, path, {.variables = {{"request_uri", path}}}) == nullptr;
  if (as_written) {
    return fmt::format(
        "$request_uri is what the client wrote: {} is refused, and the same file is "
        "answered to /%2e{}",
        path, path.substr(2));
  }
  return fmt::format("{} is answered from the folder if it is there", path);
}

void check_hidden_files(Inspection& in) {
  for (const Server& server : in.model.servers) {
    if (only_redirects(server) || return_status(*server.scope) != 0) continue;
    if (server.scope->block == &in.model.tree.root || server.scope->incomplete) continue;
    const bool guarded_somewhere = std::ranges::any_of(
        server.all_locations, [](const Location* location) { return location->scope->incomplete; });
    if (guarded_somewhere || server.is_local()) continue;
    for (const std::string path : {"/.git/config", "/.env"}) {
      const Scope* scope = open_file_scope(in, server, path);
      const Directive* root = scope == nullptr ? nullptr : folder_of(*scope);
      if (root == nullptr) continue;
      const std::string folder = named_folder(in, *root);
      if (folder.find('$') != std::string::npos) {
        in.not_checked("INF-07", kFolderOfRequest);
        continue;
      }
      const std::string found = hidden_file_in(in, server, *root);
      // A folder whose scripts run is where an application lives, with its .env and .git.
      const bool application =
          runs_scripts(server) && (!is_output_folder(folder) || is_document_root(folder));
      const bool package = is_of_package(folder);
      const Level level = !found.empty() || (application && !package) ? Level::kHigh
                          : package                                   ? Level::kLow
                                                                      : Level::kMedium;
      Finding& finding =
          in.report("INF-07", level, *root,
                    fmt::format("hidden files under {} are served: expected \"location ~ "
                                "/\\.(?!well-known) {{ deny all; }}\"",
                                folder));
      finding.evidence = evidence_of(in, server, path, found);
      finding.confidence = found.empty() ? Confidence::kLikely : Confidence::kCertain;
      finding.affected.push_back(server.label());
      break;  // what serves one of them has the cause of the other
    }
  }
}

/// A "^~" takes its requests from the regular expression that refuses hidden files elsewhere.
void check_hidden_files_past_refusal(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Server& server = *location.server;
    const Scope& scope = *location.scope;
    if (location.match != Location::Match::kPrefixFirst || server.is_local()) continue;
    if (scope.incomplete || scope.has("root") || scope.has("alias")) continue;
    if (location.path.starts_with("/.well-known")) continue;
    const Directive* root = folder_of(scope);
    if (root == nullptr) continue;
    const std::string folder = named_folder(in, *root);
    if (folder.find('$') != std::string::npos) continue;
    const std::string path =
        fmt::format("{}{}.env", location.path, location.path.ends_with('/') ? "" : "/");
    if (open_file_scope(in, server, path) != &scope) continue;
    const bool refused_elsewhere = std::ranges::any_of(server.locations, [&](const Location* l) {
      return l->is_regex() && l->pattern->search(path).value_or(false) &&
             is_denied_to_all(*l->scope);
    });
    if (!refused_elsewhere) continue;
    Finding& finding =
        in.report("INF-07", Level::kLow, location.at(),
                  fmt::format("hidden files under {}{} are served: with \"^~\" no regular "
                              "expression is asked, and so not the one that refuses them",
                              folder, location.path));
    finding.remediation =
        "Leave the \"^~\" out, or put `location ~ /\\.(?!well-known) { deny all; }` into this "
        "location";
    finding.evidence = fmt::format("{} is answered from the folder if it is there", path);
    finding.confidence = Confidence::kLikely;
    finding.affected.push_back(location.label());
  }
}

/// `written` without "..", "." and double slashes, as the kernel reads it but for links.
std::string normal_folder(std::string_view written) {
  std::string path = std::filesystem::path(written).lexically_normal().string();
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

bool is_system_folder(std::string_view written) {
  const std::string path = normal_folder(written);
  constexpr std::array<std::string_view, 16> kSystem = {
      "/",          "/etc", "/home",          "/root",   "/var",       "/usr",
      "/proc",      "/sys", "/dev",           "/boot",   "/etc/nginx", "/etc/ssl",
      "/usr/local", "/opt", "/usr/local/etc", "/var/lib"};
  if (std::ranges::find(kSystem, std::string_view(path)) != kSystem.end()) return true;
  if (path.starts_with("/root/") || path.starts_with("/proc/")) return true;
  // Some packages put their pages and error texts in a folder of /etc.
  return path.starts_with("/etc/") && !is_output_folder(path) &&
         path.find("error") == std::string::npos && path.find("page") == std::string::npos;
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

/// An alias in a location for one file: "location /robots.txt { alias /etc/nginx/robots.txt; }".
bool names_file(const Location& location, std::string_view path) {
  const auto has_extension = [](std::string_view text) {
    const std::string_view leaf = text.substr(text.rfind('/') + 1);
    const std::size_t dot = leaf.rfind('.');
    return dot != std::string_view::npos && dot > 0 && leaf.substr(dot) != ".d";
  };
  return has_extension(location.path) && has_extension(path);
}

/// Only one file can be reached, or the answers to ACME challenges.
bool serves_little(const Scope& scope, const Directive& root, std::string_view path) {
  const Location* location = scope.location;
  if (location == nullptr) return false;
  if (location->match == Location::Match::kExact) return true;
  // The path of the location is part of what `root` serves, and not of what `alias` does.
  if (root.is("root")) return location->path.starts_with("/.well-known/");
  const std::string_view leaf = path.substr(path.substr(0, path.size() - 1).rfind('/') + 1);
  return names_file(*location, path) || leaf.starts_with("acme-challenge") ||
         leaf.starts_with("challenge") || leaf.starts_with("wellknown") ||
         leaf.starts_with("well-known") || leaf.starts_with(".well-known");
}

/// A request in which the capture that ends `path`, the alias of the location, makes it name
/// `file`; "" when none was found.
std::string request_for(const Location& location, std::string_view path, std::string_view file) {
  const std::vector<VariableUse> uses = variables_in(path);
  if (uses.size() != 1 || uses[0].at + uses[0].length != path.size()) return {};
  const std::size_t group = group_of(*location.pattern, uses[0].name);
  if (group == 0 || !file.starts_with(path.substr(0, uses[0].at))) return {};
  const std::string_view rest = file.substr(uses[0].at);
  const std::size_t open = start_of_group(location.path, group);
  if (open == std::string_view::npos) return {};
  std::string request = Pattern(location.path.substr(0, open), false).sample().append(rest);
  const bool ignore_case = location.match == Location::Match::kRegexNoCase;
  return captured(location.path, ignore_case, request, group) == rest ? request : std::string{};
}

/// An alias with variables: what a capture may add to it can be one of the system's files.
void judge_captured_folder(Inspection& in, const Scope& scope, const Directive& root,
                           std::string_view path) {
  constexpr std::array<std::string_view, 6> kFiles = {
      "/etc/passwd",       "/etc/nginx/nginx.conf",  "/etc/ssl/private/ssl-cert-snakeoil.key",
      "/var/log/auth.log", "/home/USER/.ssh/id_rsa", "/root/.ssh/id_rsa"};
  const Location* location = scope.location;
  const bool captures = location != nullptr && location->is_regex() && root.is("alias");
  const bool serves = handler_of(scope).kind == Handler::Kind::kStatic && !is_denied_to_all(scope);
  for (const std::string_view file : kFiles) {
    const std::string request = captures && serves ? request_for(*location, path, file) : "";
    if (request.empty()) continue;
    Finding& finding =
        in.report("INF-08", scope.has("internal") ? Level::kMedium : Level::kCritical, root,
                  fmt::format("alias {} serves the system's own files, whichever the client names: "
                              "expected a folder that holds nothing else",
                              path));
    finding.evidence = fmt::format("GET {} reads {}", request, file);
    finding.affected.push_back(location->label());
    return;
  }
  const std::string_view folder = path.substr(0, path.rfind('/', path.find('$')) + 1);
  if (path.starts_with('$') || (serves && is_system_folder(folder))) {
    in.not_checked("INF-08", kFolderOfRequest);
  }
}

/// One of the private keys, which clients get from the folder of `root`; "" when there is none.
std::string_view key_served_from(const Inspection& in, const Directive& root,
                                 std::string_view folder, const std::set<std::string_view>& keys) {
  // Sorted: those below the folder stand together.
  for (auto key = keys.lower_bound(folder); key != keys.end() && key->starts_with(folder); ++key) {
    if (serves_file(in, root, *key)) return *key;
  }
  return {};
}

void check_roots(Inspection& in) {
  std::set<std::string_view> keys;
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("ssl_certificate_key"), Name("proxy_ssl_certificate_key"),
                            Name("grpc_ssl_certificate_key"), Name("uwsgi_ssl_certificate_key")}) {
      const Directive* key = scope.own(name);
      if (key != nullptr) keys.emplace(key->arg(0));
    }
  }
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("root"), Name("alias")}) {
      const Directive* root = scope.own(name);
      if (root == nullptr || (scope.context & (kHttp | kServer | kLocation)) == 0) continue;
      const std::string path = named_folder(in, *root);
      if (path.empty()) continue;
      if (path.find('$') != std::string::npos) {
        judge_captured_folder(in, scope, *root, path);
        continue;
      }
      const std::string_view secret = key_served_from(in, *root, path, keys);
      const bool system = is_system_folder(path) && !serves_little(scope, *root, path) &&
                          serves_files_from(in.model, *root);
      if (!system && secret.empty()) continue;
      // What is internal is reached by what an upstream says, not by what a client asks for.
      Finding& finding = in.report(
          "INF-08", scope.has("internal") ? Level::kMedium : Level::kCritical, *root,
          secret.empty()
              ? fmt::format("{} {} serves the system's own files: expected a folder that holds "
                            "nothing else",
                            name.text, path)
              : fmt::format("{} {} serves the private key {}", name.text, path, secret));
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"INF-06", check_autoindex},
    {"INF-07", check_hidden_files},
    {"INF-07", check_hidden_files_past_refusal},
    {"INF-08", check_roots},
};

}  // namespace

std::string named_folder(const Inspection& inspection, const Directive& root) {
  const std::string_view written = root.arg(0);
  const auto home = inspection.model.scope_of_block.find(root.parent);
  const bool plain = written.find('$') == std::string_view::npos;
  if (plain || home == inspection.model.scope_of_block.end()) return std::string(written);
  return inspection.variables.expanded(written, *home->second);
}

bool serves_file(const Inspection& inspection, const Directive& root, std::string_view file) {
  const std::string folder = named_folder(inspection, root);
  const auto home = inspection.model.scope_of_block.find(root.parent);
  if (!file.starts_with(folder) || home == inspection.model.scope_of_block.end()) return false;
  std::string path(file.substr(folder.size()));
  const Location* location = home->second->location;
  if (root.is("alias") && location != nullptr && !location->is_regex()) {
    path.insert(0, location->path);
  } else if (folder.ends_with('/')) {
    path.insert(0, "/");
  }
  if (!path.starts_with('/')) return false;  // a name that only begins like the folder
  const auto serves = [&](const Server& server) {
    const Scope* scope = file_scope(inspection, server, path);
    return scope != nullptr && folder_of(*scope) == &root;
  };
  // What stands around the servers is inherited by all of them.
  const Server* only = inspection.model.server_of(*home->second);
  return only != nullptr ? serves(*only) : std::ranges::any_of(inspection.model.servers, serves);
}

std::span<const RuleEntry> file_rules() { return kRules; }

}  // namespace merlon::audit::nginx
