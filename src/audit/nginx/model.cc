#include "audit/nginx/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "audit/nginx/directives.h"
#include "base/ascii.h"
#include "base/ip.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t kScopes = kMain | kEvents | kHttp | kServer | kLocation | kUpstream |
                                  kIfInServer | kIfInLocation | kLimitExcept | kStream |
                                  kStreamServer | kStreamUpstream | kMail | kMailServer;

/// A range of ports is as many listens: of all ranges together, so many are taken.
constexpr std::uint32_t kRangePortsMax = 10'000;

bool parse_port(std::string_view text, std::uint32_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port > 0 && port < 65536;
}

/// A port, or a range of them, such as "8000-8010".
struct Ports {
  std::uint32_t first = 80;
  std::uint32_t last = 80;
};

bool parse_ports(std::string_view text, Ports& out) {
  const std::size_t dash = std::min(text.find('-'), text.size());
  Ports got;
  if (!parse_port(text.substr(0, dash), got.first)) return false;
  got.last = got.first;
  if (dash < text.size() && !parse_port(text.substr(dash + 1), got.last)) return false;
  if (got.last < got.first) return false;
  out = got;
  return true;
}

/// "80", "*:80", "127.0.0.1", "127.0.0.1:8000-8010", "[::]:80", "unix:/run/x.sock", "name:80".
Ports parse_address(std::string_view text, std::string& address) {
  Ports out;
  if (text.starts_with("unix:")) {
    address = text;
    return {.first = 0, .last = 0};
  }
  if (parse_ports(text, out)) {
    address = "*";
    return out;
  }
  const std::size_t bracket = text.rfind(']');
  const std::size_t colon = text.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (has_port) parse_ports(text.substr(colon + 1), out);
  std::string_view host = has_port ? text.substr(0, colon) : text;
  if (host.empty() || host == "0.0.0.0") host = "*";
  address = host;
  return out;
}

/// The options of a `listen`; its address is not among them.
Listen parse_listen(const Directive& directive) {
  Listen out;
  out.at = &directive;
  for (std::size_t i = 1; i < directive.args.size(); ++i) {
    const std::string_view option = directive.arg(i);
    out.ssl |= option == "ssl";
    out.http2 |= option == "http2";
    out.quic |= option == "quic" || option == "http3";
    out.default_server |= option == "default_server" || option == "default";
    out.proxy_protocol |= option == "proxy_protocol";
  }
  return out;
}

Location::Match parse_match(const Directive& block, std::string_view& path) {
  const std::string_view first = block.arg(0);
  if (block.args.size() >= 2) {
    path = block.arg(1);
    if (first == "=") return Location::Match::kExact;
    if (first == "^~") return Location::Match::kPrefixFirst;
    if (first == "~") return Location::Match::kRegex;
    if (first == "~*") return Location::Match::kRegexNoCase;
    return Location::Match::kPrefix;
  }
  // nginx also takes the modifier glued to the path.
  constexpr std::array<std::pair<std::string_view, Location::Match>, 4> kGlued = {
      {{"=", Location::Match::kExact},
       {"^~", Location::Match::kPrefixFirst},
       {"~*", Location::Match::kRegexNoCase},
       {"~", Location::Match::kRegex}}};
  for (const auto& [modifier, match] : kGlued) {
    if (first.size() > modifier.size() && first.starts_with(modifier)) {
      path = first.substr(modifier.size());
      return match;
    }
  }
  path = first;
  return first.starts_with('@') ? Location::Match::kNamed : Location::Match::kPrefix;
}

/// Directives of nginx's rewrite module, which it carries out in the order of the file.
bool is_rewrite(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames = {"set", "if", "rewrite", "return", "break"};
  return std::ranges::find(kNames, name) != kNames.end();
}

class Builder {
 public:
  explicit Builder(Model& model) : model_(model) {}

  Scope& scope(const Directive& block, Scope* parent) {
    Scope& made = model_.scopes.emplace_back();
    made.block = &block;
    made.context = block.inside;
    made.parent = parent;
    made.incomplete = block.incomplete;
    model_.scope_of_block[&block] = &made;
    if (made.context == kHttp) model_.http = &made;
    if (made.context == kStream) model_.stream = &made;
    for (const Directive* directive : block.body) {
      if (directive->refused) {
        made.incomplete = true;  // what it was meant to say is not known
        continue;
      }
      if (is_rewrite(directive->name.text)) made.rewrites.push_back(directive);
      const bool opens = directive->is_block && (directive->inside & kScopes) != 0;
      if (opens) {
        made.children.push_back(&scope(*directive, &made));
        continue;
      }
      made.settings.push_back(directive);
      made.names |= Name::bit_of(directive->name.text);
    }
    return made;
  }

