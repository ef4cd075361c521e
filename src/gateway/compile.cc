#include "gateway/compile.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>

#include "base/units.h"
#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/resource_metadata.h"
#include "gateway/router.h"

namespace merlon::gateway {
namespace {

using config::Node;
using config::Reader;
using config::shown;

/// The endpoints in the order in which round robin takes them: as often as their weight says, and
/// spread evenly (A B A A for 3 to 1), so that none gets its share in one burst.
std::vector<Endpoint> spread(const std::vector<EndpointConfig>& endpoints) {
  std::uint32_t divisor = 0;
  for (const EndpointConfig& endpoint : endpoints) divisor = std::gcd(divisor, endpoint.weight);
  std::int64_t total = 0;
  for (const EndpointConfig& endpoint : endpoints) total += endpoint.weight / divisor;
  std::vector<std::int64_t> credit(endpoints.size());
  std::vector<Endpoint> order;
  for (std::int64_t turn = 0; turn < total; ++turn) {
    for (std::size_t i = 0; i < endpoints.size(); ++i) credit[i] += endpoints[i].weight / divisor;
    const auto best = static_cast<std::size_t>(std::ranges::max_element(credit) - credit.begin());
    credit[best] -= total;
    order.push_back(*endpoints[best].address);
  }
  return order;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "error";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  return "info";
}

std::string log_target(const config::FilePath& file) {
  if (file.written == "off") return {};
  return file.written == "-" ? file.written : file.path;
}

/// What a certificate that cannot be used closes: "listeners.public: api.example.com".
std::string closed_names(std::string_view listener, const tls::FailedPair& pair) {
  return fmt::format("listeners.{}: {}", listener,
                     pair.names.dns.empty() ? pair.at.file_line()
                                            : fmt::format("{}", fmt::join(pair.names.dns, ", ")));
}

// One thread checks them all: at the shortest interval that is some ten thousand checks a second.
constexpr std::size_t kCheckedEndpointsMax = 1024;
constexpr std::size_t kSocketPathMax = sizeof(sockaddr_un::sun_path) - 1;
constexpr std::size_t kSuggestionsMax = 100;  // each compares with every upstream

std::string_view nearest_upstream(const RawNames& names, std::string_view word) {
  const std::vector<std::string_view> known(names.upstreams.begin(), names.upstreams.end());
  return nearest(word, known);
}

/// In the order of their steps; those of one step stay as they are.
void order_policies(Route& route) {
  auto& all = route.policies;
  for (std::size_t i = 1; i < all.size(); ++i) {
    for (std::size_t j = i; j > 0 && all[j]->step() < all[j - 1]->step(); --j) {
      std::swap(all[j], all[j - 1]);
    }
  }
}

class Compiler {
 public:
  Compiler(const Config& config, CompileContext& context)
      : config_(config),
        context_(context),
        names_(raw_names(context.root, config)),
        plan_(std::make_shared<Plan>()) {}

  std::shared_ptr<Plan> run() {
    judge_trust(config_, context_);
    judge_listeners(config_, names_, context_);
    judge_upstreams(config_, context_);
    judge_admin(config_, context_);
    compile_process();
    compile_listeners();
    compile_upstreams();
    providers_ = compile_providers(config_, names_, context_);
    for (const auto& [name, provider] : providers_) {
      if (provider == nullptr) continue;
      plan_->providers.push_back(provider);
      if (!provider->header().empty()) plan_->credential_fields.insert(provider->header());
      if (provider->is_closed()) plan_->closed.push_back(fmt::format("identity.{}", name));
    }
    plan_->shared_state = compile_shared_state(config_, names_, context_);
    if (plan_->shared_state != nullptr && plan_->shared_state->redis->closed)
      plan_->closed.emplace_back("shared_state");
    judge_upstream_names();
    if (names_.all_listeners_read)
      judge_certificates_asked(config_, certificates_, api_in_clear_, context_);
    compile_routes();
    judge_whole();
    return plan_;
  }

 private:
  Reader& reader() { return context_.reader; }

  void compile_process() {
    for (const auto& block : config_.trusted_proxies) plan_->trusted_proxies.push_back(*block);
    const LimitsConfig& limits = config_.limits;
    plan_->limits = {.workers = limits.workers.has_value() ? **limits.workers : 0,
                     .connections = *limits.connections,
                     .connections_per_client = *limits.connections_per_client,
                     .requests_in_flight = *limits.requests_in_flight,
                     .memory_bytes = *limits.memory_bytes};
    plan_->timeouts = config_.timeouts;
    if (config_.admin.address.has_value()) plan_->admin_address = **config_.admin.address;
    if (config_.admin.socket.has_value()) take_admin_socket(*config_.admin.socket);
    plan_->access_log = log_target(*config_.log.access);
    plan_->process_log = log_target(*config_.log.process);
    plan_->log_level = level_name(config_.log.level);
    plan_->process_waivers = {
        .handshake_time = waiver_index(context_, "slow-client-timeouts", "timeouts.handshake"),
        .access_log = waiver_index(context_, "access-log-off", "log.access")};
  }

