#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "audit/nginx/model.h"
#include "audit/nginx/variables.h"
#include "base/ascii.h"

/// The header fields that a scope sends or hands to its upstream.
namespace merlon::audit::nginx {

/// The directive in force that sets response header `name`: add_header, or more_set_headers of the
/// headers-more module (which inherits additively). nullptr when none does.
[[nodiscard]] const Directive* sent_header(const Scope& scope, std::string_view name);
/// The value that such a directive gives it.
[[nodiscard]] std::string_view header_value(const Directive& directive, std::string_view name);

/// One field that a directive adds to responses.
struct SentField {
  const Directive* at = nullptr;
  std::string_view name;
  std::string_view value;
};
/// The fields that `directive` adds: of add_header one, of more_set_headers ("X-Name: value") any
/// number, of others none.
[[nodiscard]] std::vector<SentField> fields_of(const Directive& directive);
/// The fields called `name` that this very scope adds.
[[nodiscard]] std::vector<SentField> own_fields(const Scope& scope, std::string_view name);

/// The proxy_set_header (or grpc_set_header) in force for `name`; nullptr when there is none.
[[nodiscard]] const Directive* forwarded_header(const Scope& scope, std::string_view name);

/// The header field behind a variable: "x-user" of "$http_x_user"; "" of others.
[[nodiscard]] std::string header_of(std::string_view variable);

/// Calls `visit` with scope, directive and name of each header or CGI parameter that goes to an
/// upstream; the name in lower case, with "-" for "_".
template <class F>
void each_upstream_header(const Model& model, F&& visit) {
  for (const Scope& scope : model.scopes) {
    for (const Name name : {Name("proxy_set_header"), Name("grpc_set_header"),
                            Name("fastcgi_param"), Name("uwsgi_param")}) {
      for (const Directive* header : scope.own_all(name)) {
        std::string field(header->arg(0));
        for (char& c : field) c = c == '_' ? '-' : ascii::lower(c);
        visit(scope, *header, std::string_view(field));
      }
    }
  }
}

/// Seconds of max-age in a Strict-Transport-Security value; false when it has none.
bool hsts_max_age(std::string_view value, std::uint64_t& seconds);

/// True when the addresses of the proxies in front are listed, and are not everyone's.
[[nodiscard]] bool trusts_named_proxies(const Scope& scope);

/// True when the configuration shows that TLS ends before this server: real_ip with a trusted
/// proxy (for all servers only where none of them has TLS of its own), the PROXY protocol, or, of a
/// server without TLS of its own, a redirect of what X-Forwarded-Proto calls cleartext. That the
/// field is logged, mapped or handed on says nothing of who is in front.
[[nodiscard]] bool terminates_elsewhere(const Model& model, const Variables& variables,
                                        const Server& server);
/// True when a location hands X-Forwarded-Proto on as it came: its author takes it that a proxy in
/// front fills it in.
[[nodiscard]] bool relies_on_forwarded_scheme(const Server& server);

/// What an `if` compares, such as "$request_method"; "" for something else.
[[nodiscard]] std::string_view if_variable(const Directive& block);

/// The host of a *_pass argument, as far as it is written out.
struct Target {
  std::string scheme;     ///< "http", "https", "grpc", "grpcs"; "" for fastcgi_pass and its like
  std::string host;       ///< without port and brackets; "unix:/path" for a socket
  std::string port;       ///< "" when none is given
  std::string_view path;  ///< from the first "/" after the host
  bool has_variable = false;  ///< in scheme, host or port
};
[[nodiscard]] Target parse_target(std::string_view text);

/// How far away a host is. kSingleLabel: a name without dots, of a container network or /etc/hosts.
enum class Distance : std::uint8_t { kLoopback, kPrivate, kSingleLabel, kPublic };
[[nodiscard]] Distance distance_of(std::string_view host);

/// True when the words of a location's path speak of long-lived exchanges.
[[nodiscard]] bool is_streaming_path(std::string_view path);
/// True for health checks and ACME challenges, which are open on purpose.
[[nodiscard]] bool is_open_on_purpose(std::string_view path);

}  // namespace merlon::audit::nginx
