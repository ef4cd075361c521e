#include <fmt/format.h>

#include <algorithm>

#include "config/shown.h"
#include "gateway/compile_parts.h"
#include "gateway/digest.h"
#include "tls/ticket_keys.h"

namespace merlon::gateway {
namespace {

constexpr std::size_t kFileBytesMax = 16UL * 1024 * 1024;

/// Tickets outlive a reload: they are keyed once for the process. A session is resumed only on the
/// listener that gave it, so that listeners may share the keys.
std::shared_ptr<tls::TicketKeys> ticket_keys() {
  static const SystemClock clock;
  static const auto keys = std::make_shared<tls::TicketKeys>(clock);
  return keys;
}

/// Passes on what was found about certificates. Errors that `bad_certificate` allows become
/// warnings; a certificate out of its dates may be waived if it is loaded all the same.
void pass_on(const Diagnostics& findings, bool usable, CompileContext& context) {
  for (Diagnostic finding : findings.all()) {
    if (finding.severity == Severity::kError) {
      if (usable && finding.rule == "cert-expired" &&
          granted(context, finding.rule, finding.at, finding.message)) {
        continue;
      }
      if (context.bad_certificate == BadCertificate::kClose) {
        finding.severity = Severity::kWarning;
      }
    }
    context.reader.diagnostics().add(std::move(finding));
  }
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

/// The host that all endpoints share; nullopt, with an error, when a name is needed to verify them.
std::optional<std::string> host_to_verify(const UpstreamConfig& upstream, CompileContext& context) {
  if (upstream.endpoints.empty()) return std::nullopt;
  const IpAddress first = upstream.endpoints.front().address->address;
  const bool same = std::ranges::all_of(upstream.endpoints, [&](const EndpointConfig& endpoint) {
    return endpoint.address->address == first;
  });
  if (same || upstream.tls->server_name.has_value()) return first.to_string();
  context.reader.error(upstream.tls->at,
                       "the endpoints have several addresses: name what their certificates carry",
                       "such as `server_name: orders.internal`");
  return std::nullopt;
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

bool ListenerCertificates::covers(std::string_view host_pattern) const {
  return std::ranges::any_of(
             loaded.pairs,
             [&](const auto& pair) { return fits_any(pair->names(), host_pattern); }) ||
         std::ranges::any_of(loaded.failed, [&](const tls::FailedPair& pair) {
           // One that could not even be read might have had any name.
           return pair.names.empty() || fits_any(pair.names, host_pattern);
         });
}

ListenerCertificates compile_tls(const ListenerConfig& listener, CompileContext& context) {
  ListenerCertificates result;
  if (!listener.tls.has_value()) return result;
  Diagnostics findings;
  result.loaded =
      tls::load_certificates(listener.tls->certificates, context.broker, context.now, findings);
  tls::ServerSettings settings;
  settings.listener = listener.name;
  settings.alpn = {"h2", "http/1.1"};
  settings.min_version = listener.tls->min_version;
  settings.allow_aes128 =
      granted(context, "tls-aes128", listener.tls->at, "AES-128 suites are offered");
  if (listener.tls->client_auth.has_value()) {
    // Never a warning, at a start neither: without its authorities it would let in everybody.
    settings.client_auth = tls::load_client_auth(*listener.tls->client_auth, context.broker,
                                                 context.reader.diagnostics());
  }
  for (const tls::CertificateFiles& files : listener.tls->certificates) {
    if (!files.client_auth.has_value()) continue;
    auto own =
        tls::load_client_auth(*files.client_auth, context.broker, context.reader.diagnostics());
    if (!own.has_value()) continue;
    settings.own_client_auth.push_back(std::move(*own));
    settings.own_client_auth_of.push_back(files.at);
  }
  pass_on(findings, true, context);
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
                                         context.now, findings);
  // Without a context its requests would go out in clear: such an upstream is closed.
  pass_on(findings, client != nullptr, context);
  return client;
}

std::string terms_of(std::string_view name, const UpstreamConfig& upstream, io::Broker& broker) {
  Digest digest;
  // Two upstreams may reach the same servers on different terms.
  digest.add(name);
  digest.add(upstream.tls.has_value() ? "tls" : "cleartext");
  digest.add(upstream.protocol == Protocol::kHttp2 ? "h2" : "http1");
  if (upstream.tls.has_value()) {
    add_file(digest, upstream.tls->ca, broker);
    add_file(digest, upstream.tls->cert, broker);
    digest.add(upstream.tls->server_name.has_value() ? upstream.tls->server_name->value : "");
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