  void servers(Scope& http) {
    for (Scope* child : http.children) {
      if (child->context == kServer) server(*child);
    }
  }

  /// A fragment of locations: a server whose own block is not in the files.
  void server(Scope& scope) {
    Server& made = model_.servers.emplace_back();
    made.scope = &scope;
    scope.server = &made;
    for (const Directive* directive : scope.own_all("listen")) listen(*directive, made.listens);
    // A server whose ports stand in a folder that was not given is none that listens on *:80.
    const bool listens_unseen = scope.block == &model_.tree.root || scope.incomplete ||
                                (scope.block != nullptr && scope.block->lacks_folder);
    if (made.listens.empty() && !listens_unseen) made.listens.push_back(Listen{.address = "*"});
    const Directive* ssl = scope.effective("ssl");
    if (ssl != nullptr && ssl->arg(0) == "on") {
      for (Listen& listen : made.listens) listen.ssl = true;
    }
    for (const Directive* directive : scope.own_all("server_name")) {
      for (const Word& word : directive->args) made.names.push_back(word.text);
    }
    locations(scope, made, nullptr);
  }

  void listen(const Directive& directive, std::vector<Listen>& out) {
    Listen one = parse_listen(directive);
    const Ports ports = parse_address(directive.arg(0), one.address);
    for (one.port = ports.first; one.port <= ports.last; ++one.port) {
      if (one.port > ports.first && ++range_ports_ > kRangePortsMax) return;
      out.push_back(one);
    }
  }

  void locations(Scope& scope, Server& server, Location* parent) {
    for (Scope* child : scope.children) {
      if (child->context != kLocation) continue;
      Location& made = model_.locations.emplace_back();
      made.scope = child;
      child->location = &made;
      made.server = &server;
      made.parent = parent;
      made.match = parse_match(*child->block, made.path);
      made.internal = child->has("internal") || made.match == Location::Match::kNamed;
      if (made.is_regex()) {
        made.pattern =
            std::make_shared<const Pattern>(made.path, made.match == Location::Match::kRegexNoCase);
      }
      (parent == nullptr ? server.locations : parent->children).push_back(&made);
      server.all_locations.push_back(&made);
      locations(*child, server, &made);
    }
  }

  void sockets() {
    std::map<std::string, Socket*> by_name;
    share_options();
    for (Server& server : model_.servers) {
      for (const Listen& listen : server.listens) {
        Socket*& socket = by_name[listen.socket()];
        if (socket == nullptr) {
          socket = &model_.sockets.emplace_back();
          socket->name = listen.socket();
        }
        const bool first = listen.default_server && !socket->explicit_default;
        socket->servers.insert(first ? socket->servers.begin() : socket->servers.end(),
                               {&server, &listen});
        socket->explicit_default |= listen.default_server;
      }
    }
  }

 private:
  /// What one server says of a socket holds for all that share it.
  void share_options() {
    std::map<std::string, Listen> shared;
    for (const Server& server : model_.servers) {
      for (const Listen& listen : server.listens) {
        if (listen.quic) continue;  // the same port of another transport
        Listen& one = shared[listen.socket()];
        one.ssl |= listen.ssl;
        one.http2 |= listen.http2;
        one.proxy_protocol |= listen.proxy_protocol;
      }
    }
    for (Server& server : model_.servers) {
      for (Listen& listen : server.listens) {
        if (listen.quic) continue;
        const Listen& one = shared[listen.socket()];
        listen.ssl = one.ssl;
        listen.http2 = one.http2;
        listen.proxy_protocol = one.proxy_protocol;
      }
    }
  }

  Model& model_;
  std::uint32_t range_ports_ = 0;
};