  void take_admin_socket(const config::Located<config::FilePath>& socket) {
    plan_->admin_socket = socket->path;
    if (socket->path.size() <= kSocketPathMax) return;
    reader().error(socket.at,
                   fmt::format("the path of a socket has {} bytes at most, and this one has {}",
                               kSocketPathMax, socket->path.size()),
                   "give it a shorter one, such as `/run/merlon/admin.sock`");
  }

  void compile_listeners() {
    const Reader::Step step(reader(), "listeners");
    for (const ListenerConfig& from : config_.listeners) {
      const Reader::Step here(reader(), from.name);
      Listener listener{.name = from.name,
                        .index = plan_->listeners.size(),
                        .at = from.at,
                        .address = *from.address,
                        .tls = nullptr,
                        .redirect_to_port = {},
                        .proxy_protocol = *from.proxy_protocol,
                        .waivers = {.cleartext = waiver_index(context_, "cleartext-listener"),
                                    .status_page = waiver_index(context_, "status-page-exposed"),
                                    .aes128 = waiver_index(context_, "tls-aes128")},
                        .allow_from = {},
                        .serve = {.api = from.serves(Served::kApi),
                                  .health = from.serves(Served::kHealth),
                                  .metrics = from.serves(Served::kMetrics)}};
      for (const auto& block : from.allow_from) listener.allow_from.push_back(*block);
      ListenerCertificates certificates = compile_tls(from, config_.routes, context_);
      listener.tls = certificates.context;
      context_.pairs[from.name] = certificates.loaded.pairs;
      for (const tls::FailedPair& pair : certificates.loaded.failed)
        plan_->closed.push_back(closed_names(from.name, pair));
      if (listener.serve.api) {
        if (from.tls.has_value())
          certificates_.push_back(std::move(certificates));
        else
          api_in_clear_ = true;
      }
      plan_->listeners.push_back(listener);
      if (from.redirect_from.has_value()) add_redirect(from, std::move(listener));
    }
  }

  /// The listener that `redirect_from` stands for. Its name cannot be one of the file's: names have
  /// no colon.
  void add_redirect(const ListenerConfig& from, Listener listener) {
    listener.redirect_to_port = listener.address.port;
    listener.address.port = **from.redirect_from;
    listener.name = fmt::format("{}:{}", from.name, listener.address.port);
    listener.index = plan_->listeners.size();
    listener.at = from.redirect_from->at;
    listener.tls = nullptr;
    listener.serve = {.api = false, .health = false, .metrics = false};
    plan_->listeners.push_back(std::move(listener));
  }

  void compile_upstreams() {
    const Reader::Step step(reader(), "upstreams");
    for (const auto& [name, from] : config_.upstreams) {
      const Reader::Step here(reader(), name);
      if (!names_.used_upstreams.contains(name)) {
        reader().error(from.at, fmt::format("no route uses the upstream {}", shown(name)),
                       "remove it, or name it in a route");
      }
      auto upstream = std::make_unique<Upstream>();
      upstream->name = name;
      upstream->index = plan_->upstreams.size();
      upstream->at = from.at;
      upstream->endpoints = spread(from.endpoints);
      upstream->host = from.host.value_or("");
      upstream->protocol = from.protocol;
      upstream->balance = *from.balance;
      upstream->connect_timeout = from.timeouts.connect;
      upstream->response_timeout = from.timeouts.response;
      upstream->idle_timeout = from.timeouts.idle;
      upstream->connections_max = from.limits.connections;
      upstream->pending_max = from.limits.pending;
      upstream->tls = compile_tls(from, context_);
      const bool aes128 = waiver_index(context_, "tls-aes128") != kNoWaiver;
      const std::string terms = terms_of(name, from, aes128, context_.broker);
      upstream->identity = identity_of(terms, from);
      if (from.health.has_value()) compile_checks(from, terms, *upstream);
      upstream->closed = from.tls.has_value() && upstream->tls == nullptr;
      if (upstream->closed) plan_->closed.push_back(fmt::format("upstreams.{}", name));
      plan_->upstreams.push_back(std::move(upstream));
      upstream_waivers_.push_back(waivers_of_upstream());
    }
  }

  [[nodiscard]] std::optional<std::size_t> fail_open_waiver() {
    config::Waivers* const waivers = reader().waivers();
    if (waivers == nullptr) return std::nullopt;
    return waivers->counter("limit-fail-open", "shared_state.on_failure");
  }

