#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "audit/nginx/header_view.h"
#include "audit/nginx/rewrite_phase.h"
#include "audit/nginx/rules.h"
#include "base/ascii.h"

// What clients are answered before nginx looks at who asks, or whatever they ask for.
namespace merlon::audit::nginx {
namespace {

/// A name that no configuration speaks of: what meets it meets everything.
constexpr std::string_view kAnyName = "merlon-any-name";

/// A path of which `location` decides.
std::string path_in(const Location& location) {
  switch (location.match) {
    case Location::Match::kPrefix:
    case Location::Match::kPrefixFirst:
      return std::string(location.path).append(kAnyName);
    case Location::Match::kExact:
      return std::string(location.path);
    case Location::Match::kRegex:
    case Location::Match::kRegexNoCase:
      return location.pattern->sample();
    case Location::Match::kNamed:
      break;
  }
  return std::string("/").append(kAnyName);
}

/// How a request comes in.
struct Carrier {
  const Variables* variables;  ///< nullptr: what maps give is not known
  const Listen& listen;

  [[nodiscard]] bool tls() const { return listen.ssl || listen.quic; }
};

Request request_over(const Carrier& carrier, std::string path) {
  Request out;
  auto& known = out.variables;
  known["scheme"] = carrier.tls() ? "https" : "http";
  known["https"] = carrier.tls() ? "on" : "";
  known["server_port"] = std::to_string(carrier.listen.port);
  if (!carrier.tls()) {
    for (const char* name : {"ssl_protocol", "ssl_cipher", "ssl_session_id"}) known[name] = "";
  }
  // Who comes in clear without a proxy says nothing of a scheme. Of servers as a whole, which may
  // stand behind one, nothing is known of it.
  if (!carrier.tls() && carrier.variables != nullptr) {
    for (const char* name : {"http_x_forwarded_proto", "http_x_forwarded_ssl"}) known[name] = "";
  }
  known["request_uri"] = path;
  known["uri"] = std::move(path);
  return out;
}

/// The status that such a request is surely answered with by the server's directives, then by those
/// of `location`; 0 when it goes on.
unsigned answer_of(const Carrier& carrier, const Server& server, const Location* location) {
  std::string path = location == nullptr ? std::string("/").append(kAnyName) : path_in(*location);
  RewritePhase phase(request_over(carrier, std::move(path)), carrier.variables);
  phase.run(*server.scope);
  if (location != nullptr) phase.run(*location->scope);
  return phase.status();
}

/// `try_files /nothing @redirect;`: only the named location answers.
const Location* handed_on_to(const Location& location) {
  const Directive* tries = location.scope->own("try_files");
  if (tries == nullptr || tries->args.size() < 2) return nullptr;
  const auto follows = [](const Word& word) { return word.text.find('$') != std::string::npos; };
  if (std::ranges::any_of(tries->args, follows)) return nullptr;
  return location.server->named(tries->args.back().text);
}

bool turns_away(const Carrier& carrier, const Location& location) {
  if (answer_of(carrier, *location.server, &location) >= 300) return true;
  const Location* next = handed_on_to(location);
  return next != nullptr && answer_of(carrier, *location.server, next) >= 300;
}

/// A text of the configuration's own, a status page for a few, or nothing.
bool gives_nothing_away(const Scope& scope) {
  const bool status_page = handler_of(scope).kind == Handler::Kind::kStatus;
  return return_status(scope) != 0 || is_denied_to_all(scope) ||
         (status_page && has_network_acl(scope));
}

bool turns_all_away(const Carrier& carrier, const Server& server) {
  if (answer_of(carrier, server, nullptr) >= 300) return true;
  bool root = false;
  for (const Location* location : server.all_locations) {
    const bool acme = location->path.find("acme-challenge") != std::string_view::npos ||
                      location->path.find(".well-known") != std::string_view::npos;
    if (acme || location->internal) continue;
    const bool away = turns_away(carrier, *location);
    if (!away && !gives_nothing_away(*location->scope)) return false;
    root = root || (away && location->path == "/");
  }
  return root;
}

/// Someone from elsewhere without a certificate. Adds to what is known of the request.
Request by_a_stranger(const Scope& scope, Request known, std::string_view secrets) {
  // A public address that no list names.
  constexpr const char* kAddress = "203.0.113.211";
  for (const char* name : {"remote_addr", "realip_remote_addr", "proxy_protocol_addr"}) {
    known.variables[name] = kAddress;
  }
  // Where no authority is asked for, everyone can show some certificate.
  const Directive* verify = scope.effective("ssl_verify_client");
  const bool any_certificate = verify != nullptr && verify->arg(0) == "optional_no_ca";
  known.variables["ssl_client_verify"] = any_certificate ? secrets : "NONE";
  if (!any_certificate) {
    for (const char* name : {"s_dn", "i_dn", "serial", "fingerprint"}) {
      known.variables[std::string("ssl_client_") + name] = "";
    }
  }
  known.variables["secure_link"] = "";
  known.secrets = secrets;
  return known;
}

/// What a stranger may send where a secret is expected: nothing, or something in its place.
constexpr std::array<std::string_view, 2> kInPlaceOfSecret = {"", kGuess};

/// Such a request behind what the directives of the server of `scope`, and of its location, do.
RewritePhase run_for_stranger(const Inspection& in, const Server& server, const Scope& scope,
                              Request known, std::string_view secrets) {
  const Location* location = in.model.location_of(scope);
  if (location != nullptr && location->match != Location::Match::kNamed) {
    known.variables.try_emplace("uri", path_in(*location));
  }
  RewritePhase phase(by_a_stranger(scope, std::move(known), secrets), &in.variables);
  phase.run(*server.scope);
  if (location != nullptr) phase.run(*location->scope);
  return phase;
}

/// A key of a map that anyone may come upon, as opposed to one that is a secret.
bool is_guessable(const Directive& entry) {
  constexpr std::size_t kSecretBytesMin = 12;
  const std::string_view key = entry.name.text;
  return key.size() < kSecretBytesMin || std::ranges::none_of(key, ascii::is_digit);
}

}  // namespace

bool only_redirects(const Server& server) {
  // Of a server whose ports are not in the files, the redirect of what comes in clear is believed.
  if (server.listens.empty()) return turns_all_away({nullptr, Listen{}}, server);
  return std::ranges::all_of(server.listens, [&](const Listen& listen) {
    return turns_all_away({nullptr, listen}, server);
  });
}

bool redirects_cleartext(const Inspection& inspection, const Scope& scope, const Listen& listen) {
  const Server* server = inspection.model.server_of(scope);
  if (server == nullptr) return false;
  const Carrier carrier{&inspection.variables, listen};
  if (answer_of(carrier, *server, inspection.model.location_of(scope)) >= 300) return true;
  const auto [known, added] = inspection.turned_away.try_emplace(&listen);
  if (added) known->second = turns_all_away(carrier, *server);
  return known->second;
}

bool refused_by_if(const Inspection& inspection, const Scope& scope, const Request& known) {
  const Server* server = inspection.model.server_of(scope);
  if (server == nullptr) return false;
  return std::ranges::all_of(kInPlaceOfSecret, [&](std::string_view sent) {
    const RewritePhase phase = run_for_stranger(inspection, *server, scope, known, sent);
    return phase.status() >= 300 && phase.answered_by_if();
  });
}

bool strangers_may_enter(const Inspection& inspection, const Scope& block) {
  const Server* server = inspection.model.server_of(block);
  if (server == nullptr) return true;
  return std::ranges::any_of(kInPlaceOfSecret, [&](std::string_view sent) {
    const RewritePhase phase = run_for_stranger(inspection, *server, block, {}, sent);
    return phase.enters(*block.block).value_or(true);
  });
}

bool is_switched_off(const Inspection& inspection, const Scope& scope,
                     const Directive& auth_basic) {
  const std::string_view realm = auth_basic.arg(0);
  const Server* server = inspection.model.server_of(scope);
  if (realm.find('$') == std::string_view::npos || server == nullptr) return false;
  const bool surely = std::ranges::any_of(kInPlaceOfSecret, [&](std::string_view sent) {
    return run_for_stranger(inspection, *server, scope, {}, sent).filled_in(realm) == "off";
  });
  return surely || !switch_of_client(inspection, scope, auth_basic).empty();
}

std::string switch_of_client(const Inspection& inspection, const Scope& scope,
                             const Directive& auth_basic) {
  const std::vector<VariableUse> uses = variables_in(auth_basic.arg(0));
  const Directive* map = uses.size() == 1 ? inspection.variables.map_of(uses[0].name) : nullptr;
  if (map == nullptr || !map->is("map")) return {};
  std::string source = inspection.variables.origin(map->arg(0), scope, auth_basic).source;
  // The name in Host chooses the server too. What a proxy in front fills in is not the client's,
  // and who shows a token in place of a password is asked for it by the upstream.
  if (!is_written_by_client(source) || source == "$http_host") return {};
  if (holds_secret(source.substr(1)) || trusts_named_proxies(scope)) return {};
  const bool off = std::ranges::any_of(map->body, [](const Directive* entry) {
    return entry->arg(0) == "off" && is_guessable(*entry);
  });
  return off ? source : std::string{};
}

}  // namespace merlon::audit::nginx
