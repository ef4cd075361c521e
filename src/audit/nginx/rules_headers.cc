#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>

#include "audit/nginx/directives.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/page_headers.h"
#include "audit/nginx/rules.h"
#include "audit/words.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::array<std::string_view, 10> kSecurityHeaders = {"strict-transport-security",
                                                               "content-security-policy",
                                                               "x-frame-options",
                                                               "x-content-type-options",
                                                               "referrer-policy",
                                                               "permissions-policy",
                                                               "cross-origin-opener-policy",
                                                               "cross-origin-embedder-policy",
                                                               "cross-origin-resource-policy",
                                                               "x-permitted-cross-domain-policies"};

bool is_security_header(std::string_view name) {
  return std::ranges::any_of(kSecurityHeaders,
                             [&](std::string_view known) { return ascii::iequals(known, name); });
}

/// An answer without a body of its own, such as the one to a CORS preflight.
bool answers_nothing(const Scope& scope) {
  const unsigned status = return_status(scope);
  return status == 204 || status == 304 || (status >= 400 && status != 404 && status < 600);
}

bool merges_headers(const Scope& scope) {
  const Directive* inherit = scope.effective("add_header_inherit");
  return inherit != nullptr && inherit->arg(0) == "merge";
}

using Headers = std::vector<const Directive*>;

/// The security headers that a level adds, the first of each name.
Headers security_headers_of(const Scope& level) {
  Headers out;
  for (const Directive* header : level.own_all("add_header")) {
    const auto same = [&](const Directive* d) { return ascii::iequals(d->arg(0), header->arg(0)); };
    if (!is_security_header(header->arg(0)) || std::ranges::any_of(out, same)) continue;
    out.push_back(header);
  }
  return out;
}

/// What to repeat of an outer level; with the "always" that the fix of HDR-02 gives it there.
std::string as_repeated(const Directive& header) {
  const bool lacks_always = header.arg(2) != "always" && !header.arg(1).empty();
  return statement(header) + (lacks_always ? " always;" : ";");
}

/// Reports that `first`, and what follows it in its scope, replaces the headers of `outer`.
void report_lost_headers(Inspection& in, const Scope& scope, const Directive& first,
                         const Scope& outer, const Headers& lost) {
  std::vector<std::string> names;
  for (const Directive* header : lost) names.emplace_back(header->arg(0));
  Finding& finding = in.report(
      "HDR-01", Level::kMedium, first,
      fmt::format("add_header here replaces all of {}: {} {} lost, and should be repeated",
                  outer.block->name.text.empty() ? "the outer level" : outer.block->name.text,
                  join_some(names), names.size() == 1 ? "is" : "are"));
  finding.evidence =
      fmt::format("{} answers without {}", in.model.route_of(scope), join_some(names, 10));
  for (const Directive* header : lost) {
    finding.trail.push_back({header->mark(), fmt::format("{} is set here", header->arg(0))});
  }
  finding.trail.push_back({first.mark(), "and this level starts over"});
  finding.affected.push_back(in.model.route_of(scope));
  const std::vector<Edit> edit = replace_statement(first, "");
  if (edit.empty()) return;
  // Before the first add_header of this level, one line each, at its indentation.
  const std::string indent = edit[0].replacement.substr(0, edit[0].replacement.size() - 1);
  std::string lines;
  for (const Directive* header : lost) lines += indent + as_repeated(*header) + "\n";
  finding.fix = {{first.file, first.name.line, first.name.line - 1, lines}};
}

void check_inheritance(Inspection& in) {
  std::map<const Scope*, Headers> by_level;
  for (const Scope* scope : request_scopes(in.model)) {
    const Directive* first = scope->own("add_header");
    if (first == nullptr || scope->parent == nullptr || merges_headers(*scope)) continue;
    if (answers_nothing(*scope)) continue;
    const Scope* outer = scope->parent->level_of("add_header");
    if (outer == nullptr) continue;
    const auto [known, added] = by_level.try_emplace(outer);
    if (added) known->second = security_headers_of(*outer);
    Headers lost;
    std::ranges::copy_if(known->second, std::back_inserter(lost), [&](const Directive* header) {
      return sent_header(*scope, header->arg(0)) == nullptr;
    });
    if (!lost.empty()) report_lost_headers(in, *scope, *first, *outer, lost);
  }
}