  /// The reader stands at the upstream.
  [[nodiscard]] UpstreamWaivers waivers_of_upstream() {
    UpstreamWaivers waivers;
    waivers.cleartext = waiver_index(context_, "upstream-cleartext");
    waivers.aes128 = waiver_index(context_, "tls-aes128");
    const Reader::Step step(reader(), "timeouts");
    waivers.connect_time = waiver_index(context_, "upstream-timeout-infinite", "connect");
    waivers.response_time = waiver_index(context_, "upstream-timeout-infinite", "response");
    return waivers;
  }

  void compile_checks(const UpstreamConfig& from, const std::string& terms, Upstream& upstream) {
    upstream.health = compile_health(*from.health, terms + upstream.host);
    const std::size_t before = checked_endpoints_;
    checked_endpoints_ += from.endpoints.size();
    if (before > kCheckedEndpointsMax || checked_endpoints_ <= kCheckedEndpointsMax) return;
    reader().error(from.health->at,
                   fmt::format("more than {} endpoints would be checked, over all upstreams",
                               kCheckedEndpointsMax),
                   "leave `health` out where failing requests are enough to detect failures");
  }

  void compile_routes() {
    const Reader::Step step(reader(), "routes");
    RouterBuilder builder;
    std::optional<policy::SharedSetup> shared;
    if (const auto& state = config_.shared_state) {
      shared = {.nodes = state->nodes,
                .leased = state->leased,
                .on_failure = *state->on_failure,
                .open_waiver = fail_open_waiver()};
    }
    for (const RouteConfig& from : config_.routes) {
      const Reader::Step here(reader(), from.name);
      CompiledRoute compiled = compile_route(from, shared ? &*shared : nullptr, context_);
      compiled.route->index = plan_->routes.size();
      compile_auth(from, providers_, *compiled.route, context_);
      judge_places(from, *plan_, context_);
      judge_held_size(*compiled.route, *plan_, context_);
      if (shared) judge_quotas(from, shared->nodes, context_);
      compiled.route->digest = digest_of(from.name, compiled.route->index);
      plan_->has_tunnels |= compiled.route->websocket_idle.has_value();
      order_policies(*compiled.route);
      resolve_upstream(from, *compiled.route);
      add_to_router(from, compiled, builder);
      plan_->routes.push_back(std::move(compiled.route));
    }
    for (const Route* route : builder.unreachable()) {
      reader().error(config_.routes[route->index].match.path.at,
                     fmt::format("no request reaches the route {}: more specific paths take "
                                 "everything that it matches",
                                 shown(route->name)));
    }
    plan_->router = builder.build();
  }

  /// Of all that is written under the route: tunnels and other exchanges that last are cut short by
  /// a reload that changes any of it. 0 in a configuration with errors, whose routes may not all be
  /// here.
  std::size_t digest_of(std::string_view route_name, std::size_t index) {
    const Node* const routes = context_.root.find("routes");
    if (routes == nullptr || index >= routes->items().size()) return 0;
    const Node& route = routes->items()[index];
    const Node* const name = route.find("name");
    if (name == nullptr || name->text() != route_name) return 0;
    std::string all;
    append_to(all, route);
    return std::hash<std::string>{}(all);
  }
  /// Each part with its length, so that no two routes are one text.
  static void append_to(std::string& all, const Node& node) {
    const auto append = [&](std::string_view text) {
      fmt::format_to(std::back_inserter(all), "{}:{}", text.size(), text);
    };
    append(config::describe(node.kind()));
    append(node.text());
    fmt::format_to(std::back_inserter(all), "{};", node.items().size() + node.members().size());
    for (const Node& item : node.items()) append_to(all, item);
    for (const config::Member& member : node.members()) {
      append(member.key.text());
      append_to(all, member.value);
    }
  }

  void resolve_upstream(const RouteConfig& from, Route& route) {
    if (!from.upstream.has_value()) return;
    // In the order of their names, as the map is that they come from.
    const auto found = std::ranges::lower_bound(
        plan_->upstreams, **from.upstream, {},
        [](const auto& upstream) -> const std::string& { return upstream->name; });
    const bool known = found != plan_->upstreams.end() && (*found)->name == **from.upstream;
    if (!known) return;
    route.upstream = found->get();
    route.grpc_service &= route.upstream->protocol == Protocol::kHttp2;
    route.waivers.upstream = upstream_waivers_[route.upstream->index];
    route.has_waivers = route.waivers != RouteWaivers();
    if (route.websocket_idle.has_value() &&
        route.upstream->protocol == upstream::Protocol::kHttp2) {
      reader().error(from.upstream->at,
                     fmt::format("WebSocket goes to upstreams over HTTP/1.1, and {} speaks HTTP/2",
                                 shown(route.upstream->name)),
                     "name an upstream with `protocol: http1`, or take `websocket` off the route");
    }
  }

