#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "audit/nginx/condition.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rewrite_phase.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

/// The part of a URL that says which server it leads to: up to a "/" or a variable that always
/// starts with one.
std::string_view host_part(std::string_view url, const Variables& variables, const Scope& scope,
                           const Directive& user) {
  const std::size_t scheme = url.find("://");
  const std::size_t from = scheme == std::string_view::npos ? 0 : scheme + 3;
  std::size_t end = std::min(url.find_first_of("/?#", from), url.size());
  for (const VariableUse& use : variables_in(url)) {
    if (use.at < from || use.at >= end) continue;
    if (use.name == "is_args" || use.name == "args") {
      end = std::min(end, use.at);
      continue;
    }
    const Origin origin = variables.origin_of_variable(use.name, scope, user);
    if ((origin.taint & kRooted) != 0) end = std::min(end, use.at);
  }
  return url.substr(0, end);
}

/// Domains that stand behind the last variable of `host`, such as ".internal.svc".
bool has_fixed_suffix(std::string_view host) {
  const std::vector<VariableUse> uses = variables_in(host);
  if (uses.empty()) return false;
  const std::size_t after = uses.back().at + uses.back().length;
  return after < host.size() && host[after] == '.';
}

/// True when the path of a request is what an upstream says (X-Accel-Redirect), and no client's:
/// the location is internal, and no directive of its server makes such a path of the request's.
bool is_led_to_by_upstream(const Location* location) {
  if (location == nullptr || !location->internal) return false;
  if (location->match == Location::Match::kNamed) return false;  // with the client's own path
  const std::string sample =
      location->is_regex() ? location->pattern->sample() : std::string(location->path);
  const auto may_lead = [&](const Scope& scope) {
    return std::ranges::any_of(scope.settings, [&](const Directive* one) {
      const bool moves = one->is("rewrite") || one->is("try_files") || one->is("error_page");
      if (!moves || one->args.size() < 2) return false;
      const std::string_view to = one->is("rewrite") ? one->arg(1) : one->args.back().text;
      const std::string_view path = to.substr(0, to.find('?'));
      const std::string_view literal = path.substr(0, path.find('$'));
      if (literal.size() == path.size()) return false;  // one path, which nobody chooses
      return sample.starts_with(literal) || literal.starts_with(sample);
    });
  };
  for (const Scope* level = location->server->scope; level != nullptr; level = level->parent) {
    if (may_lead(*level)) return false;
  }
  const auto with_ifs = [&](const Scope& scope) {
    return may_lead(scope) || std::ranges::any_of(scope.children, [&](const Scope* child) {
             return child->context != kLocation && may_lead(*child);
           });
  };
  const auto& all = location->server->all_locations;
  return !with_ifs(*location->server->scope) &&
         std::ranges::none_of(all, [&](const Location* one) { return with_ifs(*one->scope); });
}

/// Whether a client can make `host` lead where it likes.
bool chooses_host(const Origin& origin, std::string_view host) {
  if (!origin.client()) return false;
  // One label of a name that ends in a fixed domain stays inside that domain.
  return (origin.taint & kSlashFree) == 0 || !has_fixed_suffix(host);
}

/// What decides where `url` leads, if a client does; an origin without a client otherwise. Values
/// of variables that are set once, and those of maps, are looked at in place of their names: the
/// host may stand in them, and the client's part behind it.
Origin host_origin(const Inspection& in, std::string_view url, const Scope& scope,
                   const Directive& user, int depth) {
  constexpr int kDepthMax = 4;
  const std::string text = in.variables.expanded(url, scope);
  const std::string host(host_part(text, in.variables, scope, user));
  for (const VariableUse& use : variables_in(host)) {
    const Directive* map = in.variables.map_of(use.name);
    if (map == nullptr || !map->is("map") || depth >= kDepthMax) continue;
    const bool captures = std::ranges::any_of(map->body, [](const Directive* entry) {
      return std::ranges::any_of(variables_in(entry->arg(0)), [](const VariableUse& inner) {
        return ascii::is_digit(inner.name[0]);
      });
    });
    const bool guarded = std::ranges::any_of(map->body, [&](const Directive* entry) {
      return entry->arg(0) == map->arg(0) && entry->name.text != "default";
    });
    if (captures || guarded) continue;
    for (const Directive* entry : map->body) {
      std::string filled = host.substr(0, use.at);
      filled += entry->arg(0);
      filled += text.substr(use.at + use.length);
      if (filled.find(use.name) != std::string::npos) continue;
      Origin found = host_origin(in, filled, scope, user, depth + 1);
      if (!found.client()) continue;
      found.trail.insert(
          found.trail.begin(),
          {entry->mark(), fmt::format("${} may be \"{}\"", use.name, entry->arg(0))});
      return found;
    }
    return {};
  }
  if (host.find('$') == std::string::npos) return {};
  Origin origin = in.variables.origin(host, scope, user);
  return chooses_host(origin, host) ? origin : Origin{};
}

