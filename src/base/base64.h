#pragma once

#include <string>
#include <string_view>

namespace merlon {

/// The bytes in base64 with padding, RFC 4648 §4.
[[nodiscard]] std::string base64(std::string_view bytes);

}  // namespace merlon
