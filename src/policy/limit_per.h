#pragma once

#include <cstdint>
#include <string_view>

#include "config/later_words.h"
#include "config/schema.h"

namespace merlon::policy {

/// Whose requests a limit counts together.
enum class LimitPer : std::uint8_t {
  kClient,  ///< of one IPv4 address, or of one IPv6 /64
  kRoute,   ///< of everyone who uses the route
};

[[nodiscard]] constexpr std::string_view limit_per_name(LimitPer per) noexcept {
  return per == LimitPer::kClient ? "client" : "route";
}

[[nodiscard]] inline config::Type<LimitPer> limit_per_type() {
  return with_later_words(
      config::words<LimitPer>({{"client", LimitPer::kClient}, {"route", LimitPer::kRoute}}),
      {{.word = "identity", .part = "limits by identity"}});
}

}  // namespace merlon::policy
