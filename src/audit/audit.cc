#include "audit/audit.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <set>

#include "audit/baseline.h"
#include "audit/envoy/reader.h"
#include "audit/merlon/reader.h"
#include "audit/nginx/files.h"
#include "audit/nginx/reader.h"
#include "audit/rule_run.h"
#include "audit/template_text.h"
#include "audit/waive.h"
#include "base/ascii.h"

namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

constexpr int kFolderDepthMax = 16;
/// The language of a file shows in its first lines.
constexpr std::size_t kLinesLooked = 5000;

/// Folders whose files belong to the configuration of the folder above them.
bool is_fragment_folder(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "sites-enabled",   "sites-available",   "conf.d",   "snippets",    "vhosts",     "vhosts.d",
      "modules-enabled", "modules-available", "includes", "proxy-confs", "site-confs", "servers",
      "stream.d",        "stream-conf.d"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

/// Of these, what nothing includes is switched off: not part of what is in force.
bool is_switched_off(const fs::path& path) {
  const std::string folder = path.parent_path().filename().string();
  return folder == "sites-available" || folder == "modules-available";
}

bool is_nginx_file_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".conf" || extension == ".inc" || extension == ".nginx" ||
         is_fragment_folder(path.parent_path().filename().string());
}

/// True when an unrecognised text may be nginx's all the same: a line ends the way its statements
/// and blocks do. INI files, lists of settings without semicolons and the like have none.
bool ends_like_nginx(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = ascii::trim_ows(line);
    if (!line.starts_with('#') && (line.ends_with(';') || line.ends_with('{'))) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

/// A name that hardly anything but a configuration has: of other files in a folder, such as the
/// .inc of an application, nothing follows when they are not understood.
bool names_configuration(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".conf" || extension == ".nginx" ||
         path.parent_path().filename().string().starts_with("sites-");
}

/// A file of a folder that was written for nginx, by its name and its text.
bool is_meant_for_nginx(const Source& source) {
  return names_configuration(source.path) &&
         (ends_like_nginx(source.text) || !template_hint(source.text).empty());
}

/// Lines of `text`, at most `count`, without leading blanks.
std::vector<std::string_view> first_lines(std::string_view text, std::size_t count) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < text.size() && out.size() < count;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

bool has_line_with(const std::vector<std::string_view>& lines, std::string_view start) {
  return std::ranges::any_of(lines, [&](std::string_view line) { return line.starts_with(start); });
}

/// An object of Kubernetes', as YAML.
bool is_kubernetes(const std::vector<std::string_view>& lines) {
  return has_line_with(lines, "apiVersion:") && has_line_with(lines, "kind:");
}

class Auditor {
 public:
  Auditor(const Options& options, AuditResult& out)
      : options_(options), files_(options), out_(out) {
    for (const std::string& root : options.allow_roots) files_.allow(root);
  }

  void path(const std::string& written) {
    const std::string given = without_dot(written);
    out_.inputs.push_back(given);
    if (given == "-") return standard_input();
    struct stat about{};
    if (::stat(given.c_str(), &about) != 0) {
      const bool address = given.find("://") != std::string::npos;
      out_.gaps.push_back({{},
                           given,
                           address ? "configuration is read from files: no server is asked"
                                   : "no such file or folder, or it cannot be reached"});
      return;
    }
    if (S_ISDIR(about.st_mode)) {
      folder(given);
    } else if (S_ISREG(about.st_mode)) {
      file(given);
    } else {
      refused(given, "it is not a regular file; `-` stands for standard input");
    }
  }

  void text(const std::shared_ptr<const Source>& source) {
    out_.inputs.push_back(source->path);
    one(source, {}, false, true);
  }

 private:
  void standard_input() {
    auto source = std::make_shared<Source>();
    source->path = "<stdin>";
    char block[16384];
    std::size_t got = 0;
    while ((got = std::fread(block, 1, sizeof block, stdin)) > 0) {
      source->text.append(block, got);
      if (source->text.size() > options_.file_bytes_max) {
        return refused("<stdin>",
                       fmt::format("it has more than {} bytes", options_.file_bytes_max));
      }
    }
    if (source->text.find('\0') != std::string::npos) {
      return refused("<stdin>", "it is not a text file");
    }
    one(source, {}, false, true);
  }

  static std::string parent_of(const std::string& path) {
    const fs::path parent = fs::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
  }

  /// A file in sites-enabled/ includes relative to the folder above.
  void allow_around(const std::string& path, std::vector<std::string>& bases) {
    const std::string folder = parent_of(path);
    bases.push_back(folder);
    files_.allow(folder);
    const std::string resolved = resolve_path(folder);
    if (is_fragment_folder(fs::path(resolved).filename().string())) {
      bases.push_back(folder + "/..");
      files_.allow(folder + "/..");
    }
    // The host's own configuration reaches into these, by links that its packages made.
    if ((resolved + "/").starts_with("/etc/nginx/")) {
      for (const char* usual : {"/etc/nginx", "/usr/share/nginx", "/etc/letsencrypt"}) {
        files_.allow(usual);
      }
    }
  }

  void file(const std::string& path) {
    std::vector<std::string> bases;
    allow_around(path, bases);
    const FileReader::Read got = files_.read(path, path);
    if (got.source == nullptr) {
      refused(path, got.refusal);
      return;
    }
    one(got.source, bases, true, true);
  }

  void refused(const std::string& path, const std::string& why) {
    out_.gaps.push_back({{}, path, why});
    Finding finding;
    finding.rule = "CFG-01";
    finding.level = Level::kHigh;
    finding.at.source = std::make_shared<const Source>(Source{path, {}});
    finding.at.line = 1;
    finding.at.column = 1;
    finding.message = why;
    out_.findings.push_back(std::move(finding));
  }

  static std::string why_unknown(std::string_view text) {
    if (std::string hint = template_hint(text); !hint.empty()) return hint;
    if (is_kubernetes(first_lines(text, kLinesLooked))) {
      return "of Kubernetes' objects, the files in ConfigMaps are read that are Envoy's: put "
             "another configuration into a file of its own";
    }
    return "the language that it is written in is not recognised";
  }

  /// `asked`: the user meant this very file, so that not understanding it is a gap.
  /// What a reader throws is a gap like any other: never the end of the audit.
  void one(const std::shared_ptr<const Source>& source, const std::vector<std::string>& bases,
           bool on_disk, bool asked) {
    try {
      read(source, bases, on_disk, asked);
    } catch (const std::exception& error) {
      refused(source->path, fmt::format("its audit failed: {}", error.what()));
    }
  }

  void read(const std::shared_ptr<const Source>& source, const std::vector<std::string>& bases,
            bool on_disk, bool asked) {
    const Kind kind =
        options_.kind != Kind::kUnknown ? options_.kind : detect_kind(source->path, source->text);
    switch (kind) {
      case Kind::kNginx:
        note_kind(kind);
        nginx::audit_file(source, bases, files_, options_, on_disk, reached_, out_);
        return;
      case Kind::kUnknown:
        if (asked && nginx::holds_nothing(source->text) && is_nginx_file_name(source->path)) {
          note_kind(Kind::kNginx);  // all of it is commented out
          nginx::audit_file(source, bases, files_, options_, on_disk, reached_, out_);
        } else if (asked) {
          refused(source->path, why_unknown(source->text));
        }
        return;
      case Kind::kEnvoy:
        note_kind(kind);
        envoy::audit_file(source, parent_of(source->path), files_, options_, on_disk, reached_,
                          out_);
        return;
      case Kind::kMerlon:
        note_kind(kind);
        own::audit_file(source, options_, on_disk, out_);
        return;
      case Kind::kHaproxy:
      case Kind::kCaddy:
      case Kind::kTraefik:
        refused(source->path,
                fmt::format("it is a configuration of {}, which is not read", name(kind)));
        return;
    }
  }

  void note_kind(Kind kind) {
    if (std::ranges::find(out_.kinds, kind) == out_.kinds.end()) out_.kinds.push_back(kind);
  }

  void folder(const std::string& given) {
    files_.allow(given);
    std::vector<std::string> all;
    const std::size_t gaps = out_.gaps.size();
    list(given, 0, all);
    std::ranges::sort(all);
    if (all.size() >= options_.files_max) {
      refused(given, fmt::format("the folder holds more than {} files: the rest is not read",
                                 options_.files_max));
    }
    if (all.empty() && out_.gaps.size() == gaps) {
      refused(given, "the folder holds no file that could be read");
    }
    // Whole configurations first: what they include is read as a part of them.
    for (const std::string& path : all) {
      if (fs::path(path).filename() == "nginx.conf") file(path);
    }
    const bool has_main = !reached_.empty();
    const std::size_t before = out_.kinds.size();
    for (const std::string& path : all) {
      const std::string extension = fs::path(path).extension().string();
      if (extension != ".yaml" && extension != ".yml" && extension != ".json") continue;
      const FileReader::Read got = files_.read(path, path);
      if (got.source != nullptr && envoy::looks_like_bootstrap(got.source->text)) file(path);
    }
    for (const std::string& path : all) {
      if (reached_.contains(path) || is_reached_by_link(path)) continue;
      // A link that nothing includes is switched off too; its target is read by its own name.
      std::error_code ignored;
      if (has_main && (is_switched_off(path) || fs::is_symlink(path, ignored))) continue;
      std::vector<std::string> bases;
      allow_around(path, bases);
      bases.push_back(given);
      const FileReader::Read got = files_.read(path, path);
      if (got.source == nullptr) {
        if (names_configuration(path)) refused(path, got.refusal);
        continue;
      }
      // Lists of parameters and types that nothing includes say nothing of their own.
      if (has_main && got.source->text.find('{') == std::string::npos) continue;
      one(got.source, bases, true, !has_main && is_meant_for_nginx(*got.source));
    }
    if (!has_main && out_.kinds.size() == before && out_.findings.empty() && !all.empty()) {
      refused(given, "no file in the folder is a configuration that is recognised");
    }
  }

  bool is_reached_by_link(const std::string& path) {
    for (const std::string& one : reached_) {
      if (!resolved_once_.insert(one).second) continue;
      resolved_.insert(resolve_path(one));
    }
    return resolved_.contains(resolve_path(path));
  }

  void list(const std::string& folder, int depth, std::vector<std::string>& out) {
    if (out.size() >= options_.files_max) return;
    if (depth > kFolderDepthMax) {
      return refused(folder,
                     fmt::format("it lies more than {} folders deep: not read", kFolderDepthMax));
    }
    std::error_code error;
    fs::directory_iterator it(folder, error);
    for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
      if (out.size() >= options_.files_max) return;
      const std::string leaf = it->path().filename().string();
      if (leaf.starts_with('.')) continue;
      std::error_code ignored;
      if (it->is_symlink(ignored) && it->is_directory(ignored)) continue;
      if (it->is_directory(ignored)) {
        list(without_dot(it->path().string()), depth + 1, out);
      } else if (it->is_regular_file(ignored)) {
        out.push_back(without_dot(it->path().string()));
      }
    }
    if (error) refused(folder, fmt::format("the folder cannot be read: {}", error.message()));
  }

  const Options& options_;
  FileReader files_;
  AuditResult& out_;
  std::set<std::string> reached_;
  std::set<std::string> resolved_once_;  ///< of reached_, those whose links were followed
  std::set<std::string> resolved_;
};

