#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "audit/nginx/address_list.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/identity_view.h"
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
  if (answers_the_refused(in, scope)) return false;
  if (has_authentication(in, scope) || has_network_acl(scope)) return true;
  if (is_denied_to_all(scope) || scope.has("internal")) return true;
  if (refused_by_if(in, scope)) return true;
  // An allow without its deny is a finding of its own, with this very cause.
  const std::vector<const Directive*> allows = scope.effective_all("allow");
  return !allows.empty() && std::ranges::none_of(allows, [](const Directive* allow) {
    return open_families(allow->arg(0)) != 0;
  });
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
    if (is_guarded(in, scope) || return_status(scope) != 0) continue;
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
    if (is_guarded(in, *scope) || scope->incomplete) continue;
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

struct Endpoint {
  std::string_view path;
  Level level;
};

/// What lies below an endpoint and tells something: of the actuator, not /health and /info.
std::span<const std::string_view> parts_of(const Endpoint& endpoint) {
  static constexpr std::array<std::string_view, 2> kItself = {"", "/"};
  static constexpr std::array<std::string_view, 10> kActuator = {
      "/env",     "/beans",   "/configprops", "/heapdump", "/threaddump",
      "/loggers", "/metrics", "/prometheus",  "/mappings", "/shutdown"};
  if (endpoint.path == "/actuator") return kActuator;
  return kItself;
}

/// True when `pattern` takes other names that begin as the endpoint's does, or none of it: it is
/// about a shorter word, such as "/admin" is not about "/adminer".
bool takes_other_names(const Pattern& pattern, const Endpoint& endpoint, std::string_view part) {
  std::string other(endpoint.path);
  const std::size_t name = other.rfind('/') + 1;
  for (std::size_t i = std::min(other.find('.', name), other.size()); i > name; --i) {
    other[i - 1] = 'z';
    if (pattern.search(other + std::string(part)).value_or(true)) return true;
  }
  return false;
}

/// True when the location's pattern takes requests for the endpoint and is about it: it does not
/// take another name in its place.
bool matches_endpoint(const Inspection& in, const Location& location, const Endpoint& endpoint) {
  return std::ranges::any_of(parts_of(endpoint), [&](std::string_view part) {
    const std::string path = fmt::format("{}{}", endpoint.path, part);
    return location.pattern->search(path).value_or(false) &&
           !takes_other_names(*location.pattern, endpoint, part) &&
           in.model.match(*location.server, path) == &location;
  });
}

/// What even a closed endpoint tells everyone.
bool is_harmless(std::string_view path) {
  return path.find("/health") != std::string_view::npos || path.starts_with("/actuator/info");
}

/// True when the path that proxy_pass puts in place of the location's is the endpoint's.
bool leads_to_endpoint(const Directive& pass, const Endpoint& endpoint) {
  const std::string_view path = parse_target(pass.arg(0)).path;
  // What a request puts behind the actuator may be /health alone.
  const bool open_end = path.find('$') != std::string_view::npos && endpoint.path == "/actuator";
  return !open_end && !is_harmless(path) && names_endpoint(path, endpoint.path);
}

bool passes_endpoint(const Inspection& in, const Location& location, const Endpoint& endpoint) {
  if (!location.is_regex()) {
    return !is_harmless(location.path) && names_endpoint(location.path, endpoint.path);
  }
  if (matches_endpoint(in, location, endpoint)) return true;
  return endpoint.path != "/actuator" && names_endpoint(location.path, endpoint.path);
}

/// Where a location hands requests on to an upstream: itself, or the named location that its
/// try_files leads to; nullptr when neither does.
const Scope* passing_scope(const Location& location) {
  if (pass_of(*location.scope) != nullptr) return location.scope;
  const Directive* tries = location.scope->own("try_files");
  const Location* next = tries == nullptr || tries->args.empty()
                             ? nullptr
                             : location.server->named(tries->args.back().text);
  return next == nullptr || pass_of(*next->scope) == nullptr ? nullptr : next->scope;
}

bool is_closed(const Inspection& in, const Scope& scope) {
  return return_status(scope) != 0 || scope.incomplete || is_guarded(in, scope);
}

void check_management(Inspection& in) {
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
    const Scope* to = passing_scope(location);
    if (to == nullptr || location.internal || location.server->is_local()) continue;
    if (is_closed(in, *location.scope) || is_closed(in, *to)) continue;
    for (const Endpoint& endpoint : kEndpoints) {
      const bool passes =
          passes_endpoint(in, location, endpoint) || leads_to_endpoint(*pass_of(*to), endpoint);
      if (!passes) continue;
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
    {"INF-01", check_server_tokens},     {"INF-02", check_upstream_banner},
    {"INF-03", check_error_pages},       {"INF-05", check_private_address},
    {"INF-09", check_debug_log},         {"EXP-02", check_status_pages},
    {"EXP-02", check_fpm_status},        {"EXP-01", nullptr},
    {"EXP-03", check_management},        {"EXP-05", check_default_site},
    {"EXP-06", check_version_wildcards},
};

}  // namespace

std::span<const RuleEntry> exposure_rules() { return kRules; }

}  // namespace merlon::audit::nginx
