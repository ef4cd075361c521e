#include "audit/nginx/upstream_view.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace merlon::audit::nginx {
namespace {

/// The constant that `set` gives a variable in this scope or further out; false when there is none.
bool constant_of(std::string_view name, const Scope& scope, std::string& value) {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    const auto sets = level->own_all("set");
    // The last one in the scope is in force.
    for (auto set = sets.rbegin(); set != sets.rend(); ++set) {
      if ((*set)->arg(0).size() != name.size() + 1 || !(*set)->arg(0).ends_with(name)) continue;
      value = (*set)->arg(1);
      return value.find('$') == std::string::npos;
    }
  }
  return false;
}

std::string with_constants(std::string_view text, const Scope& scope) {
  std::string out;
  std::size_t from = 0;
  for (const VariableUse& use : variables_in(text)) {
    std::string value;
    if (use.at < from || !constant_of(use.name, scope, value)) continue;
    out += text.substr(from, use.at - from);
    out += value;
    from = use.at + use.length;
  }
  return out + std::string(text.substr(from));
}

using Upstreams = std::unordered_map<std::string_view, const Directive*>;

Upstreams upstreams_of(const Model& model) {
  Upstreams out;
  if (model.http == nullptr) return out;
  for (const Scope* scope : model.http->children) {
    if (scope->context == kUpstream) out.emplace(scope->block->arg(0), scope->block);
  }
  return out;
}

/// The servers of an upstream block, into `hop`.
void add_servers(const Directive& block, Hop& hop) {
  for (const Directive* server : block.body) {
    if (!server->is("server")) continue;
    const Target target = parse_target(server->arg(0));
    hop.hosts.push_back(target.host);
    hop.distance = std::max(hop.distance, distance_of(target.host));
    if (hop.target.port.empty()) hop.target.port = target.port;
  }
}

/// What the values of maps lead to, by the map: many locations may share a long one.
using MappedHosts = std::map<const Directive*, Hop>;

/// The hosts that a map names, by themselves or by an upstream block.
Hop hosts_of(const Upstreams& upstreams, const Directive& map) {
  Hop out;
  out.resolved = !map.incomplete;
  for (const Directive* entry : map.body) {
    const std::string_view value = entry->arg(0);
    if (value.empty()) continue;  // nothing is asked then, or an option such as "hostnames"
    const Target target = parse_target(value);
    if (const auto found = upstreams.find(target.host); found != upstreams.end()) {
      add_servers(*found->second, out);
      out.resolved = out.resolved && !found->second->incomplete;
      continue;
    }
    out.resolved = out.resolved && !target.has_variable;
    out.hosts.push_back(target.host);
    out.distance = std::max(out.distance, distance_of(target.host));
  }
  std::ranges::sort(out.hosts);
  out.hosts.erase(std::ranges::unique(out.hosts).begin(), out.hosts.end());
  out.resolved = out.resolved && !out.hosts.empty();
  return out;
}

/// Looks up a host that is one variable whole, of which a map gives the value.
void look_up_map(const Upstreams& upstreams, const Variables& variables, MappedHosts& known,
                 Hop& hop) {
  constexpr std::size_t kEntriesMax = 500;
  const std::vector<VariableUse> uses = variables_in(hop.target.host);
  const bool whole = uses.size() == 1 && uses[0].length == hop.target.host.size();
  const Directive* map = whole ? variables.map_of(uses[0].name) : nullptr;
  if (map == nullptr || !map->is("map") || map->body.size() > kEntriesMax) return;
  if (hop.target.scheme.empty()) return;
  const auto [found, added] = known.try_emplace(map);
  if (added) found->second = hosts_of(upstreams, *map);
  const Hop& all = found->second;
  if (!all.resolved) return;
  hop.resolved = true;
  hop.hosts = all.hosts;
  hop.distance = all.distance;
  if (hop.target.port.empty()) hop.target.port = all.target.port;
}