/// The variable of the query, a cookie or a header from which the path at the upstream is made;
/// what nginx took from the request's own path was normalised before.
Origin path_origin(const Inspection& in, std::string_view url, const Scope& scope,
                   const Directive& user) {
  const std::string text = in.variables.expanded(url, scope);
  const std::string_view host = host_part(text, in.variables, scope, user);
  std::string_view path = std::string_view(text).substr(host.size());
  path = path.substr(0, path.find_first_of("?#"));
  if (const std::size_t args = path.find("$is_args"); args != std::string_view::npos) {
    path = path.substr(0, args);
  }
  for (const VariableUse& use : variables_in(path)) {
    const Origin origin = in.variables.origin_of_variable(use.name, scope, user);
    if (!origin.client() || (origin.taint & (kSlashFree | kHostOnly)) != 0) continue;
    if (is_written_by_client(origin.source) && origin.source != "$http_host") return origin;
  }
  return {};
}

void check_upstream_path(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* pass = scope->own("proxy_pass");
    if (pass == nullptr || pass->arg(0).find('$') == std::string_view::npos) continue;
    if (host_origin(in, pass->arg(0), *scope, *pass, 0).client()) continue;  // worse, and said
    const Origin origin = path_origin(in, pass->arg(0), *scope, *pass);
    if (!origin.client()) continue;
    Finding& finding = in.report(
        "SSR-01", Level::kMedium, *pass,
        fmt::format("{} becomes part of the path at the upstream, and nginx does not normalise it: "
                    "with \"../\" the client asks for any path there; expected a map, or "
                    "a parameter behind \"?\"",
                    origin.source));
    finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
    finding.evidence =
        fmt::format("\"../admin\" in {} leads out of the path that is written here", origin.source);
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

/// True when a server_name captured the value: the server is chosen by what the client wrote.
bool is_captured_from_name(const Origin& origin) {
  return (origin.taint & kHostOnly) != 0 && origin.source != "$host" &&
         !origin.source.ends_with("server_name");
}

/// True when a name that was captured leads to some hosts only: one label, or a fixed domain. With
/// "Host: 127.0.0.1?.example.com" the domain ends up in the query (seen of nginx 1.22).
bool stays_within(const Inspection& in, const Origin& origin, const Scope& scope,
                  const Directive& pass) {
  if (!is_captured_from_name(origin)) return false;
  const std::string text = in.variables.expanded(pass.arg(0), scope);
  if ((origin.taint & kSlashFree) != 0) return true;
  return (origin.taint & kQuestionMark) == 0 &&
         has_fixed_suffix(host_part(text, in.variables, scope, pass));
}

/// Who gets the upstream to answer with an X-Accel-Redirect of its own making gets the request.
void report_told_by_upstream(Inspection& in, const Scope& scope, const Directive& pass,
                             const Origin& origin) {
  Finding& finding =
      in.report("SSR-01", Level::kLow, pass,
                fmt::format("{} decides which server is asked, and the upstream chooses it "
                            "(X-Accel-Redirect): expected a map to a list of upstreams",
                            origin.source));
  finding.confidence = Confidence::kPossible;
  finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
  finding.affected.push_back(in.model.route_of(scope));
}

void check_ssrf(Inspection& in) {
  check_upstream_path(in);
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* pass = pass_of(*scope);
    if (pass == nullptr || pass->is("passenger_enabled")) continue;
    if (pass->arg(0).find('$') == std::string_view::npos) continue;
    const Origin origin = host_origin(in, pass->arg(0), *scope, *pass, 0);
    if (!origin.client()) continue;
    const Server* server = in.model.server_of(*scope);
    // The Host field has to match the names of a server that is not the default one.
    const bool by_name = ((origin.taint & kHostOnly) != 0 && !is_captured_from_name(origin)) ||
                         origin.source == "$http_host";
    if (by_name && (server == nullptr || !accepts_any_host(in.model, *server))) {
      continue;
    }
    const bool within = stays_within(in, origin, *scope, *pass);
    const Location* location = in.model.location_of(*scope);
    const bool of_path = !is_written_by_client(origin.source) && origin.source != "$request_uri" &&
                         (origin.taint & kHostOnly) == 0;
    if (of_path && is_led_to_by_upstream(location)) {
      report_told_by_upstream(in, *scope, *pass, origin);
      continue;
    }
    const bool internal = location != nullptr && location->internal;
    Finding& finding = in.report(
        "SSR-01", internal || within ? Level::kMedium : Level::kCritical, *pass,
        fmt::format("{} decides which server is asked, and the client chooses it: expected a map "
                    "to a list of upstreams",
                    origin.source));
    finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
    const char* how = within ? "a Host that server_name matches puts other names into {}"
                      : is_captured_from_name(origin)
                          ? "a Host that begins with \"169.254.169.254?\" puts that into {}"
                          : "{} can be made to lead to 169.254.169.254 or 127.0.0.1";
    finding.evidence = fmt::format(fmt::runtime(how), origin.source);
    finding.affected.push_back(in.model.route_of(*scope));
  }
}

