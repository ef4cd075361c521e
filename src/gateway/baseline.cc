#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "config/catalogue.h"
#include "config/shown.h"
#include "config/waivers.h"
#include "gateway/compile_parts.h"

/// The rules of the baseline: what a configuration may not do without a waiver, or at all.
namespace merlon::gateway {
namespace {

using config::Reader;
using config::shown;

bool is_everyone(const std::vector<Located<Cidr>>& blocks) {
  return has_everyone(config::values_of(blocks));
}

/// A block that lies in another changes nothing.
void judge_overlaps(const std::vector<Located<Cidr>>& blocks, CompileContext& context) {
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t j = 0; j < blocks.size(); ++j) {
      if (i == j || !blocks[j]->covers(*blocks[i])) continue;
      if (*blocks[j] == *blocks[i] && j > i) continue;
      context.reader.error(blocks[i].at,
                           fmt::format("{} changes nothing: {} contains it already",
                                       blocks[i]->to_string(), blocks[j]->to_string()),
                           "remove it");
      break;
    }
  }
}

void judge_allow_from(const ListenerConfig& listener, CompileContext& context) {
  if (is_everyone(listener.allow_from)) {
    context.reader.error(listener.allow_from.front().at,
                         "`allow_from` covers every address, so it limits nothing",
                         "leave it out, or name the networks that may connect");
  }
  judge_overlaps(listener.allow_from, context);
}

/// Where each connection begins with a PROXY header, those of others than trusted proxies end.
void judge_proxies_allowed(const ListenerConfig& listener,
                           const std::vector<Located<Cidr>>& trusted, CompileContext& context) {
  for (const Located<Cidr>& block : listener.allow_from) {
    const bool may_hold_one = std::ranges::any_of(trusted, [&](const Located<Cidr>& proxies) {
      return block->covers(*proxies) || proxies->covers(*block);
    });
    if (may_hold_one) continue;
    context.reader.error(block.at,
                         fmt::format("{} lets nobody in: it contains none of `trusted_proxies`, "
                                     "and `proxy_protocol` trusts no others",
                                     block->to_string()),
                         "name the addresses of the proxies in both");
  }
}

/// Nobody gets in without a certificate, whatever name they ask for.
bool demands_certificates(const ListenerConfig& listener) {
  return listener.tls.has_value() && listener.tls->client_auth.has_value() &&
         listener.tls->client_auth->required &&
         std::ranges::none_of(listener.tls->certificates, [](const tls::CertificateFiles& files) {
           return files.client_auth.has_value() && !files.client_auth->required;
         });
}

void judge_exposure(const ListenerConfig& listener, CompileContext& context) {
  const bool loopback = listener.address->address.is_loopback();
  if (listener.serves(Served::kApi) && !listener.tls.has_value() && !loopback) {
    static_cast<void>(context.reader.require_waived(
        "cleartext-listener", listener.at,
        fmt::format("the listener {} serves the API without TLS on an address that is not loopback",
                    shown(listener.name))));
  }
  const bool status = listener.serves(Served::kHealth) || listener.serves(Served::kMetrics);
  if (status && !loopback && listener.allow_from.empty() && !demands_certificates(listener)) {
    static_cast<void>(context.reader.require_waived(
        "status-page-exposed", listener.serve.at,
        "`health` and `metrics` need `allow_from`, client certificates or a loopback address"));
  }
}

/// Some route looks at client certificates: by their names, for the upstream, or because tokens may
/// be bound to them (RFC 8705).
bool looks_at_certificates(const RouteConfig& route) {
  return route.auth.client_cert.has_value() || route.auth.jwt.has_value() ||
         route.auth.introspect.has_value() || route.forward.client_cert;
}

void judge_optional_certificates(const ListenerConfig& listener, bool somebody_looks,
                                 CompileContext& context) {
  if (!listener.tls.has_value() || somebody_looks) return;
  const auto judge = [&](const std::optional<tls::ClientAuthFiles>& asked) {
    if (!asked.has_value() || asked->required) return;
    static_cast<void>(context.reader.require_waived(
        "mtls-optional", asked->at,
        "client certificates are requested but optional, and no route looks at them"));
  };
  const Reader::Step step(context.reader, "tls");
  {
    const Reader::Step here(context.reader, "client_auth");
    judge(listener.tls->client_auth);
  }
  const Reader::Step certificates(context.reader, "certificates");
  for (const tls::CertificateFiles& files : listener.tls->certificates) judge(files.client_auth);
}

