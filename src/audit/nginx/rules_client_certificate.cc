#include <algorithm>
#include <array>

#include "audit/nginx/rules.h"

namespace merlon::audit::nginx {
namespace {

/// True when an `if` may tell a certificate that an authority vouches for from one that anybody
/// makes. "$ssl_client_verify = NONE" does not.
bool tells_strangers(const Inspection& in, const Server& server, const Directive& test,
                     const Scope& scope) {
  const auto entered = [&](const char* verify) {
    RewritePhase phase({.variables = {{"ssl_client_verify", verify}}}, &in.variables);
    phase.run(*server.scope);
    if (const Location* location = in.model.location_of(scope)) phase.run(*location->scope);
    return phase.enters(test);
  };
  const std::optional<bool> vouched = entered("SUCCESS");
  return !vouched || vouched != entered("FAILED:self-signed certificate");
}

/// True when an `if` does no more than to set variables that nothing reads.
bool comes_to_nothing(const Inspection& in, const Directive& test) {
  return std::ranges::all_of(test.body, [&](const Directive* one) {
    const std::string_view name = one->arg(0);
    return one->is("set") && name.starts_with('$') && !in.variables.is_used(name.substr(1));
  });
}

/// True when something that a request to `server` meets reads $ssl_client_verify, through maps and
/// sets too; of "optional", when an if asks anything about the certificate, for nginx answers one
/// that fails with 400. Of "optional_no_ca", which lets it in, an if has to tell it from others.
/// What is only logged, kept or told to the client decides nothing.
bool tests_client_certificate(const Inspection& in, const Server& server, bool verified) {
  if (scripts_decide(server)) return true;
  const auto reads = [&](const Directive& directive, const Scope& scope) {
    constexpr std::array<std::string_view, 7> kIdle = {
        "log_format", "access_log", "map", "set", "add_header", "add_trailer", "more_set_headers"};
    if (std::ranges::find(kIdle, directive.name.text) != kIdle.end()) return false;
    if (directive.is("if") && comes_to_nothing(in, directive)) return false;
    const bool any = verified && directive.is("if");
    const bool idle =
        !verified && directive.is("if") && !tells_strangers(in, server, directive, scope);
    return !idle && std::ranges::any_of(directive.args, [&](const Word& word) {
      return in.variables.depends_on(
          word.text,
          [any](std::string_view name) {
            return name == "ssl_client_verify" || (any && name.starts_with("ssl_client_"));
          },
          scope);
    });
  };
  return std::ranges::any_of(in.model.scopes, [&](const Scope& scope) {
    const bool met = scope.is_below(*server.scope) || server.scope->is_below(scope);
    if (!met || scope.block == nullptr) return false;
    return reads(*scope.block, scope) ||
           std::ranges::any_of(scope.settings, [&](const auto* one) { return reads(*one, scope); });
  });
}

void check_optional_mtls(Inspection& in) {
  for (const Server& server : in.model.servers) {
    const Directive* verify = server.scope->effective("ssl_verify_client");
    if (verify == nullptr) continue;
    if (verify->arg(0) != "optional" && verify->arg(0) != "optional_no_ca") continue;
    if (tests_client_certificate(in, server, verify->arg(0) == "optional")) continue;
    if (server.scope->may_inherit_unseen() && server.scope->incomplete) continue;
    Finding& finding = in.report(
        "TLS-16", Level::kHigh, *verify,
        verify->arg(0) == "optional"
            ? "ssl_verify_client optional lets clients without a certificate in, and nothing tests "
              "$ssl_client_verify"
            : "ssl_verify_client optional_no_ca lets in whoever made a certificate for itself, or "
              "has none, and nothing tests whether $ssl_client_verify is SUCCESS");
    finding.affected.push_back(server.label());
  }
}

constexpr RuleEntry kRules[] = {
    {"TLS-16", check_optional_mtls},
};

}  // namespace

std::span<const RuleEntry> client_certificate_rules() { return kRules; }

}  // namespace merlon::audit::nginx
