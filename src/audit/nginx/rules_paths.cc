#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "audit/nginx/header_view.h"
#include "audit/nginx/regex_syntax.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

bool is_prefix(const Location& location) {
  return location.match == Location::Match::kPrefix ||
         location.match == Location::Match::kPrefixFirst;
}

/// "favicon.ico": a name with an extension stands for one file.
bool names_a_file(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  const std::string_view leaf = slash == std::string_view::npos ? path : path.substr(slash + 1);
  const std::size_t dot = leaf.rfind('.');
  return dot != std::string_view::npos && dot > 0 && leaf.size() - dot <= 6;
}

/// Adds the slash to the path of a location whose header stands on one line.
std::vector<Edit> add_slash(const Location& location) {
  // The edit holds the whole line: of a file that is one line, each would hold the file.
  constexpr std::size_t kLineBytesMax = 2048;
  const Directive& block = location.at();
  if (block.args.empty()) return {};  // a fragment without its frame
  const Word& path = block.args.back();
  const std::string_view line = first_line_of(block);
  if (line.size() > kLineBytesMax || path.quoted || path.line != block.name.line ||
      path.column + path.length > line.size() + 1)
    return {};
  std::string changed(line);
  changed.insert(path.column - 1 + path.length, "/");
  return {{block.file, path.line, path.line, changed + "\n"}};
}

void check_alias(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Directive* alias = location.scope->own("alias");
    if (alias == nullptr || !is_prefix(location) || location.path.ends_with('/')) continue;
    if (location.scope->has("internal") || location.path.empty()) continue;
    if (handler_of(*location.scope).kind != Handler::Kind::kStatic) continue;
    const std::string folder = named_folder(in, *alias);
    if (folder.ends_with('/')) {
      Finding& finding = in.report(
          "PTH-01", Level::kCritical, location.at(),
          fmt::format("location {} has no slash at its end and its alias has: files outside of {} "
                      "are served",
                      location.path, folder));
      finding.evidence = fmt::format("GET {}../secret reads {}../secret", location.path, folder);
      finding.trail.push_back({alias->mark(), "what follows the prefix is put behind this"});
      finding.affected.push_back(location.label());
      finding.fix = add_slash(location);
      continue;
    }
    if (names_a_file(location.path) || names_a_file(folder) ||
        folder.find('$') != std::string_view::npos) {
      continue;
    }
    Finding& finding = in.report(
        "PTH-01", Level::kLow, location.at(),
        fmt::format("neither location {} nor its alias ends in a slash: folders whose names start "
                    "like {} are served too",
                    location.path, folder));
    finding.evidence = fmt::format("GET {}-backup/x reads {}-backup/x", location.path, folder);
    finding.affected.push_back(location.label());
  }
}

/// The servers whose requests are read with this merge_slashes: nginx reads the path before the
/// Host, with what the default server of the socket says; in TLS also with what the server says
/// that the client named in its greeting, which need not be the one of its Host.
std::set<const Server*> read_with(const Model& model, const Directive& merge) {
  std::set<const Server*> out;
  for (const Socket& socket : model.sockets) {
    const Server* first = model.framed ? socket.servers.front().first : nullptr;
    const bool reads = std::ranges::any_of(socket.servers, [&](const auto& one) {
      const auto& [server, listen] = one;
      const bool asked = first == nullptr || server == first || listen->ssl || listen->quic;
      return asked && server->scope->effective("merge_slashes") == &merge;
    });
    if (!reads) continue;
    for (const auto& [server, listen] : socket.servers) out.insert(server);
  }
  // Of a server whose sockets are not in the files, its own is believed.
  for (const Server& server : model.servers) {
    const bool alone = server.listens.empty();
    if (alone && server.scope->effective("merge_slashes") == &merge) out.insert(&server);
  }
  return out;
}

