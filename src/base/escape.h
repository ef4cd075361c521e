#pragma once

#include <string>
#include <string_view>

namespace merlon {

/// Appends `text` to `out` as the inside of a JSON string (RFC 8259 §7), without the quotes.
/// Bytes that are not valid UTF-8 become U+FFFD, so that the result always is. Text longer than
/// `bytes_max` is cut at a character and ends in "...".
void append_json_escaped(std::string& out, std::string_view text, std::size_t bytes_max = SIZE_MAX);

/// The length of the UTF-8 sequence at the start of `text` (RFC 3629 §4), or 0 when it is malformed
/// or cut off. `text` is not empty.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

/// `text` as a quoted JSON string.
[[nodiscard]] std::string json_quoted(std::string_view text);

}  // namespace merlon
