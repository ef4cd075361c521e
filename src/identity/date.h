#pragma once

#include <optional>
#include <string_view>

#include "config/schema.h"
#include "identity/identity.h"

namespace merlon::identity {

/// "2027-01-31" (its beginning) or "2027-01-31T12:30:00Z", UTC. nullopt for anything else.
[[nodiscard]] std::optional<TokenTime> parse_date(std::string_view text) noexcept;
/// As `parse_date` reads it, in the longer form.
[[nodiscard]] std::string format_date(TokenTime time);
/// A date in a file.
[[nodiscard]] config::Type<TokenTime> date();

}  // namespace merlon::identity