const Location* longest_prefix(const std::vector<Location*>& among, std::string_view path) {
  const Location* best = nullptr;
  for (const Location* location : among) {
    const bool prefix = location->match == Location::Match::kPrefix ||
                        location->match == Location::Match::kPrefixFirst;
    if (location->match == Location::Match::kExact && location->path == path) return location;
    if (!prefix || !path.starts_with(location->path)) continue;
    if (best == nullptr || location->path.size() > best->path.size()) best = location;
  }
  return best;
}

struct Found {
  const Location* location = nullptr;
  bool final = false;  ///< exact or by a regular expression: outer levels try nothing further
};

/// The longest prefix, then its nested locations, then the regular expressions of this level,
/// unless the prefix of this level is exact or has "^~".
Found find_location(const std::vector<Location*>& among, std::string_view path) {
  const Location* prefix = longest_prefix(among, path);
  if (prefix != nullptr && prefix->match == Location::Match::kExact) return {prefix, true};
  Found best{prefix, false};
  if (prefix != nullptr) {
    const Found nested = find_location(prefix->children, path);
    if (nested.final) return nested;
    if (nested.location != nullptr) best = nested;
  }
  if (prefix != nullptr && prefix->match == Location::Match::kPrefixFirst) return best;
  for (const Location* location : among) {
    if (!location->is_regex() || !location->pattern->search(path).value_or(false)) continue;
    const Found inner = find_location(location->children, path);
    return {inner.location != nullptr ? inner.location : location, true};
  }
  return best;
}

}  // namespace

const Directive* Scope::own(Name name) const noexcept {
  if ((names & name.bit) == 0) return nullptr;
  for (const Directive* directive : settings) {
    if (directive->name.text == name.text) return directive;
  }
  return nullptr;
}

std::vector<const Directive*> Scope::own_all(Name name) const {
  std::vector<const Directive*> out;
  if ((names & name.bit) == 0) return out;
  for (const Directive* directive : settings) {
    if (directive->name.text == name.text) out.push_back(directive);
  }
  return out;
}

const Scope* Scope::level_of(Name name) const noexcept {
  for (const Scope* level = this; level != nullptr; level = level->parent) {
    if (level->has(name)) return level;
  }
  return nullptr;
}

const Directive* Scope::effective(Name name) const noexcept {
  const Scope* level = level_of(name);
  return level == nullptr ? nullptr : level->own(name);
}

std::vector<const Directive*> Scope::effective_all(Name name) const {
  const Scope* level = level_of(name);
  return level == nullptr ? std::vector<const Directive*>{} : level->own_all(name);
}

bool Scope::flag(Name name, bool fallback) const noexcept {
  const Directive* directive = effective(name);
  return directive == nullptr ? fallback : ascii::iequals(directive->arg(0), "on");
}

bool Scope::may_inherit_unseen() const noexcept {
  const Scope* level = this;
  for (; level != nullptr; level = level->parent) {
    if (level->incomplete) return true;
    if (level->context == kHttp) return level->block == nullptr || !level->block->is("http");
    if (level->parent == nullptr) break;
  }
  return level == nullptr || level->context != kMain;
}

bool Scope::is_below(const Scope& outer) const noexcept {
  for (const Scope* level = this; level != nullptr; level = level->parent) {
    if (level == &outer) return true;
  }
  return false;
}

std::string Listen::socket() const {
  return is_unix() ? address : fmt::format("{}:{}", address, port);
}

bool Listen::is_loopback() const noexcept {
  if (address == "localhost") return true;
  std::string_view host = address;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto parsed = IpAddress::parse(host);
  return parsed && parsed->is_loopback();
}

std::string Location::label() const {
  std::string out = server->label();
  switch (match) {
    case Match::kPrefix:
    case Match::kPrefixFirst:
      break;
    case Match::kExact:
      out += " = ";
      break;
    case Match::kRegex:
      out += " ~ ";
      break;
    case Match::kRegexNoCase:
      out += " ~* ";
      break;
    case Match::kNamed:
      out += ' ';
      break;
  }
  return out.append(path);
}

std::string Server::label() const {
  for (const std::string_view name : names) {
    if (!name.empty() && name != "_") return std::string(name);
  }
  for (const Listen& listen : listens) return listen.socket();
  return "server";
}

bool Server::has_tls() const noexcept {
  return std::ranges::any_of(listens, [](const Listen& l) { return l.ssl || l.quic; });
}

