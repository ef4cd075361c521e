#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "audit/envoy/rules.h"
#include "base/base64.h"

// What makes a token good: its issuer, its audience, its keys, its end, and where it is taken from.
namespace merlon::audit::envoy {
namespace {

template <class F>
void each_provider_of(const Message& jwt, F&& visit) {
  const Message providers = jwt.message("providers");
  if (!providers) return;
  for (const config::Member& one : providers.node()->members()) {
    visit(one.key, Message(one.value));
  }
}

template <class F>
void each_provider(const Inspection& in, F&& visit) {
  each_filter(in, "jwt_authn", [&](const Hcm&, std::size_t, const Message& config) {
    each_provider_of(config, visit);
  });
}

/// Providers whose tokens are asked for with audiences only: those stand in place of the provider's
/// own.
std::set<std::string_view> asked_with_audiences(const Message& jwt) {
  std::set<std::string_view> with;
  std::set<std::string_view> without;
  walk(*jwt.node(), [&](const Node& node) {
    const Message at(node);
    if (!at.has("provider_name")) return;
    (at.list("audiences").empty() ? without : with).insert(at.text("provider_name"));
  });
  std::erase_if(with, [&](std::string_view name) { return without.contains(name); });
  return with;
}

void check_claims(Inspection& in) {
  each_filter(in, "jwt_authn", [&](const Hcm&, std::size_t, const Message& config) {
    const auto with_audiences = asked_with_audiences(config);
    each_provider_of(config, [&](const Node& name, const Message& provider) {
      const bool issuer = !provider.text("issuer").empty();  // Envoy takes "" for none
      const bool audience =
          !provider.list("audiences").empty() || with_audiences.contains(name.text());
      if (issuer && audience) return;
      in.report("JWT-03", Level::kHigh, name.at(),
                fmt::format("tokens of provider {} are taken whatever their {}", name.text(),
                            audience ? "issuer"
                            : issuer ? "audience"
                                     : "issuer and audience"));
    });
  });
}

/// The key set in field `key` of a DataSource; "" when that cannot be read.
std::string key_set(const Message& source, std::string_view key) {
  std::string text(source.text(key));
  if (key != "inline_bytes") return text;
  return base64_decode(text).value_or("");
}

void check_keys(Inspection& in) {
  each_provider(in, [&](const Node& name, const Message& provider) {
    const Message local = provider.message("local_jwks");
    const std::string_view field = local.has("inline_bytes") ? "inline_bytes" : "inline_string";
    std::string keys = key_set(local, field);
    std::erase_if(keys, [](char c) { return c == ' ' || c == '\n' || c == '\\'; });
    if (keys.empty()) return;
    if (keys.find("\"kty\":\"oct\"") != std::string::npos) {
      Finding& finding = in.report(
          "JWT-04", Level::kCritical, local.at(field),
          fmt::format("provider {} verifies with a shared secret that stands here: whoever reads "
                      "it signs tokens",
                      name.text()));
      finding.hide_source = true;
      return;
    }
    const std::size_t modulus = keys.find("\"n\":\"");
    if (modulus == std::string::npos) return;
    const std::size_t length = keys.find('"', modulus + 5);
    constexpr std::size_t kCharsOf2048Bits = 341;
    if (length == std::string::npos || length - modulus - 5 >= kCharsOf2048Bits) return;
    in.report("JWT-04", Level::kCritical, local.at(field),
              fmt::format("the RSA key of provider {} has fewer than 2048 bits", name.text()));
  });
}

bool is_inside(const Cluster* cluster) {
  return cluster != nullptr && !cluster->endpoints.empty() &&
         std::ranges::all_of(cluster->endpoints,
                             [](const Upstream& one) { return is_private(one.host); });
}

/// Providers whose keys come through one cluster that cannot be trusted: one cause, one finding.
struct Fetch {
  Mark at;
  std::vector<std::string> providers;
};

void check_key_fetch(Inspection& in) {
  std::map<const Cluster*, Fetch> unverified;
  each_provider(in, [&](const Node& name, const Message& provider) {
    const Message uri = provider.path("remote_jwks.http_uri");
    const Cluster* cluster = in.model.cluster(uri.text("cluster"));
    if (!uri || (cluster != nullptr && (cluster->is_local() || cluster->transport_unknown))) return;
    // The cluster decides whether TLS is spoken; the scheme says so only where that one is unknown.
    const bool http = uri.text("uri").starts_with("http://");
    const bool tls = cluster == nullptr ? !http : cluster->tls != nullptr;
    if (tls && (cluster == nullptr || verifies_peer(*cluster->tls))) return;
    if (!http) {
      Fetch& fetch = unverified[cluster];
      if (fetch.providers.empty()) fetch.at = uri.at("cluster");
      fetch.providers.emplace_back(name.text());
      return;
    }
    Finding& finding = in.report(
        "JWT-05", is_inside(cluster) ? Level::kMedium : Level::kHigh, uri.at("uri"),
        fmt::format("the keys of provider {} come {}: who sits between can sign tokens",
                    name.text(), tls ? "from a cluster that is not verified" : "in clear"));
    if (cluster != nullptr) finding.trail.push_back({cluster->at.at(), "the cluster in question"});
  });
  for (auto& [cluster, fetch] : unverified) {
    const auto names = sorted(std::move(fetch.providers));
    const bool clear = cluster->tls == nullptr;
    Finding& finding =
        in.report("JWT-05", clear && is_inside(cluster) ? Level::kMedium : Level::kHigh, fetch.at,
                  fmt::format("the keys of provider {} come {}: who sits between can sign tokens",
                              join_some(names),
                              clear ? "in clear: the cluster has no TLS"
                                    : "from a cluster that is not verified: it has no trusted_ca"));
    finding.trail.push_back({cluster->at.at(), "the cluster in question"});
  }
}

void check_query(Inspection& in) {
  each_provider(in, [&](const Node& name, const Message& provider) {
    if (provider.list("from_params").empty()) return;
    in.report("JWT-06", Level::kHigh, provider.at("from_params"),
              fmt::format("provider {} takes tokens from the query: they end up in logs and "
                          "histories",
                          name.text()));
  });
  const auto judge = [&](const Message& config) {
    for (const Node& one : config.list("key_sources")) {
      if (!Message(one).has("query")) continue;
      in.report("JWT-06", Level::kHigh, Message(one).at("query"),
                "API keys are taken from the query: they end up in logs and histories");
    }
  };
  each_filter(in, "api_key_auth", [&](const Hcm& hcm, std::size_t place, const Message& config) {
    judge(config);
    std::set<const Node*> seen;
    for (const Route* route : hcm.all_routes()) {
      const Message own = override_of(*route, hcm.filters[place]).config;
      if (own && seen.insert(own.node()).second) judge(own);
    }
  });
}

void check_expiry(Inspection& in) {
  constexpr std::uint64_t kSkewMaxSeconds = 300;
  each_provider(in, [&](const Node& name, const Message& provider) {
    const auto skew = provider.number("clock_skew_seconds");
    if (skew.value_or(0) > kSkewMaxSeconds) {
      in.report("JWT-07", Level::kMedium, provider.at("clock_skew_seconds"),
                fmt::format("tokens of provider {} are good for {} s after they expired",
                            name.text(), *skew));
    } else if (!provider.is_true("require_expiration") && !provider.has("max_lifetime")) {
      in.report("JWT-07", Level::kLow, name.at(),
                fmt::format("tokens of provider {} need not expire: expected require_expiration",
                            name.text()))
          .confidence = Confidence::kLikely;
    }
  });
}

constexpr RuleEntry kRules[] = {{"JWT-03", check_claims},
                                {"JWT-04", check_keys},
                                {"JWT-05", check_key_fetch},
                                {"JWT-06", check_query},
                                {"JWT-07", check_expiry}};

}  // namespace

std::span<const RuleEntry> token_rules() { return kRules; }

}  // namespace merlon::audit::envoy