/// True when a key of a JSON text is `name`, with `value` behind it if one is given.
bool has_json_key(std::string_view text, std::string_view name, std::string_view value = {}) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::string quoted = fmt::format("\"{}\"", name);
  for (std::size_t at = text.find(quoted); at != std::string_view::npos;
       at = text.find(quoted, at + 1)) {
    const std::size_t colon = text.find_first_not_of(kBlanks, at + quoted.size());
    if (colon == std::string_view::npos || text[colon] != ':') continue;
    const std::size_t first = text.find_first_not_of(kBlanks, colon + 1);
    if (first == std::string_view::npos || !text.substr(first).starts_with(value)) continue;
    const std::size_t end = first + value.size();
    if (value.empty() || end == text.size() || !ascii::is_alnum(text[end])) return true;
  }
  return false;
}

/// Merlon's own, written as JSON.
bool is_merlon_json(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return false;
  return has_json_key(text, "version", "1") &&
         (has_json_key(text, "routes") || has_json_key(text, "upstreams") ||
          has_json_key(text, "listeners"));
}

Kind kind_of_yaml(std::string_view text, const std::vector<std::string_view>& lines) {
  if (envoy::looks_like_envoy(text)) return Kind::kEnvoy;
  if (is_merlon_json(text)) return Kind::kMerlon;
  if (has_line_with(lines, "entryPoints:") || has_line_with(lines, "[entryPoints") ||
      text.find("\n  routers:") != std::string_view::npos ||
      text.find("[http.routers") != std::string_view::npos) {
    return Kind::kTraefik;
  }
  const bool gateway = has_line_with(lines, "routes:") || has_line_with(lines, "upstreams:") ||
                       has_line_with(lines, "listeners:");
  if (has_line_with(lines, "version: 1") && gateway) return Kind::kMerlon;
  return Kind::kUnknown;
}

}  // namespace