/// The target of a redirect, or "" when the directive makes none.
std::string_view redirect_target(const Directive& directive) {
  if (directive.is("return")) {
    if (directive.args.size() == 1) {
      const std::string_view only = directive.arg(0);
      return only.starts_with("http") || only.starts_with('$') ? only : std::string_view{};
    }
    return directive.arg(0).starts_with('3') ? directive.arg(1) : std::string_view{};
  }
  if (directive.is("error_page") && !directive.args.empty()) {
    const std::string_view to = directive.args.back().text;
    return to.starts_with("http") || to.starts_with('$') ? to : std::string_view{};
  }
  for (const SentField& field : fields_of(directive)) {
    if (ascii::iequals(field.name, "Location")) return field.value;
    if (!ascii::iequals(field.name, "Refresh")) continue;
    const std::size_t url = field.value.find("url=");
    if (url != std::string_view::npos) return field.value.substr(url + 4);
  }
  if (!directive.is("rewrite")) return {};
  const std::string_view flag = directive.arg(2);
  const std::string_view to = directive.arg(1);
  const bool redirects = flag == "redirect" || flag == "permanent" || to.starts_with("http://") ||
                         to.starts_with("https://") || to.starts_with("$scheme");
  return redirects ? to : std::string_view{};
}

/// A redirect to the Host that was asked for leads nobody astray but through a cache, and only
/// where any Host is taken. Of servers in clear TLS-14 speaks.
void check_host_redirect(Inspection& in, const Scope& scope, const Directive& redirect) {
  const Server* server = in.model.server_of(scope);
  if (server == nullptr || !server->has_tls() || !accepts_any_host(in.model, *server)) return;
  in.report("SSR-03", Level::kLow, redirect,
            "the redirect goes to whatever host the request names, its port included, and this "
            "server takes requests for any: expected the canonical name")
      .affected.push_back(in.model.route_of(scope));
}

/// Texts that lead to another site, in the forms that browsers take.
constexpr std::array<std::string_view, 6> kElsewhere = {
    "https://attacker.test", "https://attacker.test/", "http://attacker.test/",
    "//attacker.test",       "//attacker.test/",       "/\\attacker.test/"};

