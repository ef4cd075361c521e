#include <fmt/format.h>

#include <algorithm>

#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/digest.h"
#include "tls/rotation.h"
#include "tls/ticket_keys.h"

namespace merlon::gateway {
namespace {

using config::shown;

constexpr std::size_t kFileBytesMax = 16UL * 1024 * 1024;

/// Tickets outlive a reload: they are keyed once for the process. A session is resumed only on the
/// listener that gave it, so that listeners may share the keys.
std::shared_ptr<tls::TicketKeys> ticket_keys() {
  static const SystemClock clock;
  static const auto keys = std::make_shared<tls::TicketKeys>(clock);
  return keys;
}

/// True when `name`, of a certificate, can answer for a host that fits `pattern`.
bool fits(std::string_view name, std::string_view pattern) {
  if (pattern == "*") return true;
  if (!pattern.starts_with("*.")) return tls::name_matches(name, pattern);
  return name.ends_with(pattern.substr(1));
}

bool fits_any(const tls::CertificateNames& names, std::string_view pattern) {
  if (names.covers(pattern)) return true;
  return std::ranges::any_of(names.dns,
                             [&](const std::string& name) { return fits(name, pattern); });
}

using Pairs = std::vector<std::shared_ptr<const tls::CertificatePair>>;

bool carry(const Pairs& pairs, std::string_view host_pattern) {
  return std::ranges::any_of(
      pairs, [&](const auto& pair) { return fits_any(pair->names(), host_pattern); });
}

/// The same of one that is closed: one that could not even be read might have had any name.
bool might_carry(const tls::FailedPair& pair, std::string_view host_pattern) {
  return pair.names.empty() || fits_any(pair.names, host_pattern);
}

/// The host that all endpoints share; nullopt, with an error, when a name is needed to verify them.
std::optional<std::string> host_to_verify(const UpstreamConfig& upstream, CompileContext& context) {
  if (upstream.endpoints.empty()) return std::nullopt;
  const IpAddress first = upstream.endpoints.front().address->address;
  const bool same = std::ranges::all_of(upstream.endpoints, [&](const EndpointConfig& endpoint) {
    return endpoint.address->address == first;
  });
  if (same || upstream.tls->server_name.has_value()) return first.to_string();
  context.reader.error(
      upstream.tls->at,
      "the endpoints have several addresses: give the name that their certificates carry",
      "such as `server_name: orders.internal`");
  return std::nullopt;
}

/// As load_client_auth. Bad files are an error, at a start too: without its authorities a listener
/// would let in everybody. Only what is in force may stay in their place.
std::optional<tls::ClientAuth> load_clients(const tls::ClientAuthFiles& files,
                                            const tls::ClientAuth* in_force,
                                            CompileContext& context) {
  Diagnostics findings;
  auto loaded = tls::load_client_auth(files, context.broker, context.now, findings, in_force);
  if (in_force != nullptr) {
    pass_on(findings, false, context);
    return loaded;
  }
  // A date may pass, as that of any certificate: whoever is no longer known stays out.
  Diagnostics dates;
  for (const Diagnostic& finding : findings.all())
    (finding.rule == "cert-expired" ? dates : context.reader.diagnostics()).add(finding);
  pass_on(dates, true, context);
  return loaded;
}

void load_clients(const ListenerConfig& listener, const tls::ServerSettings* in_force,
                  tls::ServerSettings& settings, CompileContext& context) {
  if (listener.tls->client_auth.has_value()) {
    const bool had = in_force != nullptr && in_force->client_auth.has_value();
    settings.client_auth =
        load_clients(*listener.tls->client_auth, had ? &*in_force->client_auth : nullptr, context);
  }
  for (const tls::CertificateFiles& files : listener.tls->certificates) {
    if (!files.client_auth.has_value()) continue;
    auto own = load_clients(*files.client_auth,
                            in_force == nullptr ? nullptr : in_force->own_client_auth_of(files.at),
                            context);
    if (!own.has_value()) continue;
    settings.own_client_auth.push_back({.of = files.at, .auth = std::move(*own)});
  }
}

/// The listener of this name that is in force; null when nothing of it is to be kept.
const Listener* in_force(const ListenerConfig& listener, const CompileContext& context) {
  if (context.in_force == nullptr) return nullptr;
  const auto& all = context.in_force->listeners;
  const auto found = std::ranges::find(all, listener.name, &Listener::name);
  return found == all.end() || found->tls == nullptr ? nullptr : &*found;
}

/// The context of what was loaded. Where certificates and what is asked of clients do not go
/// together (one name would ask for two things), of the certificates in force and what is asked
/// now, since that may revoke; then of the certificates that were loaded and what was asked before;
/// at last the one in force.
void make_or_keep(const tls::ServerSettings& settings, const Listener& before,
                  ListenerCertificates& result, CompileContext& context) {
  const Pairs pairs_before = context.pairs_in_force[before.name];
  const auto make = [&](const tls::ServerSettings& from, const Pairs& pairs, Diagnostics& out) {
    auto made = tls::ServerContext::make(from, pairs, ticket_keys(), out);
    return out.ok() ? std::move(made) : nullptr;
  };
  Diagnostics findings;
  result.context = make(settings, result.loaded.pairs, findings);
  pass_on(findings, false, context);
  if (result.context != nullptr) return;
  Diagnostics told;  // `findings` say it already
  if (auto made = make(settings, pairs_before, told)) {
    result.context = std::move(made);
    result.loaded.pairs = pairs_before;
    return;
  }
  told = {};
  result.context = make(before.tls->settings(), result.loaded.pairs, told);
  if (result.context != nullptr) return;
  result.context = before.tls;
  result.loaded.pairs = pairs_before;
}

/// Puts each pair back that is in force where a host of a route would be lost with it: what was
/// issued for other names in its place, by mistake, must not close them.
void keep_hosts(const std::vector<RouteConfig>& routes, const Pairs& in_force, Pairs& pairs,
                CompileContext& context) {
  const Pairs renewed = pairs;
  const auto lost_host = [&](const tls::CertificatePair& old) -> const std::string* {
    for (const RouteConfig& route : routes) {
      for (const Located<std::string>& host : route.match.hosts) {
        if (*host == "*" || !fits_any(old.names(), *host) || carry(renewed, *host)) continue;
        return &*host;
      }
    }
    return nullptr;
  };
  Diagnostics findings;
  for (auto& pair : pairs) {
    const auto old = std::ranges::find_if(
        in_force, [&](const auto& one) { return one->at().same_place(pair->at()); });
    if (old == in_force.end() || !tls::is_in_its_dates(**old, context.now)) continue;
    const std::string* const host = lost_host(**old);
    if (host == nullptr) continue;
    findings.add({.severity = Severity::kError,
                  .at = pair->at(),
                  .message = fmt::format("the certificate no longer carries {}", shown(*host)),
                  .help = "reissue it with all names of its routes; a reload refuses it, too",
                  .rule = "cert-san-mismatch"});
    pair = *old;
  }
  pass_on(findings, false, context);
}

/// What this upstream has in force; null when nothing of it is to be kept.
const tls::ClientContext* in_force(const UpstreamConfig& upstream, const CompileContext& context) {
  if (context.in_force == nullptr) return nullptr;
  const auto& all = context.in_force->upstreams;
  const auto found =
      std::ranges::find_if(all, [&](const auto& one) { return one->at.same_place(upstream.at); });
  return found == all.end() ? nullptr : (*found)->tls.get();
}

void add_file(Digest& digest, const std::optional<Located<config::FilePath>>& file,
              io::Broker& broker) {
  if (!file.has_value()) {
    digest.add("none");
    return;
  }
  const auto text = broker.read_file(file->value.path, kFileBytesMax);
  digest.add(file->value.path).add(text.has_value() ? *text : "");
}

}  // namespace

void pass_on(const Diagnostics& findings, bool usable, CompileContext& context) {
  for (Diagnostic finding : findings.all()) {
    if (finding.severity == Severity::kError) {
      const bool dates = usable && finding.rule == "cert-expired";
      if (dates && granted(context, finding.rule, finding.at, finding.message)) continue;
      if (context.goes_on()) context.bad_files.push_back(finding);
      const bool passes = dates && context.bad_certificate == BadCertificate::kRefuseUnfit;
      if (passes || context.goes_on()) finding.severity = Severity::kWarning;
    }
    context.reader.diagnostics().add(std::move(finding));
  }
}

bool ListenerCertificates::covers(std::string_view host_pattern) const {
  return carry(loaded.pairs, host_pattern) ||
         std::ranges::any_of(loaded.failed, [&](const tls::FailedPair& pair) {
           return might_carry(pair, host_pattern);
         });
}

bool ListenerCertificates::ask_for(std::string_view host_pattern) const {
  const auto asks = [&](const Mark& of) {
    return std::ranges::any_of(asking, [&](const Mark& at) { return at.same_place(of); });
  };
  return std::ranges::any_of(loaded.pairs,
                             [&](const auto& pair) {
                               return asks(pair->at()) && fits_any(pair->names(), host_pattern);
                             }) ||
         std::ranges::any_of(loaded.failed, [&](const tls::FailedPair& pair) {
           return asks(pair.at) && might_carry(pair, host_pattern);
         });
}

ListenerCertificates compile_tls(const ListenerConfig& listener,
                                 const std::vector<RouteConfig>& routes, CompileContext& context) {
  ListenerCertificates result;
  if (!listener.tls.has_value()) return result;
  for (const tls::CertificateFiles& files : listener.tls->certificates) {
    if (listener.tls->client_auth.has_value() || files.client_auth.has_value())
      result.asking.push_back(files.at);
  }
  Diagnostics findings;
  result.loaded =
      tls::load_certificates(listener.tls->certificates, context.broker, context.now, findings);
  tls::ServerSettings settings;
  settings.listener = listener.name;
  settings.alpn = {"h2", "http/1.1"};
  settings.min_version = listener.tls->min_version;
  settings.allow_aes128 =
      granted(context, "tls-aes128", listener.tls->at, "AES-128 suites are offered");
  const Listener* const before = in_force(listener, context);
  load_clients(listener, before == nullptr ? nullptr : &before->tls->settings(), settings, context);
  pass_on(findings, true, context);
  if (before != nullptr) {
    const Pairs& pairs_before = context.pairs_in_force[listener.name];
    result.loaded =
        tls::keep_in_use(result.loaded, listener.tls->certificates, pairs_before, context.now);
    if (listener.serves(Served::kApi)) {
      keep_hosts(routes, pairs_before, result.loaded.pairs, context);
    }
    make_or_keep(settings, *before, result, context);
    return result;
  }
  result.context = tls::ServerContext::make(settings, result.loaded.pairs, ticket_keys(),
                                            context.reader.diagnostics());
  return result;
}

std::shared_ptr<tls::ClientContext> compile_tls(const UpstreamConfig& upstream,
                                                CompileContext& context) {
  if (!upstream.tls.has_value()) return nullptr;
  const bool aes128 =
      granted(context, "tls-aes128", upstream.tls->at, "AES-128 suites are offered");
  const auto host = host_to_verify(upstream, context);
  if (!host.has_value()) return nullptr;
  Diagnostics findings;
  const char* const protocol = upstream.protocol == Protocol::kHttp2 ? "h2" : "http/1.1";
  auto client = tls::ClientContext::load(*upstream.tls, *host, aes128, {protocol}, context.broker,
                                         context.now, findings, in_force(upstream, context));
  // Without a context its requests would go out in clear: such an upstream is closed.
  pass_on(findings, client != nullptr, context);
  return client;
}

std::string terms_of(std::string_view name, const UpstreamConfig& upstream, bool aes128,
                     io::Broker& broker) {
  Digest digest;
  // Two upstreams may reach the same servers on different terms.
  digest.add(name);
  digest.add(upstream.tls.has_value() ? "tls" : "cleartext");
  digest.add(upstream.protocol == Protocol::kHttp2 ? "h2" : "http1");
  if (upstream.tls.has_value()) {
    add_file(digest, upstream.tls->ca, broker);
    add_file(digest, upstream.tls->cert, broker);
    digest.add(upstream.tls->server_name.has_value() ? upstream.tls->server_name->value : "");
    digest.add(aes128 ? "aes128" : "");
  }
  return digest.hex();
}

std::string identity_of(const std::string& terms, const UpstreamConfig& upstream) {
  Digest digest;
  digest.add(terms);
  for (const EndpointConfig& endpoint : upstream.endpoints) {
    digest.add(endpoint.address->to_string());
  }
  return digest.hex();
}

}  // namespace merlon::gateway
