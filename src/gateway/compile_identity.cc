#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/ascii.h"
#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "policy/authenticate.h"
#include "policy/authorize.h"
#include "policy/client_certificate.h"

namespace merlon::gateway {
namespace {

using config::shown;
using policy::AuthConfig;
using policy::claim_pointer;

constexpr std::size_t kSuggestionsMax = 100;  // each compares with every name

struct OwnClaim {
  std::string_view name;
  IdentityField::Source source;
};
/// What every identity has, whatever proved it.
constexpr OwnClaim kOwnClaims[] = {
    {"sub", IdentityField::Source::kSubject},
    {"client_id", IdentityField::Source::kClientId},
    {"scope", IdentityField::Source::kScopes},
};

const OwnClaim* own_claim(std::string_view name) {
  const auto* found = std::ranges::find(kOwnClaims, name, &OwnClaim::name);
  return found == std::end(kOwnClaims) ? nullptr : found;
}

/// The claims that routes ask of a provider, as sorted JSON Pointers.
std::vector<std::string> claims_asked(const Config& config, std::string_view provider) {
  std::set<std::string> pointers;
  for (const RouteConfig& route : config.routes) {
    const auto* named = route.auth.provider();
    if (named == nullptr || **named != provider) continue;
    for (const auto& [claim, values] : route.auth.claims) pointers.insert(claim_pointer(claim));
    for (const auto& claim : route.forward.identity) {
      if (own_claim(*claim) == nullptr) pointers.insert(claim_pointer(*claim));
    }
  }
  return {pointers.begin(), pointers.end()};
}

/// "tenant_id" as "X-Merlon-Identity-Tenant-Id".
std::string field_name_for(std::string_view claim) {
  std::string name = "X-Merlon-Identity-";
  bool begins = true;
  for (const char c : claim) {
    const char out = c == '_' ? '-' : ascii::lower(c);
    name += begins && out >= 'a' && out <= 'z' ? static_cast<char>(out - ('a' - 'A')) : out;
    begins = out == '-';
  }
  return name;
}

void compile_forward(const RouteConfig& config, const identity::Provider* provider, Route& route,
                     CompileContext& context) {
  std::set<std::string> seen;
  for (const Located<std::string>& claim : config.forward.identity) {
    IdentityField field{.name = field_name_for(*claim)};
    if (!seen.insert(field.name).second) {
      context.reader.error(claim.at, fmt::format("{} is set twice", field.name));
    }
    if (const OwnClaim* own = own_claim(*claim)) {
      field.source = own->source;
    } else if (provider != nullptr && provider->takes_tokens()) {
      field.claim = provider->claim_number(claim_pointer(*claim));
    } else {
      context.reader.error(claim.at,
                           "only tokens have other claims than `sub`, `client_id` and `scope`");
    }
    route.identity_fields.push_back(std::move(field));
  }
}

identity::Provider::Kind asked_kind(const AuthConfig& auth) {
  using Kind = identity::Provider::Kind;
  if (auth.jwt.has_value()) return Kind::kTokens;
  return auth.introspect.has_value() ? Kind::kOpaqueTokens : Kind::kApiKeys;
}

const char* right_word(identity::Provider::Kind kind) {
  switch (kind) {
    case identity::Provider::Kind::kTokens:
      return "this is an issuer of tokens: name it as `jwt`";
    case identity::Provider::Kind::kOpaqueTokens:
      return "its tokens are introspected: name it as `introspect`";
    case identity::Provider::Kind::kApiKeys:
      return "these are API keys: name them as `api_key`";
  }
  return "";
}

/// The provider of this name that is in force; null when none is to be kept.
std::shared_ptr<const identity::Provider> in_force(std::string_view name,
                                                   const CompileContext& context) {
  if (context.in_force == nullptr) return nullptr;
  const auto& all = context.in_force->providers;
  const auto found =
      std::ranges::find_if(all, [&](const auto& provider) { return provider->name() == name; });
  return found == all.end() ? nullptr : *found;
}

/// At a start a file that cannot be used closes its own routes (503) and is a warning; later it
/// leaves what is in force.
std::shared_ptr<const identity::Provider> load_or_close(const std::string& name,
                                                        const identity::ProviderConfig& from,
                                                        std::vector<std::string> claims,
                                                        CompileContext& context) {
  Diagnostics findings;
  auto before = in_force(name, context);
  auto provider =
      identity::Provider::load(name, from, claims, context.broker, findings, before.get());
  const bool close = provider == nullptr && context.bad_certificate == BadCertificate::kClose;
  Diagnostics told;
  for (Diagnostic finding : findings.all()) {
    if (close && finding.severity == Severity::kError) {
      finding.message += fmt::format("; routes that ask for {} are closed", shown(name));
    }
    told.add(std::move(finding));
  }
  pass_on(told, false, context);
  if (provider == nullptr && before != nullptr) return before;
  return close ? identity::Provider::closed(name, from, std::move(claims)) : provider;
}

/// Keys are fetched once for all entries with one issuer: were they to trust others for it, one
/// entry's trust would be in force for all of them.
void judge_shared_sources(const Config& config, const Providers& providers,
                          CompileContext& context) {
  std::map<std::uint64_t, const identity::Provider*> seen;  // by LiveKeys::id
  for (const auto& [name, provider] : providers) {
    if (provider == nullptr || provider->key_source() == nullptr) continue;
    const identity::KeySource& source = *provider->key_source();
    const identity::Provider* first =
        seen.try_emplace(source.live->id(), provider.get()).first->second;
    if (source.same_as(*first->key_source())) continue;
    Diagnostics finding;
    finding.error(config.identity.at(name).at,
                  fmt::format("{} has the same issuer, but different `tls`, `hosts` or `stale_for`",
                              shown(first->name())),
                  "make them the same: its keys are fetched once for both");
    // Two copies of one file of authorities are not replaced at the same moment: no reason to take
    // nothing else until then.
    if (context.bad_certificate == BadCertificate::kKeep) {
      pass_on(finding, false, context);
    } else {
      context.reader.diagnostics().add(finding.all().front());
    }
  }
}

std::string_view nearest_identity(std::string_view word, const CompileContext& context) {
  std::vector<std::string_view> known;
  if (const config::Node* const all = context.root.find("identity")) {
    for (const config::Member& member : all->members()) known.push_back(member.key.text());
  }
  return nearest(word, known);
}

/// Those under `identity` that routes name with a slip of the pen: that is one error, and none is
/// unused.
std::set<std::string_view> meant_by_slips(const Config& config, const CompileContext& context) {
  std::set<std::string_view> meant;
  std::set<std::string_view> unknown;
  for (const RouteConfig& route : config.routes) {
    const auto* const named = route.auth.provider();
    if (named == nullptr || config.identity.contains(**named)) continue;
    if (unknown.size() == kSuggestionsMax || !unknown.insert(**named).second) continue;
    meant.insert(nearest_identity(**named, context));
  }
  return meant;
}

}  // namespace

void judge_certificates_asked(const Config& config,
                              const std::vector<ListenerCertificates>& certificates,
                              bool api_in_clear, CompileContext& context) {
  // What is in force was judged when it was taken.
  if (context.in_force != nullptr) return;
  const bool nowhere = std::ranges::all_of(
      certificates, [](const ListenerCertificates& all) { return all.asking.empty(); });
  const std::string_view where = nowhere ? "" : " under a name of this route";
  for (const RouteConfig& route : config.routes) {
    const bool wanted = route.auth.client_cert.has_value();
    if (!wanted && !route.forward.client_cert) continue;
    std::vector<const Located<std::string>*> unasked;
    for (const Located<std::string>& host : route.match.hosts) {
      const bool asked = std::ranges::any_of(
          certificates, [&](const ListenerCertificates& all) { return all.ask_for(*host); });
      if (!asked) unasked.push_back(&host);
    }
    if (unasked.size() < route.match.hosts.size()) {
      // Of a host that no certificate carries, that is what is said.
      for (const Located<std::string>* host : unasked) {
        const bool known = api_in_clear || std::ranges::any_of(certificates, [&](const auto& all) {
                             return all.covers(**host);
                           });
        if (!wanted || !known) continue;
        context.reader.error(host->at,
                             fmt::format("no listener asks clients of {} for certificates, so "
                                         "nobody gets in there",
                                         shown(**host)),
                             "give its certificate `client_auth`, or take the host off the route");
      }
    } else if (wanted) {
      context.reader.error(
          route.auth.client_cert->at,
          fmt::format("no listener asks clients for certificates{}, so nobody gets in", where),
          "give one `client_auth` under its `tls`");
    } else {
      context.reader.error(
          route.forward.at,
          fmt::format("no listener asks clients for certificates{}: there is none to forward",
                      where));
    }
  }
}

Providers compile_providers(const Config& config, const RawNames& names, CompileContext& context) {
  const config::Reader::Step step(context.reader, "identity");
  Providers providers;
  const std::set<std::string_view> meant = meant_by_slips(config, context);
  for (const auto& [name, from] : config.identity) {
    const config::Reader::Step here(context.reader, name);
    const bool used = std::ranges::any_of(config.routes, [&](const RouteConfig& route) {
      const auto* named = route.auth.provider();
      return named != nullptr && **named == name;
    });
    if (!used && meant.contains(name)) continue;
    if (!used && !names.all_routes_read) continue;  // one that could not be read may ask for it
    if (!used) {
      context.reader.error(from.at, fmt::format("no route asks for {}", shown(name)),
                           "remove it, or name it in the `auth` of a route");
      continue;
    }
    providers[name] = load_or_close(name, from, claims_asked(config, name), context);
  }
  judge_shared_sources(config, providers, context);
  return providers;
}

void compile_auth(const RouteConfig& config, const Providers& providers, Route& route,
                  CompileContext& context) {
  const AuthConfig& auth = config.auth;
  const auto* named = auth.provider();
  if (auth.client_cert.has_value()) {
    route.policies.push_back(
        std::make_unique<policy::CertificateCheck>(*auth.client_cert, named == nullptr));
  }
  if (named == nullptr && auth.client_cert.has_value()) {
    compile_forward(config, nullptr, route, context);
    return;
  }
  if (named == nullptr) {
    if (!config.forward.identity.empty()) {
      context.reader.error(config.forward.identity.front().at,
                           "there is no identity on this route: `auth` asks for nothing");
    }
    return;
  }
  const auto found = providers.find(**named);
  if (found == providers.end()) {
    const config::Node* all = context.root.find("identity");
    if (all != nullptr && all->find(**named) != nullptr) return;  // it could not be read
    const std::string_view near = nearest_identity(**named, context);
    context.reader.error(named->at,
                         fmt::format("nothing under `identity` is named {}", shown(**named)),
                         near.empty() ? "" : fmt::format("did you mean `{}`?", near));
    return;
  }
  if (found->second == nullptr) return;
  const identity::Provider& provider = *found->second;
  if (provider.kind() != asked_kind(auth)) {
    context.reader.error(named->at, right_word(provider.kind()));
    return;
  }
  if (config.forward.authorization && !provider.takes_tokens()) {
    context.reader.error(config.forward.at,
                         "this route uses API keys, which are never forwarded to the upstream");
  }
  route.provider = provider.name();
  route.policies.push_back(std::make_unique<policy::Authenticate>(found->second, named->at));
  if (!auth.scopes.empty() || !auth.claims.empty()) {
    route.policies.push_back(std::make_unique<policy::Authorize>(auth, provider));
  }
  compile_forward(config, &provider, route, context);
}

}  // namespace merlon::gateway