void check_always(Inspection& in) {
  std::map<std::string, Finding*> reported;
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("add_header")) {
      if (!is_security_header(header->arg(0)) || header->arg(2) == "always") continue;
      if (header->args.size() < 2 || header->arg(1).empty()) continue;
      std::string key(header->arg(0));
      std::ranges::transform(key, key.begin(), ascii::lower);
      Finding*& finding = reported[key];
      if (finding == nullptr) {
        finding = &in.report(
            "HDR-02", Level::kLow, *header,
            fmt::format("{} has no \"always\": nginx leaves it out of 4xx and 5xx answers",
                        header->arg(0)));
      }
      finding->affected.push_back(in.model.route_of(scope));
      const auto edits = replace_statement(*header, statement(*header) + " always;");
      finding->fix.insert(finding->fix.end(), edits.begin(), edits.end());
    }
  }
}

void check_nosniff(Inspection& in) {
  report_absent(
      in, "HDR-03", "pages come without X-Content-Type-Options: expected \"nosniff\"",
      [](const Scope& scope) {
        const std::string_view value = sent_value(scope, "X-Content-Type-Options");
        return value.find('$') != value.npos || ascii::iequals(ascii::trim_ows(value), "nosniff");
      },
      Level::kLow, Level::kLow);
}

void check_referrer(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("add_header")) {
      if (!ascii::iequals(header->arg(0), "Referrer-Policy")) continue;
      // Of a list, browsers take the last value that they know.
      const std::string_view value = header->arg(1);
      const std::size_t comma = value.rfind(',');
      const std::string_view last =
          ascii::trim_ows(comma == std::string_view::npos ? value : value.substr(comma + 1));
      const bool unsafe = last == "unsafe-url" || last == "no-referrer-when-downgrade" ||
                          last == "origin" || last == "origin-when-cross-origin";
      if (!unsafe) continue;
      in.report("HDR-06", Level::kInfo, *header,
                fmt::format("Referrer-Policy \"{}\" tells other sites more than browsers would by "
                            "default: expected no-referrer or strict-origin-when-cross-origin",
                            last));
    }
  }
}

constexpr std::string_view kHsts = "Strict-Transport-Security";

void check_hsts_missing(Inspection& in) {
  for (const Server& server : in.model.servers) {
    if (!server.has_tls() || server.is_local() || !serves_content(server)) continue;
    const Directive* verify = server.scope->effective("ssl_verify_client");
    if (verify != nullptr && verify->arg(0) == "on") continue;
    if (sent_header(*server.scope, kHsts) != nullptr) continue;
    const bool pages = sends_for_pages(
        in, server, [](const Scope& scope) { return sent_header(scope, kHsts) != nullptr; });
    if (pages) continue;
    // Lost by inheritance is HDR-01.
    const Scope* outer = server.scope->parent;
    if (outer != nullptr && sent_header(*outer, kHsts) != nullptr) continue;
    if (server.scope->level_of("add_header") == nullptr && server.scope->may_inherit_unseen()) {
      in.not_checked("HDR-07", "the http block, which may set it, is not in the files");
      continue;
    }
    const bool scripted = scripts_edit_header(server);
    Finding& finding = in.report(
        "HDR-07", scripted ? Level::kLow : Level::kMedium, server.at(),
        "this HTTPS server sends no Strict-Transport-Security: expected max-age=31536000 or more");
    finding.confidence = scripted ? Confidence::kPossible : Confidence::kLikely;
    finding.affected.push_back(server.label());
    const bool reaches_all = std::ranges::none_of(
        server.all_locations,
        [](const Location* location) { return location->scope->has("add_header"); });
    const Scope* level = server.scope->level_of("add_header");
    if (reaches_all && (level == nullptr || level == server.scope)) {
      finding.fix = insert_first(
          server.at(), "add_header Strict-Transport-Security \"max-age=31536000\" always;");
    }
  }
}

