#pragma once

#include <type_traits>

#include "policy/body.h"
#include "policy/compile.h"
#include "policy/concurrency.h"
#include "policy/cors.h"
#include "policy/observed.h"
#include "policy/quota.h"
#include "policy/rate_limit.h"
#include "policy/websocket.h"

/// Every policy of a route, in the order in which they judge. This list is the one place that shows
/// it; there is no key for it. To add a policy: one file pair with its configuration, schema,
/// compile function and check, one line here.
///
/// A policy is a type P with
///   P::Member     what a route's configuration holds: Config, or std::optional<Config>
///   P::kKey       its key under a route; P::kDoc says in one sentence what it does
///   P::kExample   a value of the key that compiles, in YAML: for the suite and the documentation
///   P::kStep      where the first of its judges stands
///   P::kObservable  whether `policy-observed` may let through what it refuses
///   P::type()     how its value is read, checked and documented
///   P::compile(const Member&, CompileInput&, Judges&)   appends its judges; none when it is absent
namespace merlon::policy {

template <class... P>
struct List {};

using Policies = List<RateLimits, Cors, WebSocket, Concurrencies, Quotas, Body>;

/// Where a route's configuration holds what P says.
template <class P>
struct Slot {
  typename P::Member value{};
};

/// The configuration of all policies of one route.
template <class AllPolicies>
struct SettingsOf;
template <class... P>
struct SettingsOf<List<P...>> : Slot<P>... {};
using Settings = SettingsOf<Policies>;

template <class P>
[[nodiscard]] const typename P::Member& setting(const Settings& settings) noexcept {
  return static_cast<const Slot<P>&>(settings).value;
}

/// Calls `f.template operator()<P>()` for each policy, in order.
template <class F, class... P>
void for_each(const F& f, List<P...> /*unused*/) {
  (f.template operator()<P>(), ...);
}
template <class F>
void for_each(const F& f) {
  for_each(f, Policies{});
}

/// Adds the keys of all policies to the schema of a route, which derives from Settings.
template <class Route>
void add_keys(config::Object<Route>& schema) {
  static_assert(std::is_base_of_v<Settings, Route>);
  for_each([&schema]<class P>() {
    const auto member = static_cast<typename P::Member Route::*>(&Slot<P>::value);
    schema.field(std::string(P::kKey), member, P::type(), std::string(P::kDoc));
  });
}

/// Reports limits by identity on a route that asks nobody who they are. The reader stands at the
/// route.
void check_public_route(const Settings& settings, config::Reader& reader);

/// The judges of a route, merged and ordered. The reader stands at the route.
void compile_policies(const Settings& settings, CompileInput& input, Judges& out);

}  // namespace merlon::policy
