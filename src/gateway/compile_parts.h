#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/compile.h"
#include "gateway/patterns.h"
#include "identity/provider.h"
#include "tls/certificates.h"
#include "tls/client_context.h"
#include "tls/server_context.h"

/// What compile.cc is made of; for it alone.
namespace merlon::gateway {

/// True, with a note, when a waiver names this rule and the place being read. For what is granted
/// only when it is waived; violations go through Reader::require_waived.
[[nodiscard]] bool granted(CompileContext& context, std::string_view slug, const Mark& at,
                           std::string message);
/// The index of the waiver of this rule and the place being read, or the place `below` it, for
/// counting how often it is needed; or kNoWaiver.
[[nodiscard]] std::uint32_t waiver_index(CompileContext& context, std::string_view slug);
[[nodiscard]] std::uint32_t waiver_index(CompileContext& context, std::string_view slug,
                                         std::string_view below);
/// Reports a violated rule that no waiver lets pass.
void refuse_always(CompileContext& context, std::string_view slug, const Mark& at,
                   std::string message);

/// What the tree names, also where it could not be read: so that one mistake is one error.
struct RawNames {
  std::set<std::string, std::less<>> upstreams;       ///< the keys under `upstreams`
  std::set<std::string, std::less<>> used_upstreams;  ///< named by routes
  bool all_listeners_read = false;
  bool all_routes_read = false;
};
[[nodiscard]] RawNames raw_names(const config::Node& root, const Config& config);

// ---- compile_tls.cc ----

/// Passes on what was found about files. Errors that the context's `bad_certificate` allows become
/// warnings; a certificate out of its dates may be waived if it is loaded all the same (`usable`).
void pass_on(const Diagnostics& findings, bool usable, CompileContext& context);

struct ListenerCertificates {
  std::shared_ptr<const tls::ServerContext> context;
  tls::LoadedCertificates loaded;

  /// True when some name could be a host that fits the pattern; names of pairs that are closed
  /// count, since nothing else is wrong with them.
  [[nodiscard]] bool covers(std::string_view host_pattern) const;
  /// The same of names under which clients are asked for certificates.
  [[nodiscard]] bool ask_for(std::string_view host_pattern) const;

  std::vector<Mark> asking;  ///< those that do, by their places
};
/// The reader stands at the listener.
[[nodiscard]] ListenerCertificates compile_tls(const ListenerConfig& listener,
                                               const std::vector<RouteConfig>& routes,
                                               CompileContext& context);
/// The reader stands at the upstream. Null without `tls`, or when its files cannot be used: an
/// error or, at a start, a warning.
[[nodiscard]] std::shared_ptr<tls::ClientContext> compile_tls(const UpstreamConfig& upstream,
                                                              CompileContext& context);
/// How an upstream is reached and secured, wherever its endpoints are: a digest.
[[nodiscard]] std::string terms_of(std::string_view name, const UpstreamConfig& upstream,
                                   bool aes128, io::Broker& broker);
/// See Upstream::identity.
[[nodiscard]] std::string identity_of(const std::string& terms, const UpstreamConfig& upstream);

// ---- compile_route.cc ----

/// A route with the pattern of its path, for the router. The reader stands at the route.
struct CompiledRoute {
  std::unique_ptr<Route> route;
  PathPattern path;
};
[[nodiscard]] CompiledRoute compile_route(const RouteConfig& config,
                                          const policy::SharedSetup* shared,
                                          CompileContext& context);

// ---- compile_shared.cc: the reader stands at the root ----

/// Null without `shared_state`, and after an error.
[[nodiscard]] std::shared_ptr<const state::SharedSettings> compile_shared_state(
    const Config& config, const RawNames& names, CompileContext& context);

// ---- compile_identity.cc ----

/// What is under `identity`, by name; null for what could not be loaded.
using Providers = std::map<std::string, std::shared_ptr<const identity::Provider>, std::less<>>;
/// The reader stands at the root.
[[nodiscard]] Providers compile_providers(const Config& config, const RawNames& names,
                                          CompileContext& context);
/// Routes, and hosts of them, that want what no listener of the API (`certificates`) asks clients
/// for.
void judge_certificates_asked(const Config& config,
                              const std::vector<ListenerCertificates>& certificates,
                              bool api_in_clear, CompileContext& context);
/// The `auth` and `forward.identity` of a route; the reader stands at it.
void compile_auth(const RouteConfig& config, const Providers& providers, Route& route,
                  CompileContext& context);

// ---- compile_inert.cc: what is written and never counts ----

/// Limits of what is open at a time. The reader stands at the route.
void judge_places(const RouteConfig& config, const Plan& plan, CompileContext& context);
/// The size of a body that is held until it is judged. The reader stands at the route.
void judge_held_size(const Route& route, const Plan& plan, CompileContext& context);
void judge_handshake_time(const Config& config, CompileContext& context);
/// Of a plan with all its routes.
void judge_upstream_times(const Plan& plan, CompileContext& context);
/// Routes of which every request is answered with a page of the gateway's own.
void judge_own_pages(const Config& config, const Plan& plan, CompileContext& context);
/// Quotas that a rate limit of the route outdoes. The reader stands at the route.
void judge_quotas(const RouteConfig& config, unsigned nodes, CompileContext& context);
/// Listeners that nobody can connect to.
void judge_peers(const Config& config, CompileContext& context);
/// Networks of classes that nobody connects from.
void judge_class_networks(const Config& config, CompileContext& context);

// ---- baseline.cc: the reader stands at the root ----

void judge_trust(const Config& config, CompileContext& context);
void judge_listeners(const Config& config, const RawNames& names, CompileContext& context);
void judge_upstreams(const Config& config, CompileContext& context);
void judge_admin(const Config& config, CompileContext& context);
/// Hosts of routes that no certificate carries. With a listener that serves the API in clear they
/// can be asked for all the same, so it is a warning then. Returns those that are closed.
[[nodiscard]] std::set<std::string> judge_host_names(
    const Config& config, const std::vector<ListenerCertificates>& certificates, bool api_in_clear,
    CompileContext& context);

}  // namespace merlon::gateway
