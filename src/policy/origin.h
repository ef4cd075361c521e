#pragma once

#include <string_view>

#include "policy/policy.h"

namespace merlon::policy {

/// True when `origin`, as browsers write it, is the host, scheme and port that the request asks: a
/// page that came from there asks for nothing of another origin.
[[nodiscard]] bool is_own_origin(std::string_view origin, const Context& context) noexcept;

/// The port of an origin that names none.
[[nodiscard]] std::uint16_t default_port(std::string_view scheme) noexcept;

}  // namespace merlon::policy
