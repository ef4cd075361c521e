#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "audit/file_mode.h"
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

std::string said_of(std::string_view path, unsigned mode, std::string_view expected) {
  return fmt::format("everyone may write {} (mode {:04o}): expected {} or narrower", path, mode,
                     expected);
}

/// The includes by which files came in, each the first.
std::map<const Source*, const Directive*> includes_of(const Tree& tree) {
  std::map<const Source*, const Directive*> out;
  for (const Directive& directive : tree.directives) {
    if (directive.via != nullptr) out.try_emplace(directive.file.get(), directive.via);
  }
  return out;
}

/// Who may write a folder replaces the files in it, and adds to those that a glob takes in.
void check_folders(Inspection& in) {
  const auto includes = includes_of(in.model.tree);
  std::set<std::string> seen;
  for (const auto& file : in.model.tree.files) {
    const std::string folder = std::filesystem::path(file->path).parent_path().string();
    const std::string named = folder.empty() ? "." : folder;
    const unsigned mode = seen.insert(named).second ? mode_open_to_all(named) : 0;
    if (mode == 0) continue;
    const auto via = includes.find(file.get());
    const Mark at = via == includes.end() ? Mark{file, 1, 1, 1} : via->second->mark();
    add_finding(in.out, in.options, "SYS-02", Level::kHigh, at, said_of(named, mode, "0755"));
  }
}

void check_writable(Inspection& in) {
  if (!in.on_disk) return;
  for (const auto& file : in.model.tree.files) {
    const unsigned mode = mode_open_to_all(file->path);
    if (mode == 0) continue;
    add_finding(in.out, in.options, "SYS-02", Level::kHigh, Mark{file, 1, 1, 1},
                said_of(file->path, mode, "0644"));
  }
  check_folders(in);
  for (const Directive& directive : in.model.tree.directives) {
    if (!directive.is("auth_basic_user_file")) continue;
    FileReader::Read keep;
    static_cast<void>(named_file(in, directive.arg(0), keep));
    const unsigned mode = keep.source == nullptr ? 0 : mode_open_to_all(keep.source->path);
    if (mode == 0) continue;
    in.report("SYS-02", Level::kHigh, directive, said_of(keep.source->path, mode, "0640"));
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