/// True when a text that `pattern` matches leads to a place that its author meant: to a path of
/// this site, or to the host that is written out in it.
bool keeps_to_known_places(const Pattern& pattern) {
  if (!pattern.ok() || !pattern.anchored_at_start()) return false;
  const auto matches = [&](const std::string& text) { return pattern.search(text).value_or(true); };
  for (const std::string_view text : kElsewhere) {
    if (matches(std::string(text))) return false;
  }
  const std::string sample = pattern.sample();
  if (sample.empty()) return false;
  if (sample.starts_with('/')) return true;
  // Another host that begins like the one in it.
  const std::size_t scheme = sample.find("://");
  const std::size_t slash = scheme == std::string::npos ? scheme : sample.find('/', scheme + 3);
  const std::string host = sample.substr(0, slash);
  const std::string path = sample.substr(host.size()) + "/";
  return !matches(host + ".attacker.test" + path) && !matches(host + "@attacker.test" + path);
}

/// True when the statement stands in an `if` that lets through only such texts of the variable that
/// the target begins with.
bool is_held_to_known_places(const Scope& scope, std::string_view to) {
  if (scope.block == nullptr) return false;
  const std::optional<Condition> condition = condition_of(*scope.block);
  const std::vector<VariableUse> uses = variables_in(to);
  if (!condition || uses.empty() || uses[0].at != 0) return false;
  if (uses[0].name != condition->variable) return false;
  if (condition->test == Condition::Test::kEqual)
    return condition->value.find('$') == std::string_view::npos;
  return condition->test == Condition::Test::kMatch &&
         keeps_to_known_places(Pattern(condition->value, condition->ignore_case));
}

/// Who decides where "/$x" or "//$x" leads: without absolute_redirect nginx sends it as it is, and
/// browsers take what stands behind two slashes for another site.
Origin slash_origin(const Inspection& in, std::string_view to, const Scope& scope,
                    const Directive& redirect) {
  const Directive* absolute = scope.effective("absolute_redirect");
  const std::vector<VariableUse> uses = variables_in(to);
  const bool sent = redirect.is("return") || redirect.is("rewrite") || redirect.is("error_page");
  if (!sent || absolute == nullptr || absolute->arg(0) != "off" || uses.empty()) return {};
  const std::string_view start = to.substr(0, uses[0].at);
  if (start != "/" && start != "//") return {};
  Origin origin = in.variables.origin_of_variable(uses[0].name, scope, redirect);
  // What is taken from the normalised path does not begin with a slash of its own.
  const bool slash = is_written_by_client(origin.source) || origin.source == "$request_uri";
  return start == "//" || slash ? origin : Origin{};
}

void check_open_redirect(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    for (const Directive* directive : scope->settings) {
      const std::string_view to = redirect_target(*directive);
      if (to.find('$') == std::string_view::npos) continue;
      const Origin origin = to.starts_with('/') ? slash_origin(in, to, *scope, *directive)
                                                : host_origin(in, to, *scope, *directive, 0);
      if (!origin.client() || (origin.taint & kHostOnly) != 0) continue;
      if (is_held_to_known_places(*scope, to)) continue;
      if (origin.source == "$http_host") {
        check_host_redirect(in, *scope, *directive);
        continue;
      }
      Finding& finding = in.report(
          "SSR-03", Level::kMedium, *directive,
          fmt::format("{} decides where the redirect leads, and whoever makes the link chooses it",
                      origin.source));
      finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
      finding.affected.push_back(in.model.route_of(*scope));
    }
  }
}

struct Sink {
  std::string_view text;
  const char* into;
};

/// The texts of a directive that become part of a header or a request line.
std::vector<Sink> sinks_of(const Directive& directive) {
  std::vector<Sink> out;
  const std::string_view name = directive.name.text;
  if (name == "return" || name == "rewrite") {
    const std::string_view to = redirect_target(directive);
    if (!to.empty()) out.push_back({to, "the Location field"});
  } else if (name == "add_header" || name == "more_set_headers") {
    for (const SentField& field : fields_of(directive)) {
      out.push_back({field.value, "a response header"});
    }
  } else if (name == "add_trailer") {
    out.push_back({directive.arg(1), "a trailer"});
  } else if (name == "error_page") {
    out.push_back({redirect_target(directive), "the Location field"});
  } else if (name == "proxy_set_header" || name == "grpc_set_header") {
    out.push_back({directive.arg(1), "a header of the request to the upstream"});
  } else if (name == "proxy_pass") {
    out.push_back({directive.arg(0), "the request line to the upstream"});
  }
  return out;
}