void check_merge_slashes(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* merge = scope.own("merge_slashes");
    if (merge == nullptr || merge->arg(0) != "off") continue;
    const std::set<const Server*> servers = read_with(in.model, *merge);
    std::vector<std::string> guarded;
    for (const Location& location : in.model.locations) {
      if (!servers.contains(location.server) || location.path == "/") continue;
      const Scope& outer = *location.server->scope;
      if (guards(in, *location.scope) && !guards(in, outer)) guarded.push_back(location.label());
    }
    Finding& finding =
        in.report("PTH-02", guarded.empty() ? Level::kInfo : Level::kHigh, *merge,
                  guarded.empty()
                      ? std::string("merge_slashes off: //path and /path are different paths here")
                      : fmt::format("merge_slashes off: with one more slash a request goes past {}",
                                    join_some(guarded)));
    if (!guarded.empty()) {
      const std::size_t slash = guarded.front().find('/');
      if (slash != std::string::npos) {
        finding.evidence = fmt::format("GET /{} is not matched", guarded.front().substr(slash));
      }
    }
    finding.affected = guarded;
    finding.fix = remove_statement(*merge);
  }
}

/// A path of which group `number` of a regular expression captures "../secret", and which nginx has
/// no reason to resolve; "" when none was found.
std::string path_out_of(std::string_view regex, bool ignore_case, std::size_t number) {
  const std::size_t open = start_of_group(regex, number);
  if (open == std::string_view::npos) return {};
  std::string path = Pattern(regex.substr(0, open), false).sample();
  if (!path.starts_with('/')) path.insert(0, "/");
  while (path.ends_with('/')) path.pop_back();
  if (path.empty()) return {};
  path += "../secret";
  const auto taken = captured(regex, ignore_case, path, number);
  return taken && taken->starts_with("../") ? path : std::string{};
}

/// What a capture that may begin with "../" is put behind, and a path of which it does.
struct WayOut {
  std::string_view folder;
  std::string attack;
};

/// The first capture of a regular expression in `text` that leads out of the folder before it: it
/// must start with a slash, or behind one. "/dl(.*)" takes "../" too, which nginx has no reason to
/// resolve in "/dl../".
std::optional<WayOut> way_out_of(std::string_view text, std::string_view regex, bool ignore_case) {
  const Pattern pattern(regex, ignore_case);
  for (const VariableUse& use : variables_in(text)) {
    const std::size_t group = group_of(pattern, use.name);
    const std::string_view folder = text.substr(0, use.at);
    if (group == 0 || !folder.ends_with('/')) continue;
    std::string attack = path_out_of(regex, ignore_case, group);
    if (!attack.empty()) return WayOut{folder, std::move(attack)};
  }
  return std::nullopt;
}

/// The same of a text in a location whose regular expression captures.
std::optional<WayOut> way_out_of(std::string_view text, const Location& location) {
  if (!location.is_regex() || text.find('$') == std::string_view::npos) return std::nullopt;
  return way_out_of(text, location.path, location.match == Location::Match::kRegexNoCase);
}

void report_way_out(Inspection& in, const Location& location, const Directive& by,
                    const WayOut& way) {
  Finding& finding = in.report(
      "PTH-01", Level::kCritical, location.at(),
      fmt::format("what {} captures may start with \"../\": files outside of {} are served; "
                  "expected a slash before the group",
                  by.is("rewrite") ? by.arg(0) : location.path, way.folder));
  finding.evidence = fmt::format("GET {} reads {}../secret", way.attack, way.folder);
  finding.trail.push_back({by.mark(), "what is captured is put behind this"});
  finding.affected.push_back(location.label());
}

void check_captured_alias(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Directive* alias = location.scope->own("alias");
    if (alias == nullptr || location.scope->has("internal")) continue;
    const std::optional<WayOut> way = way_out_of(alias->arg(0), location);
    if (way) report_way_out(in, location, *alias, *way);
  }
}

/// True when everyone gets the files beside `folder`, which lies below the root of the location,
/// from that root by their own names.
bool are_served_anyway(const Inspection& in, const Location& location, std::string_view folder) {
  if (folder.size() < 2) return false;  // those beside the root itself
  const std::size_t slash = folder.rfind('/', folder.size() - 2);
  const std::string beside = std::string(folder.substr(0, slash + 1)) + "secret";
  const Location* other = in.model.match(*location.server, beside);
  const Scope& scope = other == nullptr ? *location.server->scope : *other->scope;
  return handler_of(scope).kind == Handler::Kind::kStatic && !guards(in, scope) &&
         !scope.has("internal") && scope.effective("root") == location.scope->effective("root");
}