Kind detect_kind(std::string_view path, std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const std::vector<std::string_view> lines = first_lines(text, kLinesLooked);
  // A word of Envoy's in a comment makes no Envoy configuration of a file full of directives.
  const bool typed = text.find("type.googleapis.com") != std::string_view::npos ||
                     text.find("static_resources") != std::string_view::npos;
  const bool yaml = fs::path(path).extension() == ".yaml" || is_kubernetes(lines);
  if (!typed && !yaml && nginx::looks_like_nginx(text)) {
    return Kind::kNginx;
  }
  if (const Kind kind = kind_of_yaml(text, lines); kind != Kind::kUnknown) return kind;
  if (is_kubernetes(lines)) return Kind::kUnknown;
  const fs::path file(path);
  const std::string extension = file.extension().string();
  if (file.filename() == "Caddyfile") return Kind::kCaddy;
  const bool sections = has_line_with(lines, "frontend ") || has_line_with(lines, "backend ") ||
                        has_line_with(lines, "listen ");
  if (sections &&
      (has_line_with(lines, "defaults") || has_line_with(lines, "global") || extension == ".cfg")) {
    return Kind::kHaproxy;
  }
  if (nginx::looks_like_nginx(text)) return Kind::kNginx;
  if (text.find("\n\treverse_proxy ") != std::string_view::npos ||
      text.find("\n    reverse_proxy ") != std::string_view::npos) {
    return Kind::kCaddy;
  }
  // A main file that is broken from the first line on is still nginx's.
  return file.filename() == "nginx.conf" ? Kind::kNginx : Kind::kUnknown;
}

