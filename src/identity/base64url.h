#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// base64url (RFC 4648 §5) as JOSE wants it (RFC 7515 §2): one text for each sequence of bytes.
namespace merlon::identity {

/// Bytes that `text_bytes` characters of base64url stand for at most.
[[nodiscard]] constexpr std::size_t base64url_decoded_max(std::size_t text_bytes) noexcept {
  return text_bytes / 4 * 3 + 2;
}

/// Decodes into `out`, which must have room for base64url_decoded_max(text.size()) bytes. Returns
/// the number of bytes, or nullopt for anything but the canonical form: padding, white space,
/// characters of plain base64, a length of 4n + 1, bits that are left over and not zero.
[[nodiscard]] std::optional<std::size_t> base64url_decode(std::string_view text,
                                                          std::span<char> out) noexcept;
/// As above, into a new string.
[[nodiscard]] std::optional<std::string> base64url_decode(std::string_view text);

/// Without padding.
[[nodiscard]] std::string base64url_encode(std::string_view bytes);

}  // namespace merlon::identity