void check_hsts_weak(Inspection& in) {
  constexpr std::uint64_t kHalfYear = 15'768'000;
  for (const Scope& scope : in.model.scopes) {
    for (const auto& [header, name, value] : own_fields(scope, "Strict-Transport-Security")) {
      std::uint64_t seconds = 0;
      if (!hsts_max_age(value, seconds)) {
        if (value.find('$') != std::string_view::npos) continue;
        in.report("HDR-08", Level::kMedium, *header,
                  value.empty() ? "an empty header is not sent: expected max-age=31536000"
                                : "without max-age browsers ignore it: expected max-age=31536000")
            .affected.push_back(in.model.route_of(scope));
        continue;
      }
      if (seconds < kHalfYear) {
        in.report(
              "HDR-08", Level::kLow, *header,
              seconds == 0
                  ? std::string("max-age=0 switches HSTS off: right only while rolling it back")
                  : fmt::format("max-age={} is less than half a year: expected 31536000", seconds))
            .affected.push_back(in.model.route_of(scope));
        continue;
      }
      const Server* server = in.model.server_of(scope);
      const bool clear = server != nullptr && !server->listens.empty() && !server->has_tls();
      if (!clear || server->is_local()) continue;
      if (terminates_elsewhere(in.model, in.variables, *server)) continue;
      if (relies_on_forwarded_scheme(*server)) continue;
      in.report("HDR-08", Level::kLow, *header,
                "HSTS on a server without TLS: browsers ignore it there (RFC 6797)")
          .affected.push_back(server->label());
    }
  }
}

/// True when proxy_no_cache, or that of FastCGI, holds for every request.
bool stores_nothing(const Scope& scope) {
  const Directive* no_cache = scope.effective(scope.has("fastcgi_pass") ? Name("fastcgi_no_cache")
                                                                        : Name("proxy_no_cache"));
  return no_cache != nullptr && std::ranges::any_of(no_cache->args, [](const Word& word) {
           return !word.text.empty() && word.text != "0" &&
                  word.text.find('$') == std::string_view::npos;
         });
}

/// True for variables that tell one user from another. What many users choose alike does not.
bool names_user(std::string_view variable) {
  const bool shared = has_word(variable, {"lang*", "locale", "theme", "currency", "country",
                                          "region", "device", "variant", "consent"});
  if (variable.starts_with("cookie_") && shared) return false;
  return variable == "http_authorization" || variable == "http_cookie" ||
         variable == "remote_user" || variable.starts_with("cookie_") ||
         variable.starts_with("jwt_") || variable.starts_with("ssl_client");
}

/// True when what is in force of directive `name` is another for another user.
bool depends_on_user(const Inspection& in, const Scope& scope, Name name) {
  for (const Directive* directive : scope.effective_all(name)) {
    for (const Word& word : directive->args) {
      if (in.variables.depends_on(word.text, names_user, scope)) return true;
    }
  }
  return false;
}

void check_cached_authenticated(Inspection& in) {
  for (const Scope* scope : request_scopes(in.model)) {
    const bool script = scope->has("fastcgi_pass");
    if (!script && !scope->has("proxy_pass")) continue;
    const Directive* cache = scope->effective(script ? Name("fastcgi_cache") : Name("proxy_cache"));
    if (cache == nullptr || cache->arg(0) == "off") continue;
    if (!has_authentication(in, *scope) || stores_nothing(*scope)) continue;
    const auto by_user = [&](Name name) { return depends_on_user(in, *scope, name); };
    const bool apart = script ? by_user("fastcgi_cache_key") || by_user("fastcgi_cache_bypass") ||
                                    by_user("fastcgi_no_cache")
                              : by_user("proxy_cache_key") || by_user("proxy_cache_bypass") ||
                                    by_user("proxy_no_cache");
    if (apart) continue;
    in.report("HDR-09", Level::kMedium, *cache,
              "answers to authenticated requests are cached under a key without the user: one "
              "client may get another's answer")
        .affected.push_back(in.model.route_of(*scope));
  }
}

