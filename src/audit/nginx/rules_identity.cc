#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>

#include "audit/nginx/directives.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/identity_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"

namespace merlon::audit::nginx {
namespace {

void check_audience(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* jwt = scope.own("auth_jwt");
    if (jwt == nullptr || jwt->arg(0) == "off") continue;
    const auto reads = [&](std::string_view claim) {
      return in.variables.is_used(claim) ||
             std::ranges::any_of(scope.effective_all("auth_jwt_require"), [&](const Directive* d) {
               return std::ranges::any_of(d->args, [&](const Word& word) {
                 return in.variables.depends_on(
                     word.text, [&](std::string_view v) { return v == claim; }, scope);
               });
             });
    };
    std::vector<std::string> missing;
    if (!reads("jwt_claim_aud")) missing.emplace_back("audience");
    if (!reads("jwt_claim_iss")) missing.emplace_back("issuer");
    if (missing.empty()) continue;
    in.report("JWT-03", Level::kHigh, *jwt,
              fmt::format("the {} of tokens {} not checked: one that was made for another service "
                          "is taken; expected auth_jwt_require",
                          join_some(missing), missing.size() == 1 ? "is" : "are"))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_key_transport(Inspection& in) {
  std::map<const Directive*, std::size_t> reported;
  for (const KeySource& source : key_sources(in.model)) {
    const auto& [request, location] = source;
    const Directive* pass = location->scope->own("proxy_pass");
    if (pass == nullptr) continue;
    const Target target = parse_target(pass->arg(0));
    const bool clear = target.scheme == "http" && distance_of(target.host) == Distance::kPublic;
    const bool unverified =
        target.scheme == "https" && !location->scope->flag("proxy_ssl_verify", false);
    if (!clear && !unverified) continue;
    const auto [found, added] = reported.try_emplace(pass, in.out.findings.size());
    if (!added) continue;
    Finding& finding = in.report(
        "JWT-05", Level::kHigh, *pass,
        clear ? "the keys that verify tokens are fetched in clear: whoever is on the way replaces "
                "them"
              : "the keys that verify tokens come from a server whose certificate is not verified");
    finding.trail.push_back({request->mark(), "the keys are asked for here"});
    finding.affected.push_back(location->label());
  }
}

/// An `if` with more than one variable in its parentheses, which may stand apart.
bool compares(const Directive& condition) {
  return std::ranges::count_if(condition.args, [](const Word& word) {
           return word.text != "(" && word.text != ")";
         }) > 1;
}

void check_query_credentials(Inspection& in) {
  for (const Directive& directive : in.model.tree.directives) {
    const std::string_view name = directive.name.text;
    const bool relevant = name == "auth_jwt" || name == "map" || name == "if" ||
                          name == "proxy_set_header" || name == "set" || name == "limit_req_zone" ||
                          name == "auth_request_set" || name == "fastcgi_param";
    if (!relevant || name == "limit_req_zone") continue;
    for (const Word& word : directive.args) {
      const std::string_view credential = query_credential_in(word.text);
      if (credential.empty()) continue;
      // if ($arg_token): that there is one is no check of it.
      if (name == "if" && !compares(directive)) break;
      Finding& finding = in.report(
          "JWT-06", Level::kHigh, directive,
          fmt::format("a credential is taken from the query (${}): URLs end up in logs, histories "
                      "and Referer fields; expected the Authorization header",
                      credential));
      const auto scope = in.model.scope_of_block.find(directive.parent);
      if (scope != in.model.scope_of_block.end()) {
        finding.affected.push_back(in.model.route_of(*scope->second));
      }
      break;
    }
  }
}

/// A shared secret in a file that others read lets them make tokens.
void check_key_files(Inspection& in) {
  if (!in.on_disk) return;
  for (const Scope& scope : in.model.scopes) {
    const Directive* key = scope.own("auth_jwt_key_file");
    if (key == nullptr || key->arg(0).find('$') != std::string_view::npos) continue;
    std::string path(key->arg(0));
    if (!path.starts_with('/')) {
      const std::string& main = in.model.tree.files.front()->path;
      path = main.substr(0, main.rfind('/') + 1) + path;
    }
    const FileReader::Read got = in.files.read(path, path);
    struct stat about{};
    if (got.source == nullptr || ::stat(path.c_str(), &about) != 0) continue;
    const bool shared = got.source->text.find("\"oct\"") != std::string::npos;
    if (!shared || (about.st_mode & S_IROTH) == 0) continue;
    in.report("JWT-04", Level::kCritical, *key,
              fmt::format("everyone on this host may read the shared secret in {} and make tokens "
                          "with it: expected keys of an asymmetric algorithm",
                          key->arg(0)))
        .affected.push_back(in.model.route_of(scope));
  }
}

void check_leeway(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* leeway = scope.own("auth_jwt_leeway");
    std::uint64_t value = 0;
    if (leeway == nullptr || !parse_time(leeway->arg(0), value) || value <= 300'000) continue;
    in.report(
        "JWT-07", Level::kMedium, *leeway,
        fmt::format("expired tokens are taken for {} more: expected 60s or less", leeway->arg(0)));
  }
}

bool is_server_error(std::string_view code) { return code.size() == 3 && code[0] == '5'; }

/// "=200", or "=" with a location that asks the same upstream: the refusal turns into a success.
void check_fail_open(Inspection& in) {
  std::map<const Directive*, Finding*> reported;
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* request = scope->effective("auth_request");
    if (request == nullptr || request->arg(0) == "off") continue;
    for (const Directive* page : scope->effective_all("error_page")) {
      bool refusal = false;
      bool success = false;
      for (std::size_t i = 0; i + 1 < page->args.size(); ++i) {
        const std::string_view word = page->arg(i);
        refusal = refusal || word == "401" || word == "403" || is_server_error(word);
        success = success || word.starts_with("=2");
      }
      const std::string_view target = page->arg(page->args.size() - 1);
      bool serves = false;
      const bool on_error = std::ranges::any_of(page->args, [](const Word& word) {
        return is_server_error(word.text) || word.text == "401" || word.text == "403";
      });
      const Server* server = in.model.server_of(*scope);
      if (on_error && server != nullptr) {
        for (const Location* location : server->all_locations) {
          const bool named = location->path == target && location->match == Location::Match::kNamed;
          if (!named || pass_of(*location->scope) == nullptr) continue;
          const Directive* mine = pass_of(*scope);
          const bool same = mine != nullptr && mine->arg(0) == pass_of(*location->scope)->arg(0);
          const Directive* again = location->scope->own("auth_request");
          serves = serves || (same && (again == nullptr || again->arg(0) == "off"));
        }
      }
      if (!(refusal && success) && !serves) continue;
      Finding*& finding = reported[page];
      if (finding == nullptr) {
        finding = &in.report(
            "JWT-08", Level::kHigh, *page,
            "when the authorisation service fails or refuses, the request is answered all the "
            "same: expected an error");
        finding->trail.push_back({request->mark(), "authorised here"});
      }
      finding->affected.push_back(in.model.route_of(*scope));
    }
  }
}

/// The location that an auth_request asks must not say yes by itself.
void check_authorizer(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* request = scope.own("auth_request");
    const Server* server = in.model.server_of(scope);
    if (request == nullptr || request->arg(0) == "off" || server == nullptr) continue;
    const Location* location = in.model.match(*server, request->arg(0));
    if (location == nullptr) continue;
    const unsigned status = return_status(*location->scope);
    if (status >= 200 && status < 300) {
      Finding& finding = in.report("JWT-08", Level::kHigh, *location->scope->own("return"),
                                   "the authorisation request is always answered with success");
      finding.trail.push_back({request->mark(), "asked here"});
      finding.affected.push_back(in.model.route_of(scope));
    }
    for (const Directive* page : location->scope->own_all("error_page")) {
      bool opens = false;
      for (std::size_t i = 0; i + 1 < page->args.size(); ++i)
        opens |= page->arg(i).starts_with("=2");
      if (!opens) continue;
      Finding& finding =
          in.report("JWT-08", Level::kHigh, *page,
                    "an error of the authorisation service is turned into success: everyone is let "
                    "in while it is down");
      finding.trail.push_back({request->mark(), "asked here"});
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"JWT-02", nullptr},
    {"JWT-03", check_audience},
    {"JWT-04", check_key_files},
    {"JWT-05", check_key_transport},
    {"JWT-06", check_query_credentials},
    {"JWT-07", check_leeway},
    {"JWT-08", check_fail_open},
    {"JWT-08", check_authorizer},
};

}  // namespace

std::span<const RuleEntry> identity_rules() { return kRules; }

}  // namespace merlon::audit::nginx