/// A way out is matched with every location of its server: so many times in all.
constexpr std::size_t kWayMatchesMax = 200'000;

/// What try_files looks for, and what a rewrite with break leads to, is put behind the root as it
/// is: nginx resolves the path of the client only.
void check_captured_file(Inspection& in) {
  std::size_t matches = 0;
  for (const Location& location : in.model.locations) {
    const Scope& scope = *location.scope;
    if (handler_of(scope).kind != Handler::Kind::kStatic || scope.has("alias")) continue;
    if (scope.has("internal") || is_denied_to_all(scope)) continue;
    const auto judge = [&](const Directive& by, const std::optional<WayOut>& way) {
      if (!way || !way->folder.starts_with('/')) return;
      matches += location.server->locations.size();
      if (matches > kWayMatchesMax) {
        return in.not_checked("PTH-01", "there are too many locations to match them all");
      }
      if (in.model.match(*location.server, way->attack) != &location) return;
      if (!are_served_anyway(in, location, way->folder)) report_way_out(in, location, by, *way);
    };
    if (const Directive* tries = scope.own("try_files")) {
      // The last word is where the request goes on to.
      for (std::size_t i = 0; i + 1 < tries->args.size(); ++i) {
        judge(*tries, way_out_of(tries->arg(i), location));
      }
    }
    for (const Directive* rewrite : scope.own_all("rewrite")) {
      if (rewrite->arg(2) != "break") continue;
      judge(*rewrite, way_out_of(rewrite->arg(1), rewrite->arg(0), false));
    }
  }
}

/// proxy_pass puts what follows the prefix behind its own path: behind "/api/" that may be "../".
void check_passed_path(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Directive* pass = location.scope->own("proxy_pass");
    if (pass == nullptr || !is_prefix(location) || location.path.ends_with('/')) continue;
    if (location.scope->has("internal") || names_a_file(location.path)) continue;
    if (pass->arg(0).find('$') != std::string_view::npos || return_status(*location.scope) != 0) {
      continue;
    }
    const std::string_view path = parse_target(pass->arg(0)).path;
    // Behind "/" there is nothing to get out of. After a rewrite with break, its path is sent.
    if (path.size() < 2 || !path.ends_with('/') || location.scope->has("rewrite")) continue;
    Finding& finding = in.report(
        "PTH-04", Level::kMedium, *pass,
        fmt::format("location {} has no slash at its end and {} has: paths outside of it are asked "
                    "of the upstream; expected \"location {}/\"",
                    location.path, path, location.path));
    finding.evidence =
        fmt::format("GET {}../admin is passed on as {}../admin", location.path, path);
    finding.trail.push_back({location.at().mark(), "what follows this prefix is put behind it"});
    finding.confidence = Confidence::kLikely;
    finding.affected.push_back(location.label());
    finding.fix = add_slash(location);
  }
}

/// The same of patterns: what a variable of proxy_pass holds, and what a rewrite with break leads
/// to, is sent as it is.
void check_captured_pass(Inspection& in) {
  std::size_t matches = 0;
  for (const Location& location : in.model.locations) {
    const Directive* pass = location.scope->own("proxy_pass");
    if (pass == nullptr || location.scope->has("internal")) continue;
    const auto judge = [&](const Directive& by, std::string_view folder, const WayOut& way) {
      if (folder.size() < 2) return;
      matches += location.server->locations.size();
      if (matches > kWayMatchesMax) {
        return in.not_checked("PTH-04", "there are too many locations to match them all");
      }
      if (in.model.match(*location.server, way.attack) != &location) return;
      Finding& finding = in.report(
          "PTH-04", Level::kMedium, by,
          fmt::format("what {} captures may start with \"../\": paths outside of {} are asked of "
                      "the upstream; expected a slash before the group",
                      by.is("rewrite") ? by.arg(0) : location.path, folder));
      finding.evidence = fmt::format("GET {} is passed on as {}../secret", way.attack, folder);
      finding.confidence = Confidence::kLikely;
      finding.affected.push_back(location.label());
    };
    const std::string_view target = pass->arg(0);
    if (const auto way = way_out_of(target, location)) {
      judge(*pass, parse_target(way->folder).path, *way);
    }
    if (target.find('$') != std::string_view::npos) continue;
    for (const Directive* rewrite : location.scope->own_all("rewrite")) {
      if (rewrite->arg(2) != "break") continue;
      const auto way = way_out_of(rewrite->arg(1), rewrite->arg(0), false);
      if (way && way->folder.starts_with('/')) judge(*rewrite, way->folder, *way);
    }
  }
}

