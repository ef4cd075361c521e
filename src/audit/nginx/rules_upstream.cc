#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "audit/certificate.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

std::string hosts_text(const Hop& hop) {
  return hop.hosts.empty() ? hop.target.host : join_some(hop.hosts);
}

void check_cleartext(Inspection& in) {
  std::map<std::string, Finding*> reported;
  Finding* near = nullptr;
  for (const Hop& hop : hops(in)) {
    if (hop.is_tls || hop.distance == Distance::kLoopback || !hop.resolved) continue;
    if (!hop.pass->is("proxy_pass") && !hop.pass->is("grpc_pass")) continue;
    const std::string route = in.model.route_of(*hop.scope);
    if (hop.target.port == "443" || hop.target.port == "8443") {
      in.report("UPS-01", Level::kHigh, *hop.pass,
                fmt::format("http:// to port {} of {}: expected https://", hop.target.port,
                            hosts_text(hop)))
          .affected.push_back(route);
      continue;
    }
    if (hop.distance != Distance::kPublic) {
      // Names of a container network and private addresses: one remark for all of them.
      if (near == nullptr) {
        near = &in.report(
            "UPS-01", Level::kLow, *hop.pass,
            "requests go to upstreams of the private network in clear: expected TLS where the "
            "network is shared");
        near->confidence = Confidence::kPossible;
      }
      near->affected.push_back(fmt::format("{} -> {}", route, hosts_text(hop)));
      continue;
    }
    Finding*& finding = reported[hosts_text(hop)];
    if (finding == nullptr) {
      finding = &in.report(
          "UPS-01", Level::kMedium, *hop.pass,
          fmt::format("requests go to {} in clear: expected https:// with proxy_ssl_verify on",
                      hosts_text(hop)));
    }
    finding->affected.push_back(route);
  }
}

void check_unverified(Inspection& in) {
  std::map<std::pair<const Directive*, std::string>, Finding*> reported;
  const std::vector<KeySource> keys = key_sources(in.model);
  for (const Hop& hop : hops(in)) {
    if (!hop.is_tls) continue;
    // Of the hop that fetches the keys of tokens, JWT-05 speaks.
    if (std::ranges::find(keys, hop.scope->location, &KeySource::location) != keys.end()) continue;
    const Name verify = hop.pass->is("grpc_pass")    ? Name("grpc_ssl_verify")
                        : hop.pass->is("uwsgi_pass") ? Name("uwsgi_ssl_verify")
                                                     : Name("proxy_ssl_verify");
    const Directive* set = hop.scope->effective(verify);
    if (set != nullptr && set->arg(0) == "on") continue;
    const bool lost =
        hop.scope->incomplete || (hop.scope->parent != nullptr && hop.scope->parent->incomplete);
    if (set == nullptr && lost) {
      in.not_checked("UPS-02", "an include that may set proxy_ssl_verify could not be read");
      continue;
    }
    const bool far = hop.distance == Distance::kPublic || !hop.resolved;
    const Level level = hop.distance == Distance::kLoopback ? Level::kLow
                        : far                               ? Level::kHigh
                                                            : Level::kMedium;
    const Directive& at = set != nullptr ? *set : *hop.pass;
    const Server* server = in.model.server_of(*hop.scope);
    const auto key = std::make_pair(set != nullptr      ? set
                                    : server == nullptr ? hop.pass
                                                        : &server->at(),
                                    set != nullptr ? std::string{} : hosts_text(hop));
    Finding*& finding = reported[key];
    if (finding == nullptr) {
      finding = &in.report(
          "UPS-02", level, at,
          fmt::format("the certificate of {} is not verified{}: anyone on the way can answer for "
                      "it; expected {} on with a trusted certificate",
                      hosts_text(hop), set == nullptr ? ", which is nginx's default" : "",
                      verify.text));
    }
    finding->level = std::max(finding->level, level);
    finding->affected.push_back(in.model.route_of(*hop.scope));
  }
}

