#include "audit/nginx/address_list.h"

#include <algorithm>

#include "base/ip.h"

namespace merlon::audit::nginx {
namespace {

unsigned families_of(const Listen& listen) {
  if (listen.is_unix()) return 0;
  if (!listen.address.starts_with('[')) return kIpv4;
  const bool takes_both =
      listen.at != nullptr && std::ranges::any_of(listen.at->args, [](const Word& word) {
        return word.text == "ipv6only=off";
      });
  return takes_both ? kIpv4 | kIpv6 : kIpv6;
}

/// The families of the clients that come to the server of `scope`; 0: not known. A proxy that is
/// believed hands in addresses of both, whatever it speaks itself.
unsigned families_around(const Scope& scope) {
  if (scope.effective("set_real_ip_from") != nullptr) return kIpv4 | kIpv6;
  const Scope* level = &scope;
  while (level != nullptr && level->server == nullptr) level = level->parent;
  unsigned out = 0;
  if (level == nullptr) return out;
  for (const Listen& listen : level->server->listens) out |= families_of(listen);
  return out;
}

/// True when every address of `inner` is one of `outer`.
bool covers(std::string_view outer, std::string_view inner) {
  const auto around = Cidr::parse(outer);
  const auto within = Cidr::parse(inner);
  return around && within && around->covers(*within);
}

}  // namespace

unsigned whole_families(std::string_view addresses) noexcept {
  if (addresses == "all") return kIpv4 | kIpv6;
  const auto network = Cidr::parse(addresses);
  if (!network || network->prefix_bits != 0) return 0;
  return network->network.is_v6() ? kIpv6 : kIpv4;
}

unsigned open_families(std::string_view addresses) noexcept {
  constexpr int kBitsMax = 4;  // everyone, said in halves or quarters, or 2000::/3
  const auto network = Cidr::parse(addresses);
  if (!network || network->prefix_bits > kBitsMax) return whole_families(addresses);
  return network->network.is_v6() ? kIpv6 : kIpv4;
}

ListEnd end_of_list(const Scope& level, const Scope& scope) {
  const unsigned coming = families_around(scope);
  unsigned shut = 0;
  ListEnd out;
  // In order: what stands behind a rule for everyone is never looked at.
  for (const Directive* rule : level.settings) {
    const bool allows = rule->is("allow");
    const unsigned whole = allows             ? open_families(rule->arg(0))
                           : rule->is("deny") ? whole_families(rule->arg(0))
                                              : 0;
    if (whole == 0 || (coming != 0 && (whole & coming & ~shut) == 0)) continue;
    if (allows) return {.open = rule};
    shut |= whole;
    if ((coming & ~shut) == 0) return {.closed = rule};
    out.half = rule;
  }
  return out;
}

bool closes_list(const Scope& scope) {
  if (end_of_list(scope, scope).closed != nullptr) return true;
  std::vector<std::string_view> allowed;
  for (const Directive* rule : scope.settings) {
    if (rule->is("allow")) allowed.push_back(rule->arg(0));
    if (!rule->is("deny")) continue;
    std::erase_if(allowed, [&](std::string_view address) { return covers(rule->arg(0), address); });
  }
  return allowed.empty();
}

const Scope* list_in_force(const Scope& scope) noexcept {
  const Scope* allow = scope.level_of("allow");
  const Scope* deny = scope.level_of("deny");
  if (allow == nullptr || deny == nullptr) return allow == nullptr ? deny : allow;
  return allow->is_below(*deny) ? allow : deny;
}

}  // namespace merlon::audit::nginx