/// Matching every denied location against all others is bounded: a server of thousands of regular
/// expressions would take minutes.
constexpr std::size_t kCaseMatchesMax = 200'000;

void check_case(Inspection& in) {
  std::size_t matches = 0;
  for (const Location& location : in.model.locations) {
    const bool sensitive = is_prefix(location) || location.match == Location::Match::kRegex;
    if (!sensitive || location.path.find('.') != std::string_view::npos) continue;
    if (!is_denied_to_all(*location.scope) || is_denied_to_all(*location.server->scope)) continue;
    const std::string path =
        location.is_regex() ? location.pattern->sample() : std::string(location.path);
    std::string upper = path;
    std::ranges::transform(upper, upper.begin(), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    if (upper == path || !path.starts_with('/')) continue;
    matches += location.server->locations.size();
    if (matches > kCaseMatchesMax) {
      in.not_checked("PTH-05", "there are too many locations to match them all with each other");
      return;
    }
    const Location* other = in.model.match(*location.server, upper);
    if (other == nullptr || other == &location || pass_of(*other->scope) == nullptr) continue;
    if (guards(in, *other->scope)) continue;
    Finding& finding = in.report(
        "PTH-05", Level::kInfo, location.at(),
        fmt::format("{} is denied and {} is proxied: an upstream that ignores case answers it",
                    path, upper));
    finding.confidence = Confidence::kPossible;
    finding.affected.push_back(location.label());
  }
}

void check_loose_regex(Inspection& in) {
  for (const Location& location : in.model.locations) {
    if (!location.is_regex() || !location.pattern->ok()) continue;
    if (is_denied_to_all(*location.scope)) continue;  // matching more denies more
    const std::string_view regex = location.path;
    if (location.pattern->has_loose_dot()) {
      Finding& finding =
          in.report("PTH-07", Level::kMedium, location.at(),
                    fmt::format("the dot in {} is not escaped and matches any letter: expected "
                                "\"\\.\"",
                                regex));
      const std::string sample = location.pattern->sample(true);
      if (!sample.empty()) finding.evidence = fmt::format("{} matches too", sample);
      finding.affected.push_back(location.label());
      continue;
    }
    const bool script = regex.find("\\.php") != std::string_view::npos ||
                        regex.find("\\.cgi") != std::string_view::npos ||
                        regex.find("\\.pl") != std::string_view::npos;
    const bool ends =
        regex.find('$') != std::string_view::npos || regex.find("\\z") != std::string_view::npos;
    if (!script || ends || pass_of(*location.scope) == nullptr) continue;
    if (location.scope->has("fastcgi_split_path_info")) continue;
    if (!location.pattern->search("/upload/x.php.jpg").value_or(false) &&
        !location.pattern->search("/x.cgi.jpg").value_or(false)) {
      continue;
    }
    Finding& finding = in.report(
        "PTH-07", Level::kMedium, location.at(),
        fmt::format("{} is not anchored: files whose names only contain it are run as scripts",
                    regex));
    finding.evidence = "/upload/x.php.jpg matches";
    finding.affected.push_back(location.label());
  }
}

/// A proof is a search that runs out of steps: some ten milliseconds each. Most patterns that are
/// tried need far fewer.
constexpr std::size_t kProofsMax = 40;
constexpr std::size_t kTriedMax = 500;

void check_redos(Inspection& in) {
  std::size_t proofs = 0;
  std::size_t tried = 0;
  const auto judge = [&](const Directive& at, const Word& word, std::string_view regex,
                         bool ignore_case) {
    const Pattern pattern(regex, ignore_case);
    if (!pattern.nests_repeats()) return;
    if (++tried > kTriedMax || proofs >= kProofsMax) {
      in.not_checked("PTH-08", "there are too many patterns with repeats inside of repeats");
      return;
    }
    const std::string attack = pattern.explosive();
    if (attack.empty()) return;
    ++proofs;
    Finding& finding = in.report(
        "PTH-08", Level::kMedium, at, word,
        fmt::format("a repeat inside of a repeat in {}: a short path keeps a worker busy until "
                    "PCRE gives up, some tenth of a second a request",
                    regex));
    finding.evidence = fmt::format("try {}", attack);
  };
  for (const Location& location : in.model.locations) {
    if (!location.is_regex()) continue;
    judge(location.at(), location.at().name, location.path,
          location.match == Location::Match::kRegexNoCase);
  }
  for (const Directive& directive : in.model.tree.directives) {
    if (directive.is("rewrite") && directive.known) {
      judge(directive, directive.name, directive.arg(0), false);
    }
    if (directive.is("if") && directive.args.size() >= 3) {
      const bool regex = directive.arg(1).ends_with('~') || directive.arg(1).ends_with("~*");
      std::string_view text = directive.arg(2);
      if (regex && text.ends_with(')') && !directive.args[2].quoted) text.remove_suffix(1);
      if (regex) judge(directive, directive.name, text, directive.arg(1).ends_with('*'));
    }
    const bool map = directive.parent != nullptr && directive.parent->is("map");
    if (map && directive.name.text.starts_with('~')) {
      const bool ignore_case = directive.name.text.starts_with("~*");
      judge(directive, directive.name, directive.name.text.substr(ignore_case ? 2 : 1),
            ignore_case);
    }
  }
}

/// Something that keeps a missing file from being handed to the script interpreter.
bool checks_file(const Scope& scope) {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    if (level == &scope && (level->has("try_files") || level->has("fastcgi_split_path_info"))) {
      const Directive* tries = level->own("try_files");
      if (tries != nullptr) return true;
      // A split alone hands the rest of the path on, but to a script that the pattern names.
    }
    for (const Scope* child : level->children) {
      if ((child->context & (kIfInLocation | kIfInServer)) == 0) continue;
      const bool file = std::ranges::any_of(child->block->args, [](const Word& word) {
        return word.text.find("!-f") != std::string_view::npos ||
               word.text.find("!-e") != std::string_view::npos;
      });
      if (file && child->has("return")) return true;
    }
  }
  return false;
}