/// One address that the gateway binds, with its place.
struct Bound {
  Endpoint endpoint;
  Mark at;
};

std::vector<Bound> bound_addresses(const Config& config) {
  std::vector<Bound> all;
  for (const ListenerConfig& listener : config.listeners) {
    all.push_back({.endpoint = *listener.address, .at = listener.address.at});
    if (!listener.redirect_from.has_value()) continue;
    all.push_back(
        {.endpoint = {.address = listener.address->address, .port = **listener.redirect_from},
         .at = listener.redirect_from->at});
  }
  if (config.admin.address.has_value()) {
    all.push_back({.endpoint = **config.admin.address, .at = config.admin.address->at});
  }
  return all;
}

void judge_collisions(const Config& config, CompileContext& context) {
  const std::vector<Bound> all = bound_addresses(config);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const Endpoint& one = all[i].endpoint;
      const Endpoint& other = all[j].endpoint;
      if (one != other && !covers(one, other) && !covers(other, one)) continue;
      const bool both_families = one.address.is_v6() != other.address.is_v6();
      context.reader.error(
          all[i].at, fmt::format("{} is taken already", one.to_string()),
          fmt::format(
              "{} is bound at {}{}", other.to_string(), all[j].at.to_string(),
              both_families ? "; `[::]` is every address of the host, those of IPv4 too" : ""));
      break;
    }
  }
}

/// A gateway that forwards to itself serves until it has no connection left.
void judge_loops(const Config& config, CompileContext& context) {
  for (const auto& [name, upstream] : config.upstreams) {
    for (const EndpointConfig& endpoint : upstream.endpoints) {
      for (const ListenerConfig& listener : config.listeners) {
        const Endpoint& own = *listener.address;
        const bool same = own == *endpoint.address;
        const bool here = own.address.is_unspecified() && own.port == endpoint.address->port &&
                          endpoint.address->address.is_loopback();
        if (!same && !here) continue;
        context.reader.error(endpoint.address.at,
                             fmt::format("{} is the listener {} of this gateway",
                                         endpoint.address->to_string(), shown(listener.name)));
      }
    }
  }
}

/// Between one endpoint and itself there is nothing to choose.
void judge_choice(const UpstreamConfig& upstream, CompileContext& context) {
  if (upstream.endpoints.size() != 1) return;
  if (!upstream.balance.is_default()) {
    context.reader.error(upstream.balance.at, "`balance` changes nothing: there is one endpoint",
                         "remove it");
  }
  const EndpointConfig& only = upstream.endpoints.front();
  if (only.weight != 1) {
    context.reader.error(only.address.at, "`weight` changes nothing: there is one endpoint",
                         "remove it");
  }
}

}  // namespace

bool granted(CompileContext& context, std::string_view slug, const Mark& at, std::string message) {
  config::Waivers* waivers = context.reader.waivers();
  if (waivers == nullptr || waivers->find(slug, context.reader.place()) == nullptr) return false;
  return context.reader.require_waived(slug, at, std::move(message));
}

std::uint32_t waiver_index(CompileContext& context, std::string_view slug) {
  config::Waivers* waivers = context.reader.waivers();
  if (waivers == nullptr) return kNoWaiver;
  const auto index = waivers->counter(slug, context.reader.place());
  return index.has_value() ? static_cast<std::uint32_t>(*index) : kNoWaiver;
}

std::uint32_t waiver_index(CompileContext& context, std::string_view slug, std::string_view below) {
  const Reader::Step step(context.reader, below);
  return waiver_index(context, slug);
}

void refuse_always(CompileContext& context, std::string_view slug, const Mark& at,
                   std::string message) {
  config::refuse_always(context.reader.diagnostics(), slug, at, std::move(message));
}

