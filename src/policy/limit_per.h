#pragma once

#include <cstdint>
#include <string_view>

#include "config/schema.h"
#include "policy/policy.h"

namespace merlon::policy {

/// Whose requests a limit counts together. In the order in which limits of one step are asked.
enum class LimitPer : std::uint8_t {
  kClient,    ///< of one IPv4 address, or of one IPv6 /64
  kIdentity,  ///< of one who has shown who they are, from wherever
  kRoute,     ///< of everyone who uses the route
};

[[nodiscard]] constexpr std::string_view limit_per_name(LimitPer per) noexcept {
  switch (per) {
    case LimitPer::kClient:
      return "client";
    case LimitPer::kIdentity:
      return "identity";
    case LimitPer::kRoute:
      return "route";
  }
  return "route";
}

[[nodiscard]] inline config::Type<LimitPer> limit_per_type() {
  return config::words<LimitPer>({{"client", LimitPer::kClient},
                                  {"identity", LimitPer::kIdentity},
                                  {"route", LimitPer::kRoute}});
}

/// An entry of a limit in the tables that stands for a name rather than an address.
struct LimitName {
  std::uint64_t scope = 0;
  std::string_view name;
};

/// What a limit of `per` (identity or route) counts under: for an identity its subject, or, for
/// credentials without one, the client that they were given to. A route has one way of
/// authentication, so these are names of one authority.
[[nodiscard]] inline LimitName limit_name(LimitPer per, std::uint64_t scope,
                                          const Context& context) noexcept {
  if (per != LimitPer::kIdentity || context.identity == nullptr)
    return {.scope = scope, .name = {}};
  const std::string_view subject = context.identity->subject();
  if (!subject.empty()) return {.scope = scope, .name = subject};
  // A client must not be able to stand for a subject of the same name.
  return {.scope = ~scope, .name = context.identity->client_id()};
}

}  // namespace merlon::policy
