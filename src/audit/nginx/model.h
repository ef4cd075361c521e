#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "audit/nginx/pattern.h"
#include "audit/nginx/syntax.h"

/// What a configuration means: scopes with nginx's inheritance, servers with their sockets and
/// locations in the order in which they are matched.
namespace merlon::audit::nginx {

/// A directive's name with a bit for a quick "not here". Made from literals at compile time.
struct Name {
  std::string_view text;
  std::uint64_t bit;
  // Implicit: rules write scope.own("proxy_pass").
  consteval Name(const char* literal) : text(literal), bit(bit_of(literal)) {}
  static constexpr std::uint64_t bit_of(std::string_view name) noexcept {
    std::uint64_t hash = 1469598103934665603ULL;
    for (const char c : name) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    }
    return std::uint64_t{1} << (hash >> 58);
  }
};

struct Server;
struct Location;

/// One level of inheritance: main, http, server, location, if, limit_except …
struct Scope {
  const Directive* block = nullptr;
  const Server* server = nullptr;      ///< of a server's own scope
  const Location* location = nullptr;  ///< of a location's own scope
  std::uint32_t context = kNowhere;
  Scope* parent = nullptr;
  std::vector<Scope*> children;
  std::vector<const Directive*> settings;  ///< what stands in it, without the child scopes
  std::uint64_t names = 0;                 ///< bits of the names in `settings`
  std::vector<const Directive*> rewrites;  ///< set, if, rewrite, return and break, in order
  bool incomplete = false;                 ///< an include in it could not be read

  /// The first directive called `name` in this very scope; nullptr when there is none.
  [[nodiscard]] const Directive* own(Name name) const noexcept;
  [[nodiscard]] std::vector<const Directive*> own_all(Name name) const;
  [[nodiscard]] bool has(Name name) const noexcept { return own(name) != nullptr; }

  /// What is in force here: nginx takes the whole set of the nearest level that has any.
  [[nodiscard]] const Directive* effective(Name name) const noexcept;
  [[nodiscard]] std::vector<const Directive*> effective_all(Name name) const;
  /// The level that `effective` takes it from; nullptr when no level has it.
  [[nodiscard]] const Scope* level_of(Name name) const noexcept;
  /// `on` of a flag in force; `fallback` when nothing sets it.
  [[nodiscard]] bool flag(Name name, bool fallback) const noexcept;

  /// True when what is in force here may come from something that was not read: a failed include
  /// in this or an outer level, or an outer level that is not in the files.
  [[nodiscard]] bool may_inherit_unseen() const noexcept;
  [[nodiscard]] bool is_below(const Scope& outer) const noexcept;
};

/// A `listen` of a server, with nginx's defaults filled in.
struct Listen {
  const Directive* at = nullptr;  ///< nullptr: the server has none and listens on *:80
  std::string address;            ///< "*", "127.0.0.1", "[::1]", "unix:/path"
  std::uint32_t port = 80;
  bool ssl = false;
  bool http2 = false;
  bool quic = false;
  bool default_server = false;
  bool proxy_protocol = false;

  [[nodiscard]] std::string socket() const;  ///< "*:443", "unix:/path"
  [[nodiscard]] bool is_unix() const noexcept { return address.starts_with("unix:"); }
  [[nodiscard]] bool is_loopback() const noexcept;
  /// Unix sockets and loopback addresses: not reachable from other hosts.
  [[nodiscard]] bool is_local() const noexcept { return is_unix() || is_loopback(); }
};

struct Location {
  enum class Match : std::uint8_t { kPrefix, kPrefixFirst, kExact, kRegex, kRegexNoCase, kNamed };
  Scope* scope = nullptr;
  Server* server = nullptr;
  Location* parent = nullptr;
  std::vector<Location*> children;
  Match match = Match::kPrefix;
  std::string_view path;  ///< the prefix, the regular expression or the name
  bool internal = false;
  std::shared_ptr<const Pattern> pattern;  ///< of a regular expression

  [[nodiscard]] bool is_regex() const noexcept {
    return match == Match::kRegex || match == Match::kRegexNoCase;
  }
  [[nodiscard]] const Directive& at() const noexcept { return *scope->block; }
  [[nodiscard]] std::string label() const;  ///< "api.example.com/v1/", "api.example.com ~ \.php$"
};

struct Server {
  Scope* scope = nullptr;
  std::vector<Listen> listens;
  std::vector<std::string_view> names;
  std::vector<Location*> locations;      ///< top level, in the order of the file
  std::vector<Location*> all_locations;  ///< nested ones too

  [[nodiscard]] const Directive& at() const noexcept { return *scope->block; }
  [[nodiscard]] std::string label() const;  ///< its first name, or its first socket
  /// TLS by `listen … ssl`, or by `ssl on` where that still works.
  [[nodiscard]] bool has_tls() const noexcept;
  [[nodiscard]] bool has_cleartext() const noexcept;
  [[nodiscard]] bool is_local() const noexcept;  ///< every socket is local
  /// The location "@name"; nullptr when there is none.
  [[nodiscard]] const Location* named(std::string_view name) const noexcept;
};

/// A socket and the servers on it, the default one first.
struct Socket {
  std::string name;
  std::vector<std::pair<Server*, const Listen*>> servers;
  bool explicit_default = false;
};

/// What a location or server does with a request.
struct Handler {
  enum class Kind : std::uint8_t { kNone, kProxy, kReturn, kStatic, kStatus, kScript, kOther };
  Kind kind = Kind::kNone;
  const Directive* at = nullptr;  ///< the directive that says so; nullptr for static files
};

struct Model {
  Tree tree;
  std::deque<Scope> scopes;
  std::deque<Server> servers;
  std::deque<Location> locations;
  std::deque<Socket> sockets;
  Scope* root = nullptr;
  Scope* http = nullptr;  ///< the http block, or the frame of a fragment of http
  Scope* stream = nullptr;
  bool framed = false;    ///< the http block itself was read
  bool has_main = false;  ///< the main level was read: `user` and the like can be judged
  std::uint32_t frame = kMain;
  std::vector<std::string_view> unknown;  ///< names of directives that are not known
  std::map<const Directive*, const Scope*> scope_of_block;

  /// The location that nginx would choose for a normalised path (no internal redirects); nullptr
  /// when none matches. Regular expressions that are not understood do not match.
  [[nodiscard]] const Location* match(const Server& server, std::string_view path) const;
  /// Every scope of http that a request can end in: servers, locations, ifs in locations.
  [[nodiscard]] const Server* server_of(const Scope& scope) const;
  [[nodiscard]] const Location* location_of(const Scope& scope) const;
  /// Label of the route that `scope` belongs to.
  [[nodiscard]] std::string route_of(const Scope& scope) const;
};

/// Fills everything but `tree`, which is parsed and checked.
void build_model(Model& model);

[[nodiscard]] Handler handler_of(const Scope& scope);
/// The *_pass directive of this very scope, memcached included; nullptr when there is none.
[[nodiscard]] const Directive* pass_of(const Scope& scope);
/// proxy_pass, fastcgi_pass and so on: hands requests to another server.
[[nodiscard]] bool is_pass(std::string_view directive) noexcept;

}  // namespace merlon::audit::nginx