void check_server_name(Inspection& in) {
  for (const Hop& hop : hops(in)) {
    const bool grpc = hop.pass->is("grpc_pass");
    if (!hop.is_tls || (!grpc && !hop.pass->is("proxy_pass"))) continue;
    const Directive* verify =
        hop.scope->effective(grpc ? Name("grpc_ssl_verify") : Name("proxy_ssl_verify"));
    if (verify == nullptr || verify->arg(0) != "on") continue;
    const Name option = grpc ? Name("grpc_ssl_server_name") : Name("proxy_ssl_server_name");
    const Directive* sni = hop.scope->effective(option);
    if (sni != nullptr && sni->arg(0) == "on") continue;
    if (hop.distance == Distance::kLoopback) continue;
    if (sni == nullptr && hop.scope->may_inherit_unseen()) continue;
    in.report("UPS-03", Level::kMedium, sni != nullptr ? *sni : *verify,
              fmt::format("the upstream is not told which name is meant: it may show another "
                          "certificate; expected {} on",
                          option.text))
        .affected.push_back(in.model.route_of(*hop.scope));
  }
}

void check_weak_tls(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    for (const Name name :
         {Name("proxy_ssl_protocols"), Name("grpc_ssl_protocols"), Name("uwsgi_ssl_protocols")}) {
      const Directive* protocols = scope.own(name);
      if (protocols == nullptr) continue;
      const auto legacy = std::ranges::find_if(protocols->args, [](const Word& word) {
        return word.text == "SSLv2" || word.text == "SSLv3" || word.text == "TLSv1" ||
               word.text == "TLSv1.1";
      });
      if (legacy == protocols->args.end()) continue;
      Finding& finding = in.report(
          "UPS-04", Level::kMedium, *protocols,
          fmt::format("{} is offered to upstreams: expected TLSv1.2 TLSv1.3", legacy->text));
      finding.affected.push_back(in.model.route_of(scope));
      finding.fix = replace_statement(*protocols, fmt::format("{} TLSv1.2 TLSv1.3;", name.text));
    }
    const Directive* ciphers = scope.own("proxy_ssl_ciphers");
    if (ciphers == nullptr) continue;
    bool valid = false;
    const auto suites = expand_ciphers(std::string(ciphers->arg(0)), valid);
    const bool weak = std::ranges::any_of(suites, [](const Suite& s) {
      return s.null_cipher || s.anonymous || s.rc4 || s.triple_des || s.export_grade;
    });
    if (!weak) continue;
    in.report("UPS-04", Level::kMedium, *ciphers,
              "broken suites are offered to upstreams: expected HIGH:!aNULL:!MD5 or narrower");
  }
}

void check_resolver(Inspection& in) {
  for (const Scope& scope : in.model.scopes) {
    const Directive* resolver = scope.own("resolver");
    if (resolver == nullptr) continue;
    std::vector<std::string> far;
    for (const Word& word : resolver->args) {
      if (word.text.find('=') != std::string_view::npos) continue;
      const Target target = parse_target(word.text);
      const bool address = !target.host.empty() && (ascii::is_digit(target.host[0]) ||
                                                    target.host.find(':') != std::string::npos);
      if (address && distance_of(target.host) == Distance::kPublic) far.push_back(target.host);
    }
    if (far.empty()) continue;
    in.report("UPS-05", Level::kLow, *resolver,
              fmt::format("names of upstreams are asked of {} over the open network, unverified: "
                          "expected a local resolver that validates",
                          join_some(far)));
  }
}

/// Bits of randomness per byte, by the letters that occur.
double entropy(std::string_view text) {
  std::array<double, 256> count{};
  for (const char c : text) count[static_cast<unsigned char>(c)] += 1;
  double out = 0;
  for (const double n : count) {
    if (n > 0)
      out -= n / static_cast<double>(text.size()) * std::log2(n / static_cast<double>(text.size()));
  }
  return out;
}

