#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"

// Locations that take requests from each other.
namespace merlon::audit::nginx {
namespace {

/// Names of files that a regular expression of the server might take: usual ones, and one with the
/// ending that each of them speaks of.
std::vector<std::string> leaves_of(const Server& server) {
  std::vector<std::string> out = {"index.php", "a.php",  "a.js",  "a.css", "a.jpg", "a.png",
                                  "a.html",    "a.json", "a.txt", "a",     "a.jsp", "a.cgi"};
  std::set<std::string> known(out.begin(), out.end());
  for (const Location* location : server.locations) {
    const std::string sample = location->is_regex() ? location->pattern->sample() : "";
    const std::size_t dot = sample.rfind('.');
    if (dot == std::string::npos || sample.find('/', dot) != std::string::npos) continue;
    const std::string leaf = "a" + sample.substr(dot);
    if (known.insert(leaf).second) out.push_back(leaf);
  }
  return out;
}

/// Paths under a prefix that a regular expression at its level might take.
std::vector<std::string> paths_under(std::string base, const std::vector<std::string>& leaves) {
  if (!base.ends_with('/')) base += '/';
  std::vector<std::string> out;
  out.reserve(leaves.size());
  for (const std::string& leaf : leaves) out.push_back(base + leaf);
  return out;
}

/// Paths that the pattern of a location matches, as far as its own literals show.
std::vector<std::string> paths_matching(const Location& location,
                                        const std::vector<std::string>& leaves) {
  std::vector<std::string> out;
  for (const bool swap : {false, true}) {
    std::string sample = location.pattern->sample(swap);
    if (sample.empty() || !sample.starts_with('/')) continue;
    // What a pattern of hidden files matches has no scripts below it that anyone would run.
    const bool folder = sample.find("/.") == std::string::npos;
    out.push_back(sample);
    for (std::string& path : folder ? paths_under(sample, leaves) : std::vector<std::string>{}) {
      out.push_back(std::move(path));
    }
    const std::size_t slash = sample.rfind('/');
    out.push_back(sample.insert(slash + 1, "a"));
  }
  std::erase_if(out, [&](const std::string& path) {
    return !location.pattern->search(path).value_or(false);
  });
  return out;
}

/// True when `winner` answers with what `guarded` protects: the same upstream, the same files, or
/// scripts that lie among them. Other backends have nothing of it.
bool gives_the_same(const Scope& guarded, const Scope& winner) {
  // Who clears a cache gets nothing of what lies in it.
  if (guarded.has("fastcgi_cache_purge") || guarded.has("proxy_cache_purge")) return false;
  const Directive* mine = pass_of(guarded);
  const Directive* other = pass_of(winner);
  const bool proxied = mine != nullptr && mine->is("proxy_pass");
  if (other != nullptr && other->is("proxy_pass")) {
    if (!proxied) return false;
    const Target to = parse_target(mine->arg(0));
    const Target there = parse_target(other->arg(0));
    return to.host == there.host && to.port == there.port;
  }
  if (proxied || guarded.has("alias") || winner.has("alias")) return false;
  const Directive* root = guarded.effective("root");
  const Directive* there = winner.effective("root");
  return root == there || (root != nullptr && there != nullptr && root->arg(0) == there->arg(0));
}

/// Matching every guarded location against every regular expression is bounded: beyond it a server
/// of thousands of locations would take minutes.
constexpr std::size_t kMatchesMax = 100'000;

bool guards_by_itself(const Inspection& in, const Scope& scope) {
  const bool own = scope.has("auth_basic") || scope.has("auth_request") || scope.has("deny") ||
                   scope.has("auth_jwt") || return_status(scope) == 403 ||
                   return_status(scope) == 404;
  return own && guards(in, scope);
}

/// The location that takes `path` although `guarded` matches it too; nullptr when none does, or
/// when nothing is lost by it.
const Location* taker_of(const Inspection& in, const Location& guarded, const std::string& path) {
  const Location* winner = in.model.match(*guarded.server, path);
  if (winner == nullptr || winner == &guarded || !winner->is_regex()) return nullptr;
  if (winner->scope->is_below(*guarded.scope) || winner->scope->has("internal")) return nullptr;
  if (guards(in, *winner->scope) || return_status(*winner->scope) != 0) return nullptr;
  return gives_the_same(*guarded.scope, *winner->scope) ? winner : nullptr;
}

/// True when `winner` runs what `guarded` would serve as text, were it to take the request.
bool runs_files_of(const Location& guarded, const Location& winner) {
  const Directive* pass = pass_of(*winner.scope);
  return pass != nullptr && !pass->is("proxy_pass") && pass_of(*guarded.scope) == nullptr &&
         !is_denied_to_all(*guarded.scope);
}

std::string expected_order(const Location& guarded, bool nest) {
  if (guarded.path == "/") return "it at the server, or in both";
  if (guarded.is_regex())
    return nest ? "this one first, with that one in it too" : "this one first";
  return nest ? "that one inside of this one too: with \"^~\" alone its scripts would be served as "
                "text"
              : "\"^~\"";
}

void report_passed(Inspection& in, const Location& guarded, const Location& winner,
                   const std::string& path) {
  const bool runs = pass_of(*winner.scope) != nullptr;
  const bool nest = runs_files_of(guarded, winner);
  Finding& finding = in.report(
      "PTH-10", runs ? Level::kHigh : Level::kLow, guarded.at(),
      fmt::format(
          "the protection of {} is passed by: {}, and location {} {}; expected {}", guarded.path,
          guarded.is_regex() ? "of regular expressions the first wins"
                             : "regular expressions win over prefixes",
          winner.path, guarded.is_regex() ? "stands before it without any" : "has none of it",
          expected_order(guarded, nest)));
  if (nest) {
    finding.remediation = fmt::format(
        "Repeat location {} with its {} inside of the protected location, or protect it as well",
        winner.path, pass_of(*winner.scope)->name.text);
  }
  finding.evidence = fmt::format("GET {} is answered by location {}", path, winner.path);
  finding.trail.push_back({winner.at().mark(), "this location takes the request"});
  finding.affected.push_back(guarded.label());
}

/// Reports what takes requests from a protected location. False when `matches`, of a path with a
/// location each, are more than may be tried.
bool judge_guarded(Inspection& in, const Location& guarded, const std::vector<std::string>& paths,
                   std::size_t& matches) {
  const Location* last = nullptr;
  for (const std::string& path : paths) {
    if (matches > kMatchesMax) return false;
    matches += guarded.server->locations.size();
    const Location* winner = taker_of(in, guarded, path);
    if (winner == nullptr || winner == last) continue;
    // Of "/", everything else is an exception that someone meant, but scripts of any name.
    if (guarded.path == "/" && pass_of(*winner->scope) == nullptr) continue;
    report_passed(in, guarded, *winner, path);
    if (pass_of(*winner->scope) != nullptr) break;
    last = winner;
  }
  return true;
}

void check_passed_by(Inspection& in) {
  std::size_t matches = 0;
  std::map<const Server*, std::vector<std::string>> leaves;
  for (const Location& guarded : in.model.locations) {
    const bool prefix = guarded.match == Location::Match::kPrefix;
    const bool regex = guarded.is_regex() && guarded.pattern->ok();
    if ((!prefix && !regex) || !guards_by_itself(in, *guarded.scope)) continue;
    if (prefix && return_status(*guarded.scope) != 0) continue;
    // Where all of "/" is closed to everyone, the rest is what was meant to be open.
    if (guarded.path == "/" && is_denied_to_all(*guarded.scope)) continue;
    const bool any_regex = std::ranges::any_of(
        guarded.server->locations,
        [&](const Location* location) { return location != &guarded && location->is_regex(); });
    if (!any_regex) continue;
    const auto [names, added] = leaves.try_emplace(guarded.server);
    if (added) names->second = leaves_of(*guarded.server);
    const auto paths = prefix ? paths_under(std::string(guarded.path), names->second)
                              : paths_matching(guarded, names->second);
    if (judge_guarded(in, guarded, paths, matches)) continue;
    in.not_checked("PTH-10", "there are too many locations to match them all with each other");
    break;
  }
}

void check_twins(Inspection& in) {
  for (const Server& server : in.model.servers) {
    std::map<std::pair<Location::Match, std::string_view>, const Location*> seen;
    for (const Location* later : server.locations) {
      if (!later->is_regex()) continue;
      const auto [first, added] = seen.emplace(std::pair(later->match, later->path), later);
      if (added) continue;
      Finding& finding =
          in.report("PTH-10", Level::kLow, later->at(),
                    fmt::format("never reached: location {} stands before it with the same pattern",
                                later->path));
      finding.trail.push_back({first->second->at().mark(), "this one takes every request"});
      finding.affected.push_back(later->label());
    }
  }
}

/// True when a directive of the server may put a path such as `path`, without a slash, in place of
/// the client's.
bool is_made_here(const Server& server, std::string_view path) {
  const auto leads_there = [&](const Scope& scope) {
    return std::ranges::any_of(scope.settings, [&](const Directive* one) {
      if (!one->is("rewrite") && !one->is("try_files")) return false;
      return std::ranges::any_of(one->args, [&](const Word& word) {
        const std::string_view literal = word.text.substr(0, word.text.find('$'));
        return !literal.empty() && (literal.starts_with(path) || path.starts_with(literal));
      });
    });
  };
  const auto around = [&](const Scope& scope) {
    return leads_there(scope) || std::ranges::any_of(scope.children, [&](const Scope* child) {
             return child->context != kLocation && leads_there(*child);
           });
  };
  return around(*server.scope) ||
         std::ranges::any_of(server.all_locations,
                             [&](const Location* location) { return around(*location->scope); });
}

/// A path begins with a slash. Most often the sign of a regular expression was forgotten.
void check_without_slash(Inspection& in) {
  constexpr std::string_view kMarks[] = {"${", "{{", "<%", "%%"};  // a template's, told elsewhere
  for (const Location& location : in.model.locations) {
    if (location.is_regex() || location.match == Location::Match::kNamed) continue;
    const std::string_view path = location.path;
    const bool template_text = std::ranges::any_of(
        kMarks, [&](std::string_view mark) { return path.find(mark) != std::string_view::npos; });
    if (path.empty() || path.starts_with('/') || template_text || location.internal) continue;
    if (is_made_here(*location.server, path)) continue;
    const bool protects = guards_by_itself(in, *location.scope);
    const char* why = path.starts_with('$') ? "nginx fills in no variables here"
                      : path.find_first_of("^$(*") != std::string_view::npos
                          ? "expected \"~\" before a regular expression"
                          : "expected a slash";
    Finding& finding =
        in.report("PTH-10", protects ? Level::kHigh : Level::kLow, location.at(),
                  fmt::format("never reached{}: no path begins like {}; {}",
                              protects ? ", and so it protects nothing" : "", path, why));
    finding.affected.push_back(location.label());
  }
}

constexpr RuleEntry kRules[] = {
    {"PTH-10", check_passed_by}, {"PTH-10", check_twins}, {"PTH-10", check_without_slash}};

}  // namespace

std::span<const RuleEntry> order_rules() { return kRules; }

}  // namespace merlon::audit::nginx
