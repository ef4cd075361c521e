#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "audit/nginx/directives.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/words.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kKiB = std::uint64_t{1} << 10;
constexpr std::uint64_t kSecond = 1000;

/// The value of "key=value" among the arguments of a directive.
std::string_view option(const Directive& directive, std::string_view key) {
  for (const Word& word : directive.args) {
    if (word.text.size() > key.size() && word.text.starts_with(key) &&
        word.text[key.size()] == '=') {
      return word.text.substr(key.size() + 1);
    }
  }
  return {};
}

std::string_view zone_name(const Directive& zone) {
  const std::string_view name = option(zone, "zone");
  return name.substr(0, name.find(':'));
}

/// The zone that a limit_req or limit_conn refers to.
std::string_view used_zone(const Directive& limit) {
  return limit.is("limit_conn") ? limit.arg(0) : option(limit, "zone");
}

bool is_answering_route(const Location& location) {
  return pass_of(*location.scope) != nullptr && !location.scope->has("internal") &&
         return_status(*location.scope) == 0 && !is_denied_to_all(*location.scope);
}

void check_no_rate_limit(Inspection& in) {
  for (const Server& server : in.model.servers) {
    if (server.is_local()) continue;
    std::vector<std::string> open;
    bool unseen = false;
    for (const Location* location : server.all_locations) {
      if (!is_answering_route(*location)) continue;
      const Scope& scope = *location->scope;
      if (scope.effective("limit_req") != nullptr ||
          scope.effective("access_by_lua_block") != nullptr) {
        continue;
      }
      unseen = unseen || scope.may_inherit_unseen();
      open.push_back(location->label());
    }
    if (open.empty()) continue;
    if (unseen) {
      in.not_checked("LIM-01", "an outer level, which may set limit_req, is not in the files");
      continue;
    }
    Finding& finding =
        in.report("LIM-01", Level::kMedium, server.at(),
                  fmt::format("no request rate limit on {} proxied route{}: expected limit_req",
                              open.size(), open.size() == 1 ? "" : "s"));
    finding.confidence = Confidence::kLikely;
    finding.affected = std::move(open);
  }
}

void check_unused_zones(Inspection& in) {
  if (!in.model.framed && in.model.stream == nullptr) return;
  std::set<std::string_view> used;
  bool unseen = false;
  for (const Scope& scope : in.model.scopes) {
    unseen = unseen || scope.incomplete;
    for (const Directive* limit : scope.own_all("limit_req")) used.insert(used_zone(*limit));
    for (const Directive* limit : scope.own_all("limit_conn")) used.insert(used_zone(*limit));
  }
  if (unseen) return;
  for (const Scope* level : {in.model.framed ? in.model.http : nullptr, in.model.stream}) {
    if (level == nullptr) continue;
    for (const Directive* zone : level->settings) {
      if (!zone->is("limit_req_zone") && !zone->is("limit_conn_zone")) continue;
      const std::string_view called = zone_name(*zone);
      if (called.empty() || used.contains(called)) continue;
      in.report(
          "LIM-02", Level::kMedium, *zone,
          fmt::format("zone \"{}\" is declared and nothing applies it: it limits nothing", called));
    }
  }
}

bool is_spoofable(std::string_view name) {
  // What a client sends and can change with every request.
  return name.starts_with("http_") || name.starts_with("arg_") || name.starts_with("cookie_") ||
         name == "proxy_add_x_forwarded_for" || name == "args" || name == "query_string" ||
         name == "request_uri" || name == "request";  // "?1", "?2" …
}

/// Another with every request or connection of one client.
bool never_repeats(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNames = {
      "request_id", "remote_port", "connection", "connection_requests", "msec", "request_length"};
  return std::ranges::find(kNames, name) != kNames.end();
}

/// True when a server where zone `name` counts takes requests for any host: clients make names up.
bool counts_any_host(const Inspection& in, std::string_view name) {
  return std::ranges::any_of(in.model.scopes, [&](const Scope& scope) {
    const auto counts = [&](const Directive* limit) { return used_zone(*limit) == name; };
    const bool here = std::ranges::any_of(scope.own_all("limit_req"), counts) ||
                      std::ranges::any_of(scope.own_all("limit_conn"), counts);
    const Server* server = here ? in.model.server_of(scope) : nullptr;
    return server != nullptr && accepts_any_host(in.model, *server);
  });
}

