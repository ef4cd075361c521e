#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {
namespace {

void check_user(Inspection& in) {
  if (!in.model.has_main) return;
  for (const Directive* user : in.model.root->own_all("user")) {
    if (user->arg(0) != "root" && user->arg(0) != "0") continue;
    Finding& finding = in.report("SYS-01", Level::kHigh, *user,
                                 "workers run as root: expected an account of their own");
    finding.fix = replace_statement(*user, "user www-data;");
  }
}

/// Where packages and administrators put configuration that is in force; a checkout elsewhere says
/// nothing about modes.
bool is_system_path(std::string_view path) {
  return path.starts_with("/etc/") || path.starts_with("/usr/") || path.starts_with("/opt/");
}

void check_writable(Inspection& in) {
  if (!in.on_disk) return;
  for (const auto& file : in.model.tree.files) {
    struct stat about{};
    if (!is_system_path(file->path) || ::stat(file->path.c_str(), &about) != 0) continue;
    if ((about.st_mode & S_IWOTH) == 0) continue;
    Finding finding;
    finding.rule = "SYS-02";
    finding.level = Level::kHigh;
    finding.at = Mark{file, 1, 1, 1};
    finding.message = fmt::format("everyone may write {} (mode {:04o}): expected 0644 or narrower",
                                  file->path, about.st_mode & 07777);
    in.out.findings.push_back(std::move(finding));
  }
}

void check_unused_modules(Inspection& in) {
  if (!in.model.has_main) return;
  struct Module {
    std::string_view file;
    std::string_view prefix;
    std::string_view infix;
  };
  constexpr Module kModules[] = {{"ngx_http_perl_module", "perl", "perl"},
                                 {"ngx_http_lua_module", "lua_", "_by_lua"},
                                 {"ngx_http_js_module", "js_", "js_"},
                                 {"ngx_http_dav_ext_module", "dav_ext", "dav_ext"}};
  const bool whole =
      std::ranges::none_of(in.model.scopes, [](const Scope& scope) { return scope.incomplete; });
  for (const Directive* load : in.model.root->own_all("load_module")) {
    for (const Module& module : kModules) {
      if (load->arg(0).find(module.file) == std::string_view::npos || !whole) continue;
      const bool used = std::ranges::any_of(in.model.tree.directives, [&](const Directive& d) {
        return d.name.text.starts_with(module.prefix) ||
               d.name.text.find(module.infix) != std::string_view::npos;
      });
      if (used) continue;
      Finding& finding = in.report("SYS-04", Level::kInfo, *load,
                                   fmt::format("{} is loaded and nothing uses it", module.file));
      finding.fix = remove_statement(*load);
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"SYS-01", check_user}, {"SYS-02", check_writable}, {"SYS-04", check_unused_modules}};

}  // namespace

std::span<const RuleEntry> system_rules() { return kRules; }

}  // namespace merlon::audit::nginx