/// A `return` with the path as the client wrote it in place of the decoded one.
std::vector<Edit> return_undecoded(const Directive& directive) {
  constexpr std::string_view kQuery = "$is_args$args";
  std::string text = statement(directive);
  for (const VariableUse& use : variables_in(text)) {
    if (use.name != "uri") continue;
    const bool with_query = std::string_view(text).substr(use.at + use.length).starts_with(kQuery);
    text.replace(use.at, use.length + (with_query ? kQuery.size() : 0), "$request_uri");
    return replace_statement(directive, text + ";");
  }
  return {};
}

/// Reports the first variable of a sink that can hold a line break of the client's.
void report_splitting(Inspection& in, const Scope& scope, const Directive& directive,
                      const Sink& sink) {
  for (const VariableUse& use : variables_in(sink.text)) {
    const bool capture = ascii::is_digit(use.name[0]);
    // nginx escapes what a rewrite captured when it redirects.
    if (capture && directive.is("rewrite")) continue;
    const Origin origin = in.variables.origin_of_variable(use.name, scope, directive);
    if (!origin.line_breaks() || !origin.client()) continue;
    const bool told = is_led_to_by_upstream(in.model.location_of(scope));
    Finding& finding =
        in.report("INJ-01", told ? Level::kLow : Level::kHigh, directive,
                  fmt::format("${} is percent-decoded and can hold a line break, which splits {}: "
                              "expected {}",
                              use.name, sink.into,
                              told ? "a pattern that excludes line breaks"
                                   : "$request_uri, or a pattern that excludes line breaks"));
    finding.evidence =
        told ? "only the upstream leads requests here, and chooses their path (X-Accel-Redirect)"
             : "a path with %0d%0aX-Injected:%20yes adds a field of the client's own";
    if (told) finding.confidence = Confidence::kPossible;
    finding.trail.insert(finding.trail.end(), origin.trail.begin(), origin.trail.end());
    finding.affected.push_back(in.model.route_of(scope));
    if (use.name == "uri" && directive.is("return")) finding.fix = return_undecoded(directive);
    return;
  }
}

void check_splitting(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer | kLocation | kIfInServer | kIfInLocation)) == 0) {
      continue;
    }
    for (const Directive* directive : scope.settings) {
      for (const Sink& sink : sinks_of(*directive)) report_splitting(in, scope, *directive, sink);
    }
  }
}

void check_lenient_headers(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* ignore = scope.own("ignore_invalid_headers");
    if (ignore != nullptr && ignore->arg(0) == "off") {
      Finding& finding = in.report(
          "INJ-02", Level::kHigh, *ignore,
          "header names with any bytes are passed on: what nginx and the upstream make of them may "
          "differ, which is how requests are smuggled");
      finding.affected.push_back(in.model.route_of(scope));
      finding.fix = remove_statement(*ignore);
    }
    const Directive* underscores = scope.own("underscores_in_headers");
    if (underscores != nullptr && underscores->arg(0) == "on") {
      Finding& finding = in.report(
          "INJ-03", Level::kMedium, *underscores,
          "names with underscores are passed on: X_Forwarded_For and X-Forwarded-For become one "
          "variable in CGI-like upstreams");
      finding.affected.push_back(in.model.route_of(scope));
      finding.fix = remove_statement(*underscores);
    }
  }
}