bool is_placeholder(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), ascii::lower);
  for (const std::string_view word :
       {"changeme", "change_me", "change-me", "xxxx", "your", "example", "placeholder", "replace",
        "<", "{{", "insert", "todo", "dummy", "redacted", "****", "sample", "secret_here", "..."}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

bool looks_secret(std::string_view value) {
  constexpr std::size_t kLengthMin = 12;
  constexpr double kEntropyMin = 2.8;
  return value.size() >= kLengthMin && value.find('$') == std::string_view::npos &&
         value.find(' ') == std::string_view::npos && value.find('/') != 0 &&
         !is_placeholder(value) && entropy(value) >= kEntropyMin;
}

void report_secret(Inspection& in, const Directive& at, std::string what, std::string route) {
  if (is_kept_apart(in, at)) return;
  Finding& finding = in.report(
      "UPS-07", Level::kHigh, at,
      fmt::format("{} stands in the configuration: expected a file that only nginx reads", what));
  finding.hide_source = true;
  finding.affected.push_back(std::move(route));
}

void check_sent_credentials(Inspection& in) {
  each_upstream_header(in.model, [&](const Scope& scope, const Directive& header,
                                     std::string_view field) {
    std::string_view value = header.arg(1);
    if (field.ends_with("authorization")) {
      const std::size_t blank = value.find(' ');
      if (blank == std::string_view::npos) return;
      value = value.substr(blank + 1);
      const bool real =
          value.size() >= 8 && value.find('$') == std::string_view::npos && !is_placeholder(value);
      if (!real) return;
      return report_secret(in, header, "a credential for the upstream", in.model.route_of(scope));
    }
    const bool secret =
        field.find("api-key") != std::string::npos || field.find("apikey") != std::string::npos ||
        field.find("token") != std::string::npos || field.find("secret") != std::string::npos ||
        field.find("password") != std::string::npos;
    if (!secret || !looks_secret(value)) return;
    report_secret(in, header, fmt::format("the secret of {}", header.arg(0)),
                  in.model.route_of(scope));
  });
}

/// if ($http_x_api_key != "…"): the key itself stands there.
void check_compared_credentials(Inspection& in) {
  for (const Directive& condition : in.model.tree.directives) {
    if (!condition.is("if") || condition.args.size() < 3) continue;
    const bool exact = std::ranges::any_of(
        condition.args, [](const Word& word) { return word.text == "=" || word.text == "!="; });
    if (!exact) continue;  // a pattern says how a key looks, not what it is
    const std::string_view variable = if_variable(condition);
    const bool keys = variable.starts_with("$http_") &&
                      (variable.find("key") != std::string_view::npos ||
                       variable.find("token") != std::string_view::npos ||
                       variable.find("secret") != std::string_view::npos ||
                       variable.find("authorization") != std::string_view::npos);
    if (!keys) continue;
    for (const Word& word : condition.args) {
      std::string_view value = word.text;
      if (value.ends_with(')')) value.remove_suffix(1);
      for (const std::string_view scheme : {"Bearer ", "Basic "}) {
        if (value.starts_with(scheme)) value.remove_prefix(scheme.size());
      }
      if (!looks_secret(value)) continue;
      const auto scope = in.model.scope_of_block.find(&condition);
      report_secret(
          in, condition, fmt::format("the secret that {} is compared with", variable),
          scope == in.model.scope_of_block.end() ? "" : in.model.route_of(*scope->second));
      break;
    }
  }
}

/// What signs links: nginx has no other place for it than its configuration, but a file of its own.
void check_link_secrets(Inspection& in) {
  constexpr std::size_t kLengthMin = 6;
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("secure_link_md5"), Name("secure_link_secret")}) {
      const Directive* link = scope.own(name);
      if (link == nullptr) continue;
      const std::string_view text = link->arg(0);
      const std::vector<VariableUse> uses = variables_in(text);
      const std::size_t from = uses.empty() ? 0 : uses.back().at + uses.back().length;
      const std::string_view secret = ascii::trim_ows(text.substr(from));
      if (secret.size() < kLengthMin || is_placeholder(secret)) continue;
      if (is_kept_apart(in, *link)) continue;
      Finding& finding = in.report(
          "UPS-07", Level::kMedium, *link,
          "the secret that signs links stands among the rules: expected an included file that only "
          "nginx reads");
      finding.hide_source = true;
      finding.affected.push_back(in.model.route_of(scope));
    }
  }
}

