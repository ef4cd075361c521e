#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "audit/certificate.h"
#include "audit/nginx/header_view.h"
#include "audit/nginx/rules.h"
#include "audit/nginx/upstream_view.h"
#include "audit/words.h"
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
  const bool address =
      value.starts_with('/') || value.starts_with("urn:") || value.find("://") != value.npos;
  return value.size() >= kLengthMin && !address &&
         value.find_first_of("$ ") == std::string_view::npos && !is_placeholder(value) &&
         entropy(value) >= kEntropyMin;
}

/// The finding; nullptr when the secret stands in a file of its own.
Finding* report_secret(Inspection& in, const Directive& at, std::string what, std::string route) {
  if (is_kept_apart(in, at)) return nullptr;
  Finding& finding = in.report(
      "UPS-07", Level::kHigh, at,
      fmt::format("{} stands in the configuration: expected a file that only nginx reads", what));
  finding.hide_source = true;
  finding.affected.push_back(std::move(route));
  return &finding;
}

/// What a header may say, and the directive that its constant part stands in.
struct Value {
  const Directive* at;
  std::string text;
};

/// Texts that one audit makes of what headers hold: maps can be long, and many headers name them.
constexpr std::size_t kValuesMax = 200'000;

/// What `header` gives as it is written, and with each of its variables replaced by what `set` and
/// maps give it; `made` counts them.
std::vector<Value> values_of(const Inspection& in, const Scope& scope, const Directive& header,
                             std::size_t& made) {
  const std::string_view text = header.arg(1);
  std::vector<Value> out{{&header, std::string(text)}};
  for (const VariableUse& use : variables_in(text)) {
    const auto add = [&](const Directive& from, std::string_view inner) {
      if (++made > kValuesMax) return;
      out.push_back({&from, fmt::format("{}{}{}", text.substr(0, use.at), inner,
                                        text.substr(use.at + use.length))});
    };
    const Directive* map = in.variables.map_of(use.name);
    if (map != nullptr && map->is("map")) {
      for (const Directive* entry : map->body) add(*entry, entry->arg(0));
    }
    for (const Variables::SetAt& one : in.variables.sets_before(use.name, scope)) {
      if (one.set->is("set")) add(*one.set, one.set->arg(1));
    }
  }
  return out;
}

/// True for "Basic Zm9v…" and its like: a scheme, and behind it what proves who is asking.
bool is_written_credential(std::string_view value) {
  constexpr std::size_t kLengthMin = 8;
  const std::size_t blank = value.find(' ');
  if (blank == std::string_view::npos) return false;
  value.remove_prefix(blank + 1);
  return value.size() >= kLengthMin && value.find('$') == std::string_view::npos &&
         !is_placeholder(value);
}

void check_sent_credentials(Inspection& in) {
  std::set<const Directive*> reported;
  std::size_t made = 0;
  each_upstream_header(in.model, [&](const Scope& scope, const Directive& header,
                                     std::string_view field) {
    const bool credential = field.ends_with("authorization");
    if (!credential && !names_secret(field)) return;
    for (const Value& value : values_of(in, scope, header, made)) {
      const bool real = credential ? is_written_credential(value.text) : looks_secret(value.text);
      if (!real || !reported.insert(value.at).second) continue;
      Finding* finding = report_secret(in, *value.at,
                                       credential ? "a credential for the upstream"
                                                  : fmt::format("the secret of {}", header.arg(0)),
                                       in.model.route_of(scope));
      if (finding == nullptr || value.at == &header) continue;
      finding->trail.push_back({header.mark(), "it is sent from here"});
    }
  });
  if (made > kValuesMax) in.not_checked("UPS-07", "the headers name too many values of maps");
}

/// if ($http_x_api_key != "…"): the key itself stands there.
void check_compared_credentials(Inspection& in) {
  for (const Directive& condition : in.model.tree.directives) {
    if (!condition.is("if") || condition.args.size() < 3) continue;
    const bool exact = std::ranges::any_of(
        condition.args, [](const Word& word) { return word.text == "=" || word.text == "!="; });
    if (!exact) continue;  // a pattern says how a key looks, not what it is
    const std::string_view variable = if_variable(condition);
    const bool keys =
        names_secret(variable) || has_word(variable, {"key", "*keys", "authorization"});
    if (!variable.starts_with("$http_") || !keys) continue;
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
    const bool keys = std::ranges::any_of(variables_in(map.arg(0)), [](const VariableUse& use) {
      return names_secret(use.name) || use.name == "http_authorization";
    });
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

/// The root and alias directives, by their folders without a slash at the end.
std::multimap<std::string, const Directive*> served_folders(const Inspection& in) {
  std::multimap<std::string, const Directive*> out;
  for (const Scope& scope : in.model.scopes) {
    for (const Name name : {Name("root"), Name("alias")}) {
      const Directive* root = scope.own(name);
      std::string folder = root == nullptr ? std::string{} : named_folder(in, *root);
      if (folder.ends_with('/')) folder.pop_back();
      if (!folder.empty()) out.emplace(std::move(folder), root);
    }
  }
  return out;
}

void check_password_file(Inspection& in, const Directive& file,
                         const std::multimap<std::string, const Directive*>& roots) {
  const std::string_view name = file.arg(0);
  for (std::size_t end = name.rfind('/'); end != 0 && end != std::string_view::npos;
       end = name.rfind('/', end - 1)) {
    const auto [first, last] = roots.equal_range(std::string(name.substr(0, end)));
    for (auto at = first; at != last; ++at) {
      const Directive& root = *at->second;
      if (!serves_file(in, root, name)) continue;
      Finding& finding = in.report(
          "UPS-07", Level::kHigh, file,
          fmt::format("the password file lies under {}, from which files are served", root.arg(0)));
      if (root.is("root")) finding.evidence = fmt::format("GET {} reads it", name.substr(end));
      finding.trail.push_back({root.mark(), "served from here"});
      return;
    }
  }
}

void check_password_file_place(Inspection& in) {
  const auto roots = served_folders(in);
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
