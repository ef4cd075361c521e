#include "audit/merlon/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/client_certificate.h"

namespace merlon::audit::own {
namespace {

using gateway::Plan;
using gateway::Route;

/// Taken by every Merlon, but for what waivers of these rules let through.
constexpr struct {
  const char* what;
  const char* how;
  const char* owasp;
  const char* nist;
  std::initializer_list<std::string_view> rules = {};
} kAlways[] = {
    {"Strict framing", "what two readers of HTTP could read differently is refused", "API8",
     "SI-10,SC-7"},
    {"One canonical path and host",
     "what is authorised is byte for byte what is forwarded",
     "API1,API5,API8",
     "SI-10,AC-3",
     {"path-encoded-slash", "path-encoded-backslash", "path-semicolon", "path-empty-segment"}},
    {"Closed unless opened", "no route: 404; no listed method: 405; no listed origin: no CORS",
     "API5,API9", "AC-3,CM-7"},
    {"Bounds on heads, bodies and times",
     "size, number, pace and duration of all that clients send",
     "API4",
     "SC-5",
     {"body-size-unlimited", "slow-client-timeouts", "upstream-timeout-infinite"}},
    {"Connections per client", "one address cannot take all connections", "API4", "SC-5,SC-7"},
    {"Security headers",
     "nosniff, frame and content policy, referrer policy, HSTS over TLS",
     "API8",
     "SI-10,SC-8",
     {"csp-html"}},
    {"No leaks in answers",
     "product names, inner addresses and error bodies are taken out",
     "API8",
     "SI-11",
     {"upstream-error-bodies"}},
    {"Client claims are stripped",
     "forwarded addresses and identities come from trusted proxies only", "API2,API8", "AC-4,SC-7"},
    {"Every refusal is recorded",
     "step, rule and line of configuration, in log and metrics",
     "API8",
     "AU-2,AU-3,SI-4",
     {"access-log-off"}},
    {"Exceptions end", "waivers have an owner, a reason and at most 180 days", "API8,API9",
     "CM-3,CM-6"},
};

/// The waivers of these rules below `place`: what they let through the measure does not stop.
std::vector<std::string> waivers_of(const Plan& plan, std::span<const std::string_view> rules,
                                    std::string_view place = "") {
  std::vector<std::string> out;
  for (const config::Waiver& waiver : plan.waivers) {
    const bool named = std::ranges::find(rules, waiver.rule) != rules.end();
    if (named && waiver.on.starts_with(place))
      out.push_back(fmt::format("{} on {}", waiver.rule, waiver.on));
  }
  return out;
}

/// How many routes, and which do not.
void add_by_route(AuditResult& out, const Plan& plan, Measure measure,
                  bool (*has)(const Route& route)) {
  std::vector<std::string> missing;
  const Mark* first = nullptr;
  for (const auto& route : plan.routes) {
    if (!has(*route)) {
      missing.push_back(route->name);
    } else if (first == nullptr) {
      first = &route->at;
    }
  }
  const std::size_t total = plan.routes.size();
  measure.covered = total - missing.size();
  measure.total = total;
  if (first != nullptr) measure.at = *first;
  measure.missing = std::move(missing);
  out.measures.push_back(std::move(measure));
}

constexpr std::string_view kWeakerSuites[] = {"tls-aes128"};
constexpr std::string_view kOpenLimits[] = {"limit-fail-open"};
constexpr std::string_view kEveryOrigin[] = {"cors-wildcard-credentials"};

/// `made`, with the waivers that take from it.
Measure but_for(Measure made, std::vector<std::string> waivers) {
  made.waived = std::move(waivers);
  return made;
}

/// What only observes covers nothing: a waiver lets through what it would refuse.
bool has_policy(const Route& route, std::string_view name) {
  return std::ranges::any_of(route.policies, [&](const auto& policy) {
    return policy->name() == name && !policy->observed_by().has_value();
  });
}

bool has_step(const Route& route, policy::Step step) {
  return std::ranges::any_of(route.policies, [&](const auto& policy) {
    return policy->step() == step && !policy->observed_by().has_value();
  });
}

/// True when some of those who are known are let in, and others are not.
bool authorizes(const Route& route) {
  return has_step(route, policy::Step::kAuthorize) ||
         std::ranges::any_of(route.policies, [](const auto& policy) {
           const auto* check = dynamic_cast<const policy::CertificateCheck*>(policy.get());
           return check != nullptr && check->picks();
         });
}

Measure measure(std::string what, std::string how, std::string owasp, std::string nist) {
  Measure out;
  out.what = std::move(what);
  out.how = std::move(how);
  out.owasp = std::move(owasp);
  out.nist = std::move(nist);
  return out;
}

void add_listeners(const Plan& plan, AuditResult& out) {
  Measure tls = measure("TLS towards clients", "1.2 or later, forward secret, 256-bit AEAD",
                        "API2,API8", "SC-8,SC-13,SC-23");
  tls.waived = waivers_of(plan, kWeakerSuites, "listeners.");
  for (const gateway::Listener& listener : plan.listeners) {
    if (!listener.serve.api) continue;
    ++tls.total;
    if (listener.tls != nullptr) {
      ++tls.covered;
    } else {
      tls.missing.push_back(listener.name);
    }
  }
  out.measures.push_back(std::move(tls));
}

}  // namespace

void add_measures(const gateway::LoadResult& loaded, AuditResult& out) {
  const Plan& plan = *loaded.plan;
  for (const auto& each : kAlways) {
    Measure always = measure(each.what, each.how, each.owasp, each.nist);
    always.waived = waivers_of(plan, each.rules);
    out.measures.push_back(std::move(always));
  }
  add_listeners(plan, out);
  add_by_route(out, plan,
               but_for(measure("TLS towards upstreams", "verified, with a name of its own",
                               "API8,API10", "SC-8,SC-13"),
                       waivers_of(plan, kWeakerSuites, "upstreams.")),
               [](const Route& r) {
                 return r.upstream == nullptr || r.upstream->closed || r.upstream->tls != nullptr;
               });
  add_by_route(out, plan,
               measure("Authentication", "who asks is known before anything else is done", "API2",
                       "IA-2,IA-5,AC-3"),
               [](const Route& r) { return has_step(r, policy::Step::kAuthenticate); });
  add_by_route(out, plan,
               measure("Authorisation", "by scopes, claims or names of certificates", "API1,API5",
                       "AC-3,AC-6"),
               authorizes);
  add_by_route(
      out, plan,
      but_for(measure("Rate limits", "counted exactly over all workers", "API4,API6", "SC-5"),
              waivers_of(plan, kOpenLimits)),
      [](const Route& r) { return has_policy(r, "rate_limit"); });
  add_by_route(
      out, plan,
      but_for(measure("Quotas", "by the hour, day or month, over all nodes", "API4,API6", "SC-5"),
              waivers_of(plan, kOpenLimits)),
      [](const Route& r) { return has_policy(r, "quota"); });
  add_by_route(out, plan,
               measure("Concurrency limits", "requests in progress at a time", "API4", "SC-5"),
               [](const Route& r) { return has_policy(r, "concurrency"); });
  add_by_route(
      out, plan,
      but_for(measure("Other origins", "only listed ones, in browsers; without cors there are none",
                      "API8", "AC-4"),
              waivers_of(plan, kEveryOrigin)),
      [](const Route& r) { return !r.opens_to_origins || has_policy(r, "cors"); });
  add_by_route(
      out, plan,
      measure("Validation of bodies", "content types, JSON, schema", "API3,API8", "SI-10,SI-15"),
      [](const Route& r) { return has_policy(r, "body"); });
}

}  // namespace merlon::audit::own
