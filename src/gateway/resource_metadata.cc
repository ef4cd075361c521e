#include "gateway/resource_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "base/escape.h"

namespace merlon::gateway {
namespace {

/// What is said of one resource.
struct Described {
  std::string name;  ///< of the first entry that names it
  Located<identity::Resource> resource;
  std::set<std::string> issuers{};
  std::set<std::string> scopes{};
  identity::AlgorithmSet proofs{};
  bool dpop_required = true;  ///< by all of them
};

std::string list_of(const std::set<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ",") + json_quoted(item);
  return "[" + out + "]";
}

std::set<std::string> names_of(identity::AlgorithmSet algorithms) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < identity::kAlgorithmCount; ++i) {
    const auto algorithm = static_cast<identity::Algorithm>(i);
    if (algorithms.contains(algorithm)) names.emplace(identity::name_of(algorithm));
  }
  return names;
}

/// RFC 9728 §2.
std::string document_of(const Described& described) {
  std::string out = fmt::format(R"({{"resource":{},"bearer_methods_supported":["header"])",
                                json_quoted(described.resource->written));
  if (!described.issuers.empty())
    out += R"(,"authorization_servers":)" + list_of(described.issuers);
  if (!described.scopes.empty()) out += R"(,"scopes_supported":)" + list_of(described.scopes);
  out += R"(,"dpop_signing_alg_values_supported":)" + list_of(names_of(described.proofs));
  if (described.dpop_required) out += R"(,"dpop_bound_access_tokens_required":true)";
  return out + "}";
}

void describe(const std::string& name, const identity::ProviderConfig& from, const Config& config,
              Described& out) {
  if (from.issuer.has_value()) out.issuers.insert(**from.issuer);
  for (const RouteConfig& route : config.routes) {
    const auto* asked = route.auth.provider();
    if (asked == nullptr || **asked != name) continue;
    for (const auto& scope : route.auth.scopes) out.scopes.insert(*scope);
  }
  for (const auto& algorithm :
       from.algorithms.value_or(std::vector<Located<identity::Algorithm>>{}))
    out.proofs.add(*algorithm);
  if (!from.algorithms.has_value()) out.proofs.add(identity::kDefaultAlgorithms);
  out.dpop_required = out.dpop_required && from.dpop.has_value() && from.dpop->required;
}

bool is_named(const std::string& host, const Config& config) {
  return std::ranges::any_of(config.routes, [&](const RouteConfig& route) {
    return std::ranges::find(route.match.hosts, host, [](const auto& one) -> const std::string& {
             return *one;
           }) != route.match.hosts.end();
  });
}

RouteConfig route_of(const Described& described) {
  const Mark& at = described.resource.at;
  const upstream::HttpsUrl& url = described.resource->url;
  RouteConfig route;
  // No name in the file has a colon.
  route.name = fmt::format("{}:resource-metadata", described.name);
  route.at = at;
  route.match.hosts = {{.value = url.host, .at = at}};
  route.match.path = {.value = "/.well-known/oauth-protected-resource" +
                               (url.path == "/" ? std::string() : url.path),
                      .at = at};
  route.methods = {.value = {{.value = "GET", .at = at}}, .at = at};
  route.auth.none = true;
  route.auth.at = at;
  route.respond.emplace();
  route.respond->status = {.value = 200, .at = at};
  route.respond->body = {.value = document_of(described), .at = at};
  route.respond->content_type = {.value = "application/json", .at = at};
  route.respond->at = at;
  return route;
}

}  // namespace

bool has_resource(const Config& config) {
  return std::ranges::any_of(config.identity,
                             [](const auto& entry) { return entry.second.resource.has_value(); });
}

void add_resource_metadata(Config& config, Diagnostics& out) {
  std::vector<Described> all;
  for (const auto& [name, from] : config.identity) {
    if (!from.resource.has_value()) continue;
    auto known = std::ranges::find_if(
        all, [&](const Described& one) { return *one.resource == **from.resource; });
    if (known == all.end()) {
      known = all.insert(all.end(), Described{.name = name, .resource = *from.resource});
    }
    describe(name, from, config, *known);
  }
  std::vector<RouteConfig> made;
  for (const Described& one : all) {
    if (is_named(one.resource->url.host, config)) {
      made.push_back(route_of(one));
    } else {
      out.error(one.resource.at, "no route names the host of this resource",
                "the `match` of its routes must name it");
    }
  }
  std::ranges::move(made, std::back_inserter(config.routes));
}

}  // namespace merlon::gateway