/// The limits of requests that are in force wherever zone `name` is, by their keys.
bool has_address_limit_beside(const Inspection& in, std::string_view name) {
  const auto counts_addresses = [&](const Directive* limit) {
    return std::ranges::any_of(in.model.http->own_all("limit_req_zone"), [&](const Directive* z) {
      return zone_name(*z) == used_zone(*limit) &&
             (z->arg(0) == "$binary_remote_addr" || z->arg(0) == "$remote_addr");
    });
  };
  bool used = false;
  for (const Scope& scope : in.model.scopes) {
    const auto limits = scope.own_all("limit_req");
    const bool applies = std::ranges::any_of(
        limits, [&](const Directive* limit) { return used_zone(*limit) == name; });
    if (!applies) continue;
    if (std::ranges::none_of(limits, counts_addresses)) return false;
    used = true;
  }
  return used;
}

/// What the client chooses in the key of a zone, such as "$http_x_id"; "" when nothing.
std::string spoofable_source(const Inspection& in, const Scope& scope, const Directive& zone) {
  std::string source;
  for (const VariableUse& use : variables_in(zone.arg(0))) {
    const Origin origin = in.variables.origin_of_variable(use.name, scope, zone);
    const std::string_view from =
        origin.source.empty() ? std::string_view{} : std::string_view(origin.source).substr(1);
    if (is_spoofable(use.name) || never_repeats(use.name) ||
        (use.name == "host" && counts_any_host(in, zone_name(zone)))) {
      source = fmt::format("${}", use.name);
    } else if (!from.empty() && is_spoofable(from)) {
      source = origin.source;
    }
  }
  return source;
}

void check_spoofable_key(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if (scope.context != kHttp) continue;
    for (const Name name : {Name("limit_req_zone"), Name("limit_conn_zone")}) {
      for (const Directive* zone : scope.own_all(name)) {
        const std::string source = spoofable_source(in, scope, *zone);
        if (source.empty()) continue;
        // A limit for robots that say who they are, or for each host, comes on top of the one for
        // everyone.
        const bool finer = source == "$http_user_agent" || source == "$host";
        const bool beside =
            finer && in.model.http != nullptr && has_address_limit_beside(in, zone_name(*zone));
        Finding& finding = in.report(
            "LIM-03", beside ? Level::kInfo : Level::kHigh, *zone,
            fmt::format("the limit counts by {}, which {}: expected "
                        "$binary_remote_addr or a verified identity",
                        source,
                        never_repeats(std::string_view(source).substr(1)) ? "is another each time"
                                                                          : "the client chooses"));
        finding.evidence = fmt::format("a new {} with every request is never limited", source);
        finding.affected.emplace_back(zone_name(*zone));
      }
    }
  }
}

void check_limit_status(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* dry = scope.own("limit_req_dry_run");
    if (dry != nullptr && dry->arg(0) == "on") {
      in.report("LIM-04", Level::kLow, *dry, "limit_req_dry_run on: the limit refuses nobody");
    }
    const Directive* status = scope.own("limit_req_status");
    if (status != nullptr && status->arg(0) == "503") {
      in.report("LIM-04", Level::kLow, *status,
                "limited clients are told 503: expected 429, which says that it is their rate");
    }
  }
  Finding* unset = nullptr;
  for (const Scope& scope : in.model.scopes) {
    const Directive* limit = scope.own("limit_req");
    if (limit == nullptr || scope.effective("limit_req_status") != nullptr) continue;
    if (scope.incomplete) continue;
    if (unset == nullptr) {
      unset = &in.report("LIM-04", Level::kLow, *limit,
                         "limit_req without limit_req_status answers 503: expected "
                         "\"limit_req_status 429\"");
      if (!in.model.framed) unset->confidence = Confidence::kPossible;
    }
    unset->affected.push_back(in.model.route_of(scope));
    for (const Edit& shape : replace_statement(*limit, "limit_req_status 429;")) {
      unset->fix.push_back(
          {limit->file, limit->name.line, limit->name.line - 1, shape.replacement});
    }
  }
}

void check_no_connection_limit(Inspection& in) {
  Finding* finding = nullptr;
  for (const Server& server : in.model.servers) {
    if (server.is_local() || only_redirects(server)) continue;
    const bool answers = std::ranges::any_of(
        server.all_locations, [](const Location* l) { return is_answering_route(*l); });
    if (!answers) continue;
    const bool limited = server.scope->effective("limit_conn") != nullptr ||
                         std::ranges::any_of(server.all_locations, [](const Location* l) {
                           return l->scope->effective("limit_conn") != nullptr;
                         });
    if (limited) continue;
    if (server.scope->may_inherit_unseen()) {
      in.not_checked("LIM-05", "the http block, which may set limit_conn, is not in the files");
      continue;
    }
    if (finding == nullptr) {
      finding = &in.report("LIM-05", Level::kLow, server.at(),
                           "no cap on the connections of one client: expected limit_conn");
      finding->confidence = Confidence::kLikely;
    }
    finding->affected.push_back(server.label());
  }
}