void judge_trust(const Config& config, CompileContext& context) {
  if (is_everyone(config.trusted_proxies)) {
    refuse_always(context, "realip-trust-all", config.trusted_proxies.front().at,
                  "`trusted_proxies` covers every address, so anyone could claim to be any client");
  }
  judge_overlaps(config.trusted_proxies, context);
  for (const ListenerConfig& listener : config.listeners) {
    if (!*listener.proxy_protocol) continue;
    if (context.root.find("trusted_proxies") == nullptr) {
      refuse_always(context, "proxy-protocol-untrusted", listener.proxy_protocol.at,
                    "`proxy_protocol` without `trusted_proxies` trusts nobody");
    } else if (!config.trusted_proxies.empty()) {
      judge_proxies_allowed(listener, config.trusted_proxies, context);
    }
  }
}

void judge_listeners(const Config& config, const RawNames& names, CompileContext& context) {
  const Reader::Step step(context.reader, "listeners");
  // Of routes that could not be read nothing is known.
  const bool somebody_looks =
      !names.all_routes_read || std::ranges::any_of(config.routes, looks_at_certificates);
  for (const ListenerConfig& listener : config.listeners) {
    const Reader::Step name(context.reader, listener.name);
    judge_exposure(listener, context);
    judge_optional_certificates(listener, somebody_looks, context);
    judge_allow_from(listener, context);
  }
  judge_collisions(config, context);
}

void judge_upstreams(const Config& config, CompileContext& context) {
  const Reader::Step step(context.reader, "upstreams");
  for (const auto& [name, upstream] : config.upstreams) {
    const Reader::Step here(context.reader, name);
    judge_choice(upstream, context);
    if (upstream.tls.has_value()) continue;
    const auto far = std::ranges::find_if(upstream.endpoints, [](const EndpointConfig& endpoint) {
      return !endpoint.address->address.is_loopback();
    });
    if (far == upstream.endpoints.end()) continue;
    static_cast<void>(context.reader.require_waived(
        "upstream-cleartext", far->address.at,
        fmt::format("the upstream {} is reached without TLS at {}, which is not loopback",
                    shown(name), far->address->to_string())));
  }
  judge_loops(config, context);
}

void judge_admin(const Config& config, CompileContext& context) {
  const auto& address = config.admin.address;
  if (address.has_value() && !(*address)->address.is_loopback()) {
    refuse_always(context, "admin-interface-exposed", address->at,
                  "`admin.address` is not a loopback address");
  }
  const Reader::Step log(context.reader, "log");
  const Reader::Step access(context.reader, "access");
  const std::string file = std::filesystem::path(config.log.access->path).lexically_normal();
  if (file == "/dev/null" || file == "/dev/zero") {
    context.reader.error(
        config.log.access.at,
        fmt::format("{} discards every line: the access log would be off", shown(file)),
        "write `off`, which takes a waiver of `access-log-off`");
  }
  if (config.log.access->written == "off") {
    static_cast<void>(context.reader.require_waived("access-log-off", config.log.access.at,
                                                    "the access log is switched off"));
  }
}

std::set<std::string> judge_host_names(const Config& config,
                                       const std::vector<ListenerCertificates>& certificates,
                                       bool api_in_clear, CompileContext& context) {
  std::set<std::string> closed;
  const Reader::Step step(context.reader, "routes");
  for (const RouteConfig& route : config.routes) {
    const Reader::Step here(context.reader, route.name);
    for (const Located<std::string>& host : route.match.hosts) {
      const bool covered =
          std::ranges::any_of(certificates, [&](const auto& c) { return c.covers(*host); });
      if (covered || *host == "*") continue;
      std::string message =
          fmt::format("no certificate of a listener carries {}, so nobody can ask for it{}",
                      shown(*host), api_in_clear ? " over TLS" : "");
      if (api_in_clear) {
        context.reader.diagnostics().warning(host.at, std::move(message));
      } else if (!context.goes_on()) {
        static_cast<void>(
            context.reader.require_waived("cert-san-mismatch", host.at, std::move(message)));
      } else if (!granted(context, "cert-san-mismatch", host.at, message)) {
        context.reader.diagnostics().add({.severity = Severity::kWarning,
                                          .at = host.at,
                                          .message = std::move(message),
                                          .help = {},
                                          .rule = "cert-san-mismatch"});
        closed.insert(*host);
      }
    }
  }
  return closed;
}

}  // namespace merlon::gateway
