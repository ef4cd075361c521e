#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "audit/nginx/regex_syntax.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

// What nginx refuses, and so does not start with, that takes more than one directive to see.
// Everything that some nginx might take is left out.
namespace merlon::audit::nginx {
namespace {

void report_twice(Inspection& in, const Directive& at, const Directive& first,
                  std::string_view what) {
  Finding& finding =
      in.report("CFG-01", Level::kHigh, at, fmt::format("{}: nginx does not start", what));
  finding.trail.push_back({first.mark(), "the first one is here"});
}

void check_twice_in_server(
    Inspection& in, const Server& server,
    std::map<std::pair<std::string_view, bool>, const Directive*>& defaults) {
  // As written: how names and "*" compare is left to nginx. A port for QUIC is one of UDP.
  std::map<std::pair<std::string_view, bool>, const Directive*> listens;
  for (const Listen& listen : server.listens) {
    if (listen.at == nullptr || listen.at->arg(0).find('$') != std::string_view::npos) continue;
    const std::pair key(listen.at->arg(0), listen.quic);
    const auto [same, first_here] = listens.try_emplace(key, listen.at);
    if (same->second == listen.at && !first_here) continue;  // a further port of its range
    if (!first_here) {
      report_twice(in, *listen.at, *same->second,
                   fmt::format("the server listens on {} twice", listen.at->arg(0)));
      continue;
    }
    if (!listen.default_server) continue;
    const auto [other, first] = defaults.try_emplace(key, listen.at);
    if (!first) {
      report_twice(in, *listen.at, *other->second,
                   fmt::format("{} has a default server already", listen.at->arg(0)));
    }
  }
}

void check_twice_among(Inspection& in, const std::vector<Location*>& locations) {
  std::map<std::pair<bool, std::string_view>, const Location*> seen;  // exact or not, and the path
  for (const Location* location : locations) {
    check_twice_among(in, location->children);
    // nginx takes the first of equal patterns and of equal names.
    if (location->is_regex() || location->match == Location::Match::kNamed) continue;
    const bool exact = location->match == Location::Match::kExact;
    const auto [same, first] = seen.try_emplace({exact, location->path}, location);
    if (first) continue;
    report_twice(in, location->at(), same->second->at(),
                 fmt::format("location {} stands here twice", location->path));
  }
}

/// What may have its name once in a level, in lower case where nginx does not look at the case.
void check_twice_named(Inspection& in, const Scope* level) {
  if (level == nullptr) return;
  std::map<std::string, const Directive*> upstreams;
  for (const Scope* child : level->children) {
    if ((child->context & (kUpstream | kStreamUpstream)) == 0) continue;
    std::string name(child->block->arg(0));
    std::ranges::transform(name, name.begin(), ascii::lower);
    const auto [same, first] = upstreams.try_emplace(name, child->block);
    if (first) continue;
    report_twice(in, *child->block, *same->second,
                 fmt::format("upstream {} is defined twice", child->block->arg(0)));
  }
  std::map<std::string_view, const Directive*> formats;
  for (const Directive* format : level->own_all("log_format")) {
    const auto [same, first] = formats.try_emplace(format->arg(0), format);
    if (first) continue;
    report_twice(in, *format, *same->second,
                 fmt::format("log_format {} is defined twice", format->arg(0)));
  }
}

/// Where the text itself is in doubt, so is what stands in it twice.
bool is_well_formed(const Model& model) {
  return std::ranges::none_of(model.tree.problems, [](const Problem& problem) {
    return problem.kind == Problem::Kind::kSyntax;
  });
}

void check_twice(Inspection& in) {
  if (!is_well_formed(in.model)) return;
  check_twice_named(in, in.model.http);
  check_twice_named(in, in.model.stream);
  std::map<std::pair<std::string_view, bool>, const Directive*> defaults;
  for (const Server& server : in.model.servers) {
    check_twice_in_server(in, server, defaults);
    check_twice_among(in, server.locations);
  }
}

/// Why nginx refuses a location where it stands; "" when it takes it.
std::string misplaced(const Location& location) {
  const Location& outer = *location.parent;
  const std::string_view path = location.path;
  if (outer.match == Location::Match::kExact || outer.match == Location::Match::kNamed) {
    return fmt::format("location {} takes no location in it", outer.path);
  }
  if (location.match == Location::Match::kNamed) {
    return fmt::format("location {} has a name, which only one of a server's own can", path);
  }
  if (location.is_regex() || path.starts_with(outer.path)) return {};
  return fmt::format("location {} is outside of location {}, in which it stands", path, outer.path);
}

void check_misplaced_locations(Inspection& in) {
  for (const Location& location : in.model.locations) {
    const bool nested =
        location.parent != nullptr && location.parent->scope->block != &in.model.tree.root;
    const std::string why = nested ? misplaced(location) : std::string{};
    if (why.empty()) continue;
    in.report("CFG-01", Level::kHigh, location.at(), why + ": nginx does not start");
  }
}

/// True when a URL without variables has more than a host: "http://a/", "http://unix:/run/a:/".
bool has_uri(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos || url.find('$') != std::string_view::npos) return false;
  url.remove_prefix(scheme + 3);
  if (!url.starts_with("unix:")) return url.find_first_of("/?") != std::string_view::npos;
  return url.find(':', 5) != std::string_view::npos;
}

void check_passed_uris(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* pass = scope.own("proxy_pass");
    const Location* location = scope.location;
    const bool no_prefix = (scope.context & (kIfInLocation | kLimitExcept)) != 0 ||
                           (location != nullptr &&
                            (location->is_regex() || location->match == Location::Match::kNamed));
    if (pass == nullptr || !no_prefix || !has_uri(pass->arg(0))) continue;
    in.report("CFG-01", Level::kHigh, *pass,
              "the URL has a path, which can replace no prefix here: nginx does not start");
  }
}