bool is_upload_path(std::string_view path) {
  return path.find("/v2/") != std::string_view::npos ||
         has_word(path, {"*upload*", "import", "imports", "importer", "file*", "media", "*backup*",
                         "*dav", "blob*", "attachment*", "photo*", "image*", "document",
                         "documents", "push", "sync", "*storage*"});
}

void check_body_size(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* size = scope.own("client_max_body_size");
    std::uint64_t bytes = 0;
    if (size == nullptr || !parse_size(size->arg(0), bytes)) continue;
    if (bytes != 0 && bytes <= 100 * kMiB) continue;
    const Location* location = in.model.location_of(scope);
    const bool upload = location != nullptr && is_upload_path(location->path);
    const Level level = upload ? Level::kInfo : Level::kMedium;
    in.report(
          "LIM-06", level, *size,
          bytes == 0
              ? std::string("request bodies have no limit: expected 1m, more only where needed")
              : fmt::format("request bodies may have {} MiB: expected 1m, more only where needed",
                            bytes / kMiB))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_header_buffers(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* large = scope.own("large_client_header_buffers");
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    if (large != nullptr && parse_size(large->arg(0), count) && parse_size(large->arg(1), bytes)) {
      if (bytes > 32 * kKiB || count * bytes > 8 * 32 * kKiB) {
        in.report("LIM-07", Level::kLow, *large,
                  fmt::format("one request may make nginx hold {} KiB of header: expected \"4 8k\"",
                              count * bytes / kKiB));
      }
    }
    const Directive* first = scope.own("client_header_buffer_size");
    if (first != nullptr && parse_size(first->arg(0), bytes) && bytes > 32 * kKiB) {
      in.report(
          "LIM-07", Level::kLow, *first,
          fmt::format("every connection takes {} KiB for headers: expected 1k", bytes / kKiB));
    }
  }
}

void check_client_timeouts(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Name name :
         {Name("client_header_timeout"), Name("client_body_timeout"), Name("send_timeout")}) {
      const Directive* timeout = scope.own(name);
      std::uint64_t value = 0;
      if (timeout == nullptr || !parse_time(timeout->arg(0), value)) continue;
      if (value != 0 && value <= 60 * kSecond) continue;
      const Location* location = in.model.location_of(scope);
      const bool slow = location != nullptr &&
                        (is_upload_path(location->path) || is_streaming_path(location->path));
      in.report("LIM-08", slow ? Level::kInfo : Level::kMedium, *timeout,
                fmt::format("{} {} lets slow clients hold connections: expected 10s", name.text,
                            timeout->arg(0)));
    }
  }
}

void check_keepalive(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    const Directive* keep = scope.own("keepalive_timeout");
    std::uint64_t value = 0;
    if (keep == nullptr || !parse_time(keep->arg(0), value) || value <= 75 * kSecond) continue;
    in.report("LIM-09", Level::kInfo, *keep,
              fmt::format("idle connections are kept for {}: expected 75s or less", keep->arg(0)));
  }
}

/// True when every route that the level steers holds long exchanges on purpose.
bool streams(const Scope& scope) {
  // Buffering that is off for a whole server says nothing of one route.
  const auto off = [&](Name name) {
    const Directive* own = scope.location == nullptr ? nullptr : scope.own(name);
    return own != nullptr && own->arg(0) == "off";
  };
  const bool own = forwarded_header(scope, "Upgrade") != nullptr || off("proxy_buffering") ||
                   off("proxy_request_buffering") || scope.has("grpc_pass") ||
                   (scope.location != nullptr && is_streaming_path(scope.location->path));
  if (own) return true;
  bool any = false;
  for (const Scope* child : scope.children) {
    if ((child->context & (kServer | kLocation)) == 0) continue;
    if (pass_of(*child) == nullptr && child->children.empty()) continue;
    any = true;
    if (!streams(*child)) return false;
  }
  return any && pass_of(scope) == nullptr;
}

