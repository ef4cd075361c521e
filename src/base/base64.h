#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace merlon {

/// The bytes in base64 with padding, RFC 4648 §4.
[[nodiscard]] std::string base64(std::string_view bytes);

/// The bytes that a text of either alphabet (§4, §5), padded or not, stands for; nullopt for other
/// characters.
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace merlon