/// True when a Set-Cookie has the attribute `name`, behind the cookie itself.
bool has_attribute(std::string_view cookie, std::string_view name) {
  for (std::size_t at = cookie.find(';'); at != cookie.npos; at = cookie.find(';', at + 1)) {
    const std::string_view part = cookie.substr(at + 1, cookie.find(';', at + 1) - at - 1);
    if (ascii::iequals(ascii::trim_ows(part.substr(0, part.find('='))), name)) return true;
    // What a variable adds is not known.
    if (part.find('$') != part.npos && part.find('=') == part.npos) return true;
  }
  return false;
}

void check_cookies(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("add_header")) {
      if (!ascii::iequals(header->arg(0), "Set-Cookie")) continue;
      // A cookie that another server made, or that a variable holds whole, brings its own flags.
      if (header->arg(1).find('$') < header->arg(1).find('=')) continue;
      std::vector<std::string> missing;
      for (const std::string_view flag : {"Secure", "HttpOnly", "SameSite"}) {
        if (!has_attribute(header->arg(1), flag)) missing.emplace_back(flag);
      }
      if (missing.empty()) continue;
      in.report("HDR-10", Level::kMedium, *header,
                fmt::format("the cookie is set without {}", join_some(missing)))
          .affected.push_back(in.model.route_of(scope));
    }
    for (const Directive* flags : scope.own_all("proxy_cookie_flags")) {
      for (std::size_t i = 1; i < flags->args.size(); ++i) {
        const std::string_view flag = flags->arg(i);
        if (flag != "nosecure" && flag != "nohttponly" && flag != "nosamesite") continue;
        in.report("HDR-10", Level::kMedium, *flags,
                  fmt::format("proxy_cookie_flags takes {} away from the upstream's cookies",
                              flag.substr(2)));
      }
    }
  }
}

void check_multiline(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.settings) {
      if (!header->is("add_header") && !header->is("more_set_headers")) continue;
      const auto broken = std::ranges::find_if(header->args, [](const Word& word) {
        return word.text.find_first_of("\r\n") != std::string_view::npos;
      });
      if (broken == header->args.end()) continue;
      in.report("HDR-11", Level::kLow, *header,
                "the value runs over several lines: nginx sends the line breaks as they are");
    }
  }
}

void check_content_type(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Directive* header : scope.own_all("add_header")) {
      if (!ascii::iequals(header->arg(0), "Content-Type")) continue;
      const std::vector<const Directive*> hidden = scope.effective_all("proxy_hide_header");
      const bool replaced = std::ranges::any_of(
          hidden, [](const Directive* d) { return ascii::iequals(d->arg(0), "Content-Type"); });
      if (replaced) continue;
      in.report("HDR-12", Level::kLow, *header,
                "add_header adds a second Content-Type: default_type or types sets the only one")
          .affected.push_back(in.model.route_of(scope));
    }
  }
}

constexpr RuleEntry kRules[] = {
    {"HDR-01", check_inheritance},
    {"HDR-02", check_always},
    {"HDR-03", check_nosniff},
    {"HDR-06", check_referrer},
    {"HDR-07", check_hsts_missing},
    {"HDR-08", check_hsts_weak},
    {"HDR-09", check_cached_authenticated},
    {"HDR-10", check_cookies},
    {"HDR-11", check_multiline},
    {"HDR-12", check_content_type},
};

}  // namespace

std::span<const RuleEntry> header_rules() { return kRules; }

}  // namespace merlon::audit::nginx
