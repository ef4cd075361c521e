#include "audit/nginx/exposure.h"

#include <fmt/format.h>

namespace merlon::audit::nginx {
namespace {

constexpr std::size_t kRowsMax = 5000;

std::string listeners(const Server& server) {
  std::string out;
  for (const Listen& listen : server.listens) {
    if (!out.empty()) out += ", ";
    out += listen.socket();
    if (listen.ssl) out += " ssl";
    if (listen.quic) out += " quic";
    if (listen.http2) out += " http2";
    if (listen.default_server) out += " default";
  }
  return out.empty() ? "?" : out;
}

std::string hosts(const Server& server) {
  std::string out;
  for (const std::string_view name : server.names) {
    if (!out.empty()) out += ' ';
    out.append(name);
  }
  return out.empty() ? "(any)" : out;
}

std::string authentication(const Inspection& in, const Scope& scope) {
  std::string out;
  const auto add = [&](std::string_view text) {
    if (!out.empty()) out += ", ";
    out += text;
  };
  if (const Directive* basic = asked_password(in, scope))
    add(fmt::format("auth_basic {}", basic->arg(0)));
  for (const Name name : {Name("auth_request"), Name("auth_jwt")}) {
    const Directive* at = scope.effective(name);
    if (at != nullptr && at->arg(0) != "off") add(fmt::format("{} {}", name.text, at->arg(0)));
  }
  if (asks_for_certificate(in, scope)) add("mTLS");
  if (has_network_acl(scope)) add("network");
  if (out.empty()) return scope.may_inherit_unseen() ? "?" : "-";
  return out;
}

std::string limit(const Scope& scope) {
  const Directive* at = scope.effective("limit_req");
  if (at != nullptr) return statement(*at);
  return scope.may_inherit_unseen() ? "?" : "-";
}

std::string tls(const Server& server) {
  if (!server.has_tls()) return server.listens.empty() ? "?" : "-";
  const Directive* protocols = server.scope->effective("ssl_protocols");
  if (protocols == nullptr) return server.scope->may_inherit_unseen() ? "?" : "nginx's default";
  std::string out;
  for (const Word& word : protocols->args) {
    if (!out.empty()) out += ' ';
    out.append(word.text);
  }
  return out;
}

void upstream(const Scope& scope, ExposureRow& row) {
  const Handler handler = handler_of(scope);
  row.upstream_tls = "-";
  if (handler.at == nullptr) {
    const Directive* alias = scope.own("alias");
    const Directive* root = alias != nullptr ? alias : scope.effective("root");
    row.upstream = root == nullptr ? "static" : fmt::format("static {}", root->arg(0));
    return;
  }
  row.upstream = handler.kind == Handler::Kind::kProxy ? std::string(handler.at->arg(0))
                                                       : statement(*handler.at);
  if (handler.kind != Handler::Kind::kProxy) return;
  if (row.upstream.starts_with("https://")) {
    row.upstream_tls = scope.flag("proxy_ssl_verify", false) ? "verified" : "unverified";
  }
  if (row.upstream.starts_with("grpcs://")) {
    row.upstream_tls = scope.flag("grpc_ssl_verify", false) ? "verified" : "unverified";
  }
}

}  // namespace

void map_exposure(Inspection& inspection) {
  const auto add = [&](const Server& server, const Scope& scope, std::string route) {
    if (inspection.out.exposure.size() >= kRowsMax || scope.block->file == nullptr) return;
    ExposureRow row;
    row.at = scope.block == &inspection.model.tree.root ? Mark{scope.block->file, 1, 1, 1}
                                                        : scope.block->mark();
    row.listener = listeners(server);
    row.host = hosts(server);
    row.route = std::move(route);
    row.auth = authentication(inspection, scope);
    row.limit = limit(scope);
    row.tls = tls(server);
    upstream(scope, row);
    inspection.out.exposure.push_back(std::move(row));
  };
  for (const Server& server : inspection.model.servers) {
    bool root = false;
    for (const Location* location : server.all_locations) {
      if (location->internal) continue;
      root = root || location->path == "/";
      add(server, *location->scope, location->label().substr(server.label().size()));
    }
    if (!root) add(server, *server.scope, "(other)");
  }
}

}  // namespace merlon::audit::nginx