void check_upstream_timeouts(Inspection& in) {
  struct Bound {
    Name name;
    std::uint64_t most;
  };
  const Bound bounds[] = {
      {"proxy_read_timeout", 300 * kSecond},   {"fastcgi_read_timeout", 300 * kSecond},
      {"uwsgi_read_timeout", 300 * kSecond},   {"proxy_send_timeout", 300 * kSecond},
      {"proxy_connect_timeout", 75 * kSecond}, {"fastcgi_connect_timeout", 75 * kSecond}};
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    for (const Bound& bound : bounds) {
      const Directive* timeout = scope.own(bound.name);
      std::uint64_t value = 0;
      if (timeout == nullptr || !parse_time(timeout->arg(0), value) || value <= bound.most)
        continue;
      const bool connect = bound.name.text.ends_with("connect_timeout");
      if (!connect && (streams(scope) || scope.block == &in.model.tree.root)) continue;
      in.report("LIM-10", Level::kMedium, *timeout,
                fmt::format("{} {}: a stuck upstream holds every request that long; expected 15s "
                            "to 60s",
                            bound.name.text, timeout->arg(0)))
          .affected.push_back(in.model.route_of(scope));
    }
  }
}

void check_retries(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* next = scope.own("proxy_next_upstream");
    if (next == nullptr || (scope.context & (kHttp | kServer | kLocation)) == 0) continue;
    const bool repeats = std::ranges::any_of(
        next->args, [](const Word& word) { return word.text == "non_idempotent"; });
    if (!repeats) continue;
    in.report("LIM-11", Level::kMedium, *next,
              "POST, LOCK and PATCH are sent again to another server after a failure: they may "
              "take effect twice")
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_buffering(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    if ((scope.context & (kHttp | kServer)) == 0 || scope.block == &in.model.tree.root) continue;
    for (const Name name : {Name("proxy_buffering"), Name("proxy_request_buffering")}) {
      const Directive* off = scope.own(name);
      if (off == nullptr || off->arg(0) != "off") continue;
      in.report("LIM-12", Level::kLow, *off,
                fmt::format("{} off for everything: slow clients hold upstream connections; "
                            "expected only where streams need it",
                            name.text));
    }
  }
}

void check_streams(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* limit = scope.own("http2_max_concurrent_streams");
    std::uint64_t count = 0;
    if (limit != nullptr && parse_size(limit->arg(0), count) && count > 128) {
      in.report(
          "LIM-13", Level::kMedium, *limit,
          fmt::format("{} concurrent HTTP/2 streams a connection: expected 128 or less", count));
    }
    const Directive* requests = scope.own("keepalive_requests");
    const bool http = (scope.context & (kHttp | kServer)) != 0;
    if (http && requests != nullptr && parse_size(requests->arg(0), count) && count > 10'000) {
      Finding& finding = in.report(
          "LIM-13", Level::kLow, *requests,
          fmt::format("{} requests a connection: before nginx 1.25.3 this is what bounds HTTP/2 "
                      "rapid reset; expected 1000",
                      count));
      finding.confidence = Confidence::kPossible;
    }
  }
}

void check_descriptors(Inspection& in) {
  if (!in.model.has_main) return;
  const Directive* files = in.model.root->own("worker_rlimit_nofile");
  for (const Scope* child : in.model.root->children) {
    if (child->context != kEvents || files == nullptr) continue;
    const Directive* connections = child->own("worker_connections");
    std::uint64_t have = 0;
    std::uint64_t need = 0;
    if (connections == nullptr || !parse_size(files->arg(0), have)) continue;
    if (!parse_size(connections->arg(0), need) || have >= need) continue;
    in.report("LIM-15", Level::kInfo, *files,
              fmt::format("{} descriptors for {} connections a worker: expected twice as many, a "
                          "proxied request takes two",
                          have, need));
  }
}

constexpr RuleEntry kRules[] = {
    {"LIM-01", check_no_rate_limit},
    {"LIM-02", check_unused_zones},
    {"LIM-03", check_spoofable_key},
    {"LIM-04", check_limit_status},
    {"LIM-05", check_no_connection_limit},
    {"LIM-06", check_body_size},
    {"LIM-07", check_header_buffers},
    {"LIM-08", check_client_timeouts},
    {"LIM-09", check_keepalive},
    {"LIM-10", check_upstream_timeouts},
    {"LIM-11", check_retries},
    {"LIM-12", check_buffering},
    {"LIM-13", check_streams},
    {"LIM-15", check_descriptors},
};

}  // namespace

std::span<const RuleEntry> limit_rules() { return kRules; }

}  // namespace merlon::audit::nginx