void check_referers(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* valid = scope->own("valid_referers");
    if (valid == nullptr) continue;
    const bool none = std::ranges::any_of(valid->args, [](const Word& word) {
      return word.text == "none" || word.text == "blocked";
    });
    // For pictures it keeps other sites from embedding them, which is all that it is good for.
    const bool hotlinks = scope->location != nullptr && scope->location->is_regex() &&
                          scope->location->path.find('.') != std::string_view::npos;
    const bool pictures = scope->location != nullptr &&
                          (scope->location->path.find("im") != std::string_view::npos ||
                           scope->location->path.find("static") != std::string_view::npos ||
                           scope->location->path.find("media") != std::string_view::npos ||
                           scope->location->path.find("assets") != std::string_view::npos);
    if (!none || hotlinks || (pictures && pass_of(*scope) == nullptr)) continue;
    in.report("INJ-04", Level::kLow, *valid,
              "requests without a Referer pass: this stops no forged request")
        .affected.push_back(in.model.route_of(*scope));
  }
}

/// A map that turns the Upgrade field into a value only where it is there, or is "websocket".
bool is_constant_upgrade(std::string_view value) {
  return ascii::iequals(value, "upgrade") || ascii::iequals(value, "Upgrade, HTTP2-Settings");
}

bool speaks_of_websocket(const Location* location) {
  return location != nullptr && location->path != "/" && is_streaming_path(location->path);
}

/// True when the field asks the upstream for "h2c" where a client does, or by itself.
bool asks_for_h2c(const Inspection& in, const Scope& scope, const Directive& upgrade) {
  RewritePhase phase({.variables = {{"http_upgrade", "h2c"}}}, &in.variables);
  if (const Server* server = in.model.server_of(scope)) phase.run(*server->scope);
  if (const Location* location = in.model.location_of(scope)) phase.run(*location->scope);
  const std::optional<std::string> value = phase.filled_in(upgrade.arg(1));
  return value && ascii::iequals(*value, "h2c");
}

void report_h2c(Inspection& in, const Scope& scope, const Directive& upgrade,
                const Directive& connection, bool copied) {
  const bool literal = upgrade.arg(1).find('$') == std::string_view::npos;
  const char* what =
      copied    ? "the client's Upgrade and Connection are passed on: with \"h2c\" the upstream "
                  "speaks HTTP/2 to the client past every rule of this server"
      : literal ? "every request asks the upstream to upgrade to h2c: then it speaks HTTP/2 to the "
                  "client past every rule of this server"
                : "every request asks the upstream to upgrade to what the client names, h2c too: "
                  "expected a map that lets \"websocket\" through only";
  Finding& finding = in.report("INJ-05", copied ? Level::kHigh : Level::kMedium, connection, what);
  finding.confidence = Confidence::kLikely;
  finding.trail.push_back(
      {upgrade.mark(), literal ? "Upgrade asks for h2c" : "Upgrade is the client's"});
  finding.affected.push_back(in.model.route_of(scope));
}

void check_h2c(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    if (!scope->has("proxy_pass")) continue;
    const Directive* upgrade = forwarded_header(*scope, "Upgrade");
    const Directive* connection = forwarded_header(*scope, "Connection");
    if (upgrade == nullptr || connection == nullptr) continue;
    if (!asks_for_h2c(in, *scope, *upgrade)) continue;
    const Location* location = in.model.location_of(*scope);
    const bool copied =
        in.variables.origin(connection->arg(1), *scope, *connection).source == "$http_connection";
    const std::string sent = in.variables.expanded(connection->arg(1), *scope);
    if (!copied && !is_constant_upgrade(sent)) continue;
    if (!copied && speaks_of_websocket(location)) continue;
    const Directive* version = scope->effective("proxy_http_version");
    if (version == nullptr || version->arg(0) == "1.0") continue;  // 1.0 has no upgrade
    if (parse_target(scope->own("proxy_pass")->arg(0)).scheme == "https") continue;
    report_h2c(in, *scope, *upgrade, *connection, copied);
  }
}

constexpr RuleEntry kRules[] = {
    {"SSR-01", check_ssrf},      {"SSR-03", check_open_redirect},
    {"INJ-01", check_splitting}, {"INJ-02", check_lenient_headers},
    {"INJ-03", nullptr},         {"INJ-04", check_referers},
    {"INJ-05", check_h2c},
};

}  // namespace

std::span<const RuleEntry> injection_rules() { return kRules; }

}  // namespace merlon::audit::nginx