void check_credentials(Inspection& in) {
  check_sent_credentials(in);
  check_compared_credentials(in);
  check_link_secrets(in);
  for (const Directive& map : in.model.tree.directives) {
    if (!map.is("map") || !map.is_block) continue;
    std::string source(map.arg(0));
    const bool keys = source.find("api_key") != std::string::npos ||
                      source.find("apikey") != std::string::npos ||
                      source.find("http_authorization") != std::string::npos ||
                      source.find("_token") != std::string::npos;
    if (!keys) continue;
    for (const Directive* entry : map.body) {
      std::string_view key = entry->name.text;
      if (key.starts_with("Bearer ") || key.starts_with("Basic "))
        key = key.substr(key.find(' ') + 1);
      if (key.starts_with('~') || key == "default" || !looks_secret(key)) continue;
      report_secret(in, *entry, "an API key", fmt::format("map {}", map.arg(1)));
      break;
    }
  }
}

/// The scopes that set `root`, by its folder without a slash at the end.
std::multimap<std::string_view, const Scope*> served_folders(const Model& model) {
  std::multimap<std::string_view, const Scope*> out;
  for (const Scope& scope : model.scopes) {
    const Directive* root = scope.own("root");
    if (root == nullptr || root->arg(0).size() < 2) continue;
    std::string_view folder = root->arg(0);
    if (folder.ends_with('/')) folder.remove_suffix(1);
    out.emplace(folder, &scope);
  }
  return out;
}

/// True when a request for `path` reads the file of that name below the root of `scope`.
bool is_served(const Inspection& in, const Scope& scope, const std::string& path) {
  // Debian's own rule and the common one keep names that start with ".ht" or "." away.
  const Server* server = in.model.server_of(scope);
  const Location* location = server == nullptr ? nullptr : in.model.match(*server, path);
  return location == nullptr ||
         (!is_denied_to_all(*location->scope) && pass_of(*location->scope) == nullptr);
}

void check_password_file(Inspection& in, const Directive& file,
                         const std::multimap<std::string_view, const Scope*>& roots) {
  const std::string_view name = file.arg(0);
  for (std::size_t end = name.rfind('/'); end != 0 && end != std::string_view::npos;
       end = name.rfind('/', end - 1)) {
    const std::string path(name.substr(end));
    const auto [first, last] = roots.equal_range(name.substr(0, end));
    for (auto at = first; at != last; ++at) {
      if (!is_served(in, *at->second, path)) continue;
      const Directive& root = *at->second->own("root");
      Finding& finding = in.report(
          "UPS-07", Level::kHigh, file,
          fmt::format("the password file lies under {}, from which files are served", root.arg(0)));
      finding.evidence = fmt::format("GET {} reads it", path);
      finding.trail.push_back({root.mark(), "served from here"});
      return;
    }
  }
}

void check_password_file_place(Inspection& in) {
  const auto roots = served_folders(in.model);
  for (const Scope& scope : in.model.scopes) {
    const Directive* file = scope.own("auth_basic_user_file");
    if (file != nullptr && file->arg(0).starts_with('/')) check_password_file(in, *file, roots);
  }
}

constexpr RuleEntry kRules[] = {
    {"UPS-01", check_cleartext},
    {"UPS-02", check_unverified},
    {"UPS-03", check_server_name},
    {"UPS-04", check_weak_tls},
    {"UPS-05", check_resolver},
    {"UPS-07", check_credentials},
    {"UPS-07", check_password_file_place},
};

}  // namespace

std::span<const RuleEntry> upstream_rules() { return kRules; }

}  // namespace merlon::audit::nginx