  /// By the tree, since a route that could not be read may name one, too.
  void judge_upstream_names() {
    const Node* routes = context_.root.find("routes");
    if (routes == nullptr) return;
    for (const Node& route : routes->items()) {
      const Node* upstream = route.find("upstream");
      if (upstream == nullptr || !upstream->is_scalar()) continue;
      if (reader().full()) return;
      if (names_.upstreams.contains(upstream->text())) continue;
      const std::string_view near = nearest_upstream(names_, upstream->text());
      reader().error(upstream->at(),
                     fmt::format("no upstream is named {}", shown(upstream->text())),
                     near.empty() ? "" : fmt::format("did you mean `{}`?", near));
    }
  }

  void add_to_router(const RouteConfig& from, const CompiledRoute& compiled,
                     RouterBuilder& builder) {
    std::string_view last;
    for (const Located<std::string>& host : from.match.hosts) {
      if (*host == last) continue;  // given twice: that is said already
      last = *host;
      const auto conflict = builder.add(*host, compiled.path, *compiled.route);
      if (!conflict.has_value() || conflict->with == compiled.route.get()) continue;
      const RouteConfig& other = config_.routes[conflict->with->index];
      reader().error(
          from.match.path.at,
          fmt::format("the routes {} and {} both match {} {}{}", shown(other.name),
                      shown(from.name), conflict->method, *host, *from.match.path),
          fmt::format("the other is at {}; routes may share a match if their methods are disjoint "
                      "(HEAD comes with GET)",
                      other.match.path.at.to_string()));
    }
  }

  /// What no part can see by itself. Parts that could not be read might mend it.
  void judge_whole() {
    if (!names_.all_listeners_read || config_.listeners.empty()) return;
    const bool serves_api = api_in_clear_ || !certificates_.empty();
    if (!serves_api && !config_.routes.empty()) {
      reader().error(config_.routes.front().at, "no listener serves the API, so no route is used",
                     "give a listener `serve: [api]`");
    }
    if (serves_api && config_.routes.empty() && names_.all_routes_read) {
      reader().error(config_.listeners.front().at,
                     "there is no route: every request would be answered 404");
    }
    if (!certificates_.empty()) {
      for (const std::string& host :
           judge_host_names(config_, certificates_, api_in_clear_, context_)) {
        plan_->closed.push_back(fmt::format("listeners: {}", host));
      }
    }
    judge_handshake_time(config_, context_);
    judge_own_pages(config_, *plan_, context_);
    judge_peers(config_, context_);
    judge_class_networks(config_, context_);
    if (names_.all_routes_read) judge_upstream_times(*plan_, context_);
  }

  const Config& config_;
  CompileContext& context_;
  RawNames names_;
  std::shared_ptr<Plan> plan_;
  std::vector<ListenerCertificates> certificates_;  ///< of listeners that serve the API
  Providers providers_;
  std::vector<UpstreamWaivers> upstream_waivers_;  ///< by Upstream::index
  std::size_t checked_endpoints_ = 0;
  bool api_in_clear_ = false;
};

std::size_t item_count(const Node& root, std::string_view key) {
  const Node* list = root.find(key);
  return list == nullptr ? 0 : list->items().size();
}

}  // namespace

RawNames raw_names(const Node& root, const Config& config) {
  RawNames names;
  std::size_t unknown = 0;
  if (const Node* upstreams = root.find("upstreams")) {
    for (const config::Member& member : upstreams->members()) {
      names.upstreams.emplace(member.key.text());
    }
  }
  if (const Node* routes = root.find("routes")) {
    for (const Node& route : routes->items()) {
      const Node* upstream = route.find("upstream");
      if (upstream == nullptr) continue;
      names.used_upstreams.emplace(upstream->text());
      // What is still to be written may name any.
      if (upstream->is_null())
        names.used_upstreams.insert(names.upstreams.begin(), names.upstreams.end());
      // A slip of the pen is one error: the upstream that was meant is no unused one.
      if (!names.upstreams.contains(upstream->text()) && ++unknown <= kSuggestionsMax) {
        names.used_upstreams.emplace(nearest_upstream(names, upstream->text()));
      }
    }
  }
  const Node* listeners = root.find("listeners");
  const Node* routes = root.find("routes");
  names.all_listeners_read = listeners != nullptr && listeners->is_sequence() &&
                             item_count(root, "listeners") == config.listeners.size();
  names.all_routes_read = (routes == nullptr || routes->is_sequence()) &&
                          item_count(root, "routes") == config.routes.size();
  return names;
}

std::shared_ptr<Plan> compile(const Config& config, CompileContext& context) {
  if (!has_resource(config)) return Compiler(config, context).run();
  Config whole = config;
  add_resource_metadata(whole, context.reader.diagnostics());
  return Compiler(whole, context).run();
}

}  // namespace merlon::gateway