bool Server::has_cleartext() const noexcept {
  return std::ranges::any_of(listens, [](const Listen& l) { return !l.ssl && !l.quic; });
}

bool Server::is_local() const noexcept {
  return !listens.empty() &&
         std::ranges::all_of(listens, [](const Listen& l) { return l.is_local(); });
}

const Location* Server::named(std::string_view name) const noexcept {
  const auto found = std::ranges::find_if(all_locations, [&](const Location* location) {
    return location->match == Location::Match::kNamed && location->path == name;
  });
  return found == all_locations.end() ? nullptr : *found;
}

const Location* Model::match(const Server& server, std::string_view path) const {
  return find_location(server.locations, path).location;
}

const Server* Model::server_of(const Scope& scope) const {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    if (level->server != nullptr) return level->server;
  }
  return nullptr;
}

const Location* Model::location_of(const Scope& scope) const {
  for (const Scope* level = &scope; level != nullptr; level = level->parent) {
    if (level->location != nullptr) return level->location;
  }
  return nullptr;
}

std::string Model::route_of(const Scope& scope) const {
  if (const Location* location = location_of(scope)) return location->label();
  if (const Server* server = server_of(scope)) return server->label();
  return "http";
}

void build_model(Model& model) {
  Builder builder(model);
  model.root = &builder.scope(model.tree.root, nullptr);
  model.frame = model.root->context;
  model.has_main = model.frame == kMain;
  model.framed = model.http != nullptr && model.http->block->is("http");
  if (model.http != nullptr) builder.servers(*model.http);
  if (model.frame == kServer) builder.server(*model.root);
  if (model.frame == kLocation && model.root->block == &model.tree.root) {
    // A snippet of a location: a server and a location whose blocks are not in the files.
    Server& server = model.servers.emplace_back();
    server.scope = model.root;
    model.root->server = &server;
    Location& location = model.locations.emplace_back();
    location.scope = model.root;
    model.root->location = &location;
    location.server = &server;
    location.path = "(snippet)";
    server.locations.push_back(&location);
    server.all_locations.push_back(&location);
    builder.locations(*model.root, server, &location);
  }
  builder.sockets();
}

bool is_pass(std::string_view directive) noexcept {
  constexpr std::array<std::string_view, 7> kPasses = {
      "proxy_pass", "fastcgi_pass",   "uwsgi_pass",       "scgi_pass",
      "grpc_pass",  "memcached_pass", "passenger_enabled"};
  return std::ranges::find(kPasses, directive) != kPasses.end();
}

const Directive* pass_of(const Scope& scope) {
  for (const Directive* directive : scope.settings) {
    if (is_pass(directive->name.text)) return directive;
  }
  return nullptr;
}

Handler handler_of(const Scope& scope) {
  // `return` belongs to the rewrite phase: it answers before any content handler.
  if (const Directive* at = scope.own("return")) return {Handler::Kind::kReturn, at};
  if (const Directive* at = pass_of(scope)) return {Handler::Kind::kProxy, at};
  constexpr std::array<std::string_view, 10> kScripts = {"content_by_lua_block",
                                                         "content_by_lua",
                                                         "content_by_lua_file",
                                                         "js_content",
                                                         "perl",
                                                         "echo",
                                                         "echo_exec",
                                                         "echo_location",
                                                         "rewrite_by_lua_block",
                                                         "echo_subrequest"};
  constexpr std::array<std::string_view, 6> kStatus = {
      "stub_status",  "api",          "status", "vhost_traffic_status_display",
      "check_status", "upstream_conf"};
  constexpr std::array<std::string_view, 7> kOther = {
      "empty_gif",       "secure_link_secret",    "nchan_pubsub", "nchan_subscriber",
      "nchan_publisher", "push_stream_publisher", "random_index"};
  for (const Directive* directive : scope.settings) {
    const std::string_view name = directive->name.text;
    if (std::ranges::find(kScripts, name) != kScripts.end()) {
      return {Handler::Kind::kScript, directive};
    }
    if (std::ranges::find(kStatus, name) != kStatus.end()) {
      return {Handler::Kind::kStatus, directive};
    }
    if (std::ranges::find(kOther, name) != kOther.end()) {
      return {Handler::Kind::kOther, directive};
    }
  }
  return {Handler::Kind::kStatic, nullptr};
}

}  // namespace merlon::audit::nginx