void look_up(const Upstreams& upstreams, const Variables& variables, MappedHosts& mapped,
             Hop& hop) {
  const auto found = upstreams.find(hop.target.host);
  const Directive* block = found == upstreams.end() ? nullptr : found->second;
  const auto reach = [&](const std::string& host) {
    hop.distance = std::max(hop.distance, distance_of(host));
  };
  if (block == nullptr) {
    hop.resolved = !hop.target.has_variable && !hop.target.host.empty();
    if (hop.resolved) reach(hop.target.host);
    if (hop.target.has_variable) look_up_map(upstreams, variables, mapped, hop);
    return;
  }
  hop.resolved = !block->incomplete;
  // Lua chooses the servers, and those that are written are none: what it balances over is most
  // often the network that it stands in.
  const bool scripted = std::ranges::any_of(block->body, [](const Directive* directive) {
    return directive->name.text.starts_with("balancer_by_lua");
  });
  if (scripted) {
    hop.distance = Distance::kSingleLabel;
    return;
  }
  add_servers(*block, hop);
}

/// The socket of this host that a target means: its port, or "unix:/path"; "" for other hosts.
std::string socket_of(const Target& target) {
  if (target.host.starts_with("unix:")) return target.host.substr(0, target.host.find(':', 5));
  if (distance_of(target.host) != Distance::kLoopback) return {};
  return target.port.empty() ? "80" : target.port;
}

}  // namespace

std::vector<Hop> hops(const Inspection& inspection) {
  const Upstreams upstreams = upstreams_of(inspection.model);
  MappedHosts mapped;
  std::vector<Hop> out;
  for (const Scope* scope : request_scopes(inspection.model)) {
    const Directive* pass = pass_of(*scope);
    if (pass == nullptr || pass->args.empty() || pass->is("passenger_enabled")) continue;
    Hop hop;
    hop.scope = scope;
    hop.pass = pass;
    const std::string text = with_constants(pass->arg(0), *scope);
    hop.target = parse_target(text);
    hop.target.path = {};  // it would point into `text`
    hop.is_tls = hop.target.scheme == "https" || hop.target.scheme == "grpcs" ||
                 hop.target.scheme == "suwsgi";
    look_up(upstreams, inspection.variables, mapped, hop);
    out.push_back(std::move(hop));
  }
  return out;
}

Fronts::Fronts(const Model& model) : model_(model) {
  std::map<std::string_view, const Directive*> upstreams;
  for (const Directive& directive : model.tree.directives) {
    if (directive.is("upstream")) upstreams.emplace(directive.arg(0), &directive);
  }
  for (const Scope& scope : model.scopes) {
    const Directive* pass = scope.own("proxy_pass");
    const Server* server = model.server_of(scope);  // none in `stream`, which changes no header
    if (pass == nullptr || (server != nullptr && server->is_local())) continue;
    const Target target = parse_target(pass->arg(0));
    const auto block = upstreams.find(target.host);
    if (block == upstreams.end()) {
      scopes_.emplace(socket_of(target), &scope);
      continue;
    }
    for (const Directive* one : block->second->body) {
      if (one->is("server")) scopes_.emplace(socket_of(parse_target(one->arg(0))), &scope);
    }
  }
}

bool Fronts::speak_for(const Scope& scope, std::string_view field) const {
  constexpr int kLookedAtMax = 1000;
  const Server* server = model_.server_of(scope);
  if (server == nullptr || !server->is_local()) return false;
  int looked_at = 0;
  for (const Listen& listen : server->listens) {
    const auto [first, last] =
        scopes_.equal_range(listen.is_unix() ? listen.address : std::to_string(listen.port));
    for (auto front = first; front != last; ++front) {
      if (++looked_at > kLookedAtMax) return false;
      if (forwarded_header(*front->second, field) == nullptr) return false;
    }
  }
  return true;
}

std::vector<KeySource> key_sources(const Model& model) {
  std::vector<KeySource> out;
  for (const Scope& scope : model.scopes) {
    const Directive* request = scope.own("auth_jwt_key_request");
    const Server* server = request == nullptr ? nullptr : model.server_of(scope);
    const Location* location = server == nullptr ? nullptr : model.match(*server, request->arg(0));
    if (location != nullptr) out.push_back({request, location});
  }
  return out;
}

}  // namespace merlon::audit::nginx
