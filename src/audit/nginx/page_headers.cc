#include "audit/nginx/page_headers.h"

#include <algorithm>

#include "audit/nginx/header_view.h"

namespace merlon::audit::nginx {
namespace {

bool serves_files(const Server& server) {
  const auto files = [](const Scope& scope) {
    return handler_of(scope).kind == Handler::Kind::kStatic &&
           (scope.effective("root") != nullptr || scope.has("alias"));
  };
  if (server.locations.empty()) return files(*server.scope);
  return std::ranges::any_of(server.all_locations, [&](const Location* location) {
    return !location->internal && files(*location->scope);
  });
}

/// Where a file that is not there leads to: the last word of try_files.
const Location* fallback_of(const Inspection& in, const Location& location) {
  const Directive* tries = location.scope->own("try_files");
  if (tries == nullptr || tries->args.empty()) return nullptr;
  const std::string_view last = tries->args.back().text;
  if (last.starts_with('/')) {
    return in.model.match(*location.server, last.substr(0, last.find_first_of("?$")));
  }
  return location.server->named(last);
}

/// A location that hands out pages: no single file such as robots.txt, no challenge, no refusal.
bool hands_out_pages(const Location& location) {
  const bool one_file = location.match == Location::Match::kExact && location.path != "/";
  return !one_file && !location.internal && location.match != Location::Match::kNamed &&
         location.path.find(".well-known") == std::string_view::npos &&
         return_status(*location.scope) == 0 && !is_denied_to_all(*location.scope);
}

}  // namespace

bool serves_content(const Server& server) {
  if (only_redirects(server) || return_status(*server.scope) != 0) return false;
  return server.has_cleartext() || !server.scope->flag("ssl_reject_handshake", false);
}

bool sends_for_pages(const Inspection& in, const Server& server,
                     const std::function<bool(const Scope&)>& present) {
  const auto sends = [&](const Location* location) {
    return location != nullptr && present(*location->scope);
  };
  const Location* root = in.model.match(server, "/");
  if (root != nullptr && hands_out_pages(*root)) {
    const Location* script = in.model.match(server, "/index.php");
    const bool runs = script != nullptr && script->scope->has("fastcgi_pass");
    return sends(root) || sends(fallback_of(in, *root)) || (runs && sends(script));
  }
  bool any = false;
  for (const Location* location : server.all_locations) {
    if (!hands_out_pages(*location)) continue;
    if (!sends(location)) return false;
    any = true;
  }
  return any;
}

void report_absent(Inspection& in, std::string_view rule, std::string_view message,
                   const std::function<bool(const Scope&)>& present, Level for_files,
                   Level for_proxies) {
  Finding* finding = nullptr;
  std::vector<const Server*> missing;
  for (const Server& server : in.model.servers) {
    if (!serves_content(server) || server.is_local()) continue;
    if (present(*server.scope) || sends_for_pages(in, server, present)) continue;
    if (scripts_edit_header(server)) {
      in.not_checked(rule, "a script edits the response header, and what it does is not read");
      continue;
    }
    if (server.scope->level_of("add_header") == nullptr && server.scope->may_inherit_unseen()) {
      in.not_checked(rule, "the http block, which may set it, is not in the files");
      continue;
    }
    missing.push_back(&server);
  }
  for (const Server* server : missing) {
    const Level level = serves_files(*server) ? for_files : for_proxies;
    if (finding == nullptr) {
      finding = &in.report(rule, level, server->at(), std::string(message));
      finding->confidence = serves_files(*server) ? Confidence::kLikely : Confidence::kPossible;
    }
    finding->level = std::max(finding->level, level);
    finding->affected.push_back(server->label());
  }
}

std::string_view sent_value(const Scope& scope, std::string_view name) {
  const Directive* header = sent_header(scope, name);
  return header == nullptr ? std::string_view{} : header_value(*header, name);
}

}  // namespace merlon::audit::nginx