namespace {

/// Keeps the rules that were asked for; what could not be read is always said.
void keep_wanted(AuditResult& result, const Options& options) {
  if (options.only_rules.empty()) return;
  const auto unwanted = [&](const std::string& rule) {
    return std::ranges::find(options.only_rules, rule) == options.only_rules.end();
  };
  std::erase_if(result.findings, [&](const Finding& f) { return unwanted(f.rule); });
  std::erase_if(result.not_checked, [&](const NotChecked& n) { return unwanted(n.rule); });
}

void finish(AuditResult& result, const Options& options) {
  apply_waivers(result, options);  // before: what it covers may be no rule that was asked for
  keep_wanted(result, options);
  normalize(result);
  cut_findings(result, options);
  apply_baseline(result, options);
}

}  // namespace

AuditResult audit(const std::vector<std::string>& paths, const Options& options) {
  AuditResult out;
  Auditor auditor(options, out);
  for (const std::string& path : paths) auditor.path(path);
  finish(out, options);
  return out;
}

AuditResult audit_text(std::string path, std::string text, const Options& options) {
  AuditResult out;
  Auditor auditor(options, out);
  auditor.text(std::make_shared<const Source>(Source{std::move(path), std::move(text)}));
  finish(out, options);
  return out;
}

int exit_code(const AuditResult& result, Level fail_on) noexcept {
  if (!result.gaps.empty() || result.counts.files == 0) return 3;
  return count_levels(result).at_least(fail_on) > 0 ? 1 : 0;
}

}  // namespace merlon::audit