void check_php(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const Directive* pass = location.scope->own("fastcgi_pass");
    if (pass == nullptr || !location.is_regex() || location.scope->has("internal")) continue;
    if (location.path.find("php") == std::string_view::npos) continue;
    if (!location.pattern->search("/upload/x.jpg/a.php").value_or(false)) continue;
    if (checks_file(*location.scope) || is_denied_to_all(*location.scope)) continue;
    if (location.scope->incomplete) continue;
    const Target target = parse_target(pass->arg(0));
    const bool here =
        pass->arg(0).starts_with("unix:") || distance_of(target.host) == Distance::kLoopback;
    Finding& finding = in.report(
        "PTH-09", here ? Level::kMedium : Level::kLow, *pass,
        "any path that ends in .php is handed to PHP, whether the file is there or not: expected "
        "\"try_files $fastcgi_script_name =404\"");
    // php-fpm refuses other endings than .php unless security.limit_extensions was emptied.
    finding.evidence =
        "/upload/x.jpg/a.php runs x.jpg where cgi.fix_pathinfo is on and "
        "security.limit_extensions is empty";
    finding.confidence = Confidence::kLikely;
    finding.affected.push_back(location.label());
  }
}

constexpr RuleEntry kRules[] = {
    {"PTH-01", check_alias},         {"PTH-01", check_captured_alias},
    {"PTH-01", check_captured_file}, {"PTH-02", check_merge_slashes},
    {"PTH-04", check_passed_path},   {"PTH-04", check_captured_pass},
    {"PTH-05", check_case},          {"PTH-07", check_loose_regex},
    {"PTH-08", check_redos},         {"PTH-09", check_php},
};

}  // namespace

std::span<const RuleEntry> path_rules() { return kRules; }

}  // namespace merlon::audit::nginx