bool is_whole(const Model& model) {
  return model.framed && std::ranges::none_of(model.scopes, &Scope::incomplete);
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "off" && name.find_first_of("$=") == std::string_view::npos;
}

void report_unknown(Inspection& in, const Directive& at, std::string_view what,
                    std::string_view name) {
  in.report("CFG-01", Level::kHigh, at,
            fmt::format("no {} is called \"{}\": nginx does not start", what, name));
}

/// nginx looks for a format among those that it has read so far.
void check_unknown_formats(Inspection& in) {
  if (!is_whole(in.model)) return;
  std::set<std::string_view> formats = {"combined"};
  for (const Directive& directive : in.model.tree.directives) {
    const std::uint32_t context = directive.parent == nullptr ? 0U : directive.parent->inside;
    if ((context & (kHttp | kServer | kLocation | kIfInLocation | kLimitExcept)) == 0) continue;
    if (directive.is("log_format")) formats.insert(directive.arg(0));
    const std::string_view format = directive.arg(1);
    if (!directive.is("access_log") || !is_plain_name(format) || formats.contains(format)) continue;
    report_unknown(in, directive, "log_format before it", format);
  }
}

std::string_view zone_of_keys(std::string_view argument) {
  constexpr std::string_view kStart = "keys_zone=";
  if (!argument.starts_with(kStart)) return {};
  argument.remove_prefix(kStart.size());
  return argument.substr(0, argument.find(':'));
}

void check_unknown_caches(Inspection& in, Name cache, Name path) {
  std::set<std::string_view> zones;
  for (const Directive* directive : in.model.http->own_all(path)) {
    for (const Word& word : directive->args) zones.insert(zone_of_keys(word.text));
  }
  for (const Scope& scope : in.model.scopes) {
    const Directive* used = scope.own(cache);
    if (used == nullptr || !is_plain_name(used->arg(0)) || zones.contains(used->arg(0))) continue;
    report_unknown(in, *used, fmt::format("zone of {}", path.text), used->arg(0));
  }
}

void check_unknown_zones(Inspection& in) {
  if (!is_whole(in.model)) return;
  check_unknown_caches(in, "proxy_cache", "proxy_cache_path");
  check_unknown_caches(in, "fastcgi_cache", "fastcgi_cache_path");
  check_unknown_caches(in, "uwsgi_cache", "uwsgi_cache_path");
  check_unknown_caches(in, "scgi_cache", "scgi_cache_path");
}

std::string_view without_sign(std::string_view text) {
  text.remove_prefix(text.starts_with("~*") ? 2 : 1);
  return text;
}

/// The pattern of if ($variable ~ pattern); "" when it compares otherwise.
std::string_view regex_of_if(const Directive& condition) {
  constexpr std::array<std::string_view, 4> kSigns = {"~", "~*", "!~", "!~*"};
  const std::size_t count = condition.args.size();
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (std::ranges::find(kSigns, condition.arg(i)) == kSigns.end()) continue;
    std::string_view pattern = condition.arg(i + 1);
    if (i + 2 == count && pattern.ends_with(')')) pattern.remove_suffix(1);
    return pattern;
  }
  return {};
}

/// The regular expressions of a directive, as nginx hands them to PCRE.
std::vector<std::string_view> regexes_of(const Directive& directive) {
  const std::string_view first = directive.arg(0);
  const Directive* outer = directive.parent;
  if (outer != nullptr && outer->known && outer->is("map")) {
    const std::string_view key = directive.name.text;
    return key.starts_with('~') ? std::vector{without_sign(key)} : std::vector<std::string_view>{};
  }
  if (!directive.known) return {};
  if (directive.is("location") && first.starts_with('~')) {
    return {directive.args.size() > 1 ? directive.arg(1) : without_sign(first)};
  }
  if (directive.is("rewrite")) return {first};
  if (directive.is("if")) return {regex_of_if(directive)};
  std::vector<std::string_view> out;
  if (directive.is("server_name")) {
    for (const Word& word : directive.args) {
      if (word.text.starts_with('~')) out.push_back(word.text.substr(1));
    }
  }
  return out;
}

void check_regexes(Inspection& in) {
  if (!is_well_formed(in.model)) return;
  for (const Directive& directive : in.model.tree.directives) {
    for (const std::string_view regex : regexes_of(directive)) {
      const std::string why = refused_regex(regex);
      if (why.empty()) continue;
      in.report(
          "CFG-01", Level::kHigh, directive,
          fmt::format("\"{}\" is no regular expression, {}: nginx does not start", regex, why));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"CFG-01", check_twice},         {"CFG-01", check_misplaced_locations},
    {"CFG-01", check_passed_uris},   {"CFG-01", check_unknown_formats},
    {"CFG-01", check_unknown_zones}, {"CFG-01", check_regexes},
};

}  // namespace

std::span<const RuleEntry> refused_rules() { return kRules; }

}  // namespace merlon::audit::nginx
