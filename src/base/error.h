#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

namespace merlon {

/// Stable codes of failures on the data plane; `error_codes.def` lists them.
namespace code {
#define MERLON_ERROR(number, name, rule) inline constexpr std::uint16_t name = number;
#include "base/error_codes.def"
#undef MERLON_ERROR
}  // namespace code

/// Who caused a failure. Decides the status class and whether a retry is allowed.
enum class Blame : std::uint8_t { kClient, kUpstream, kPolicy, kInternal };

/// A failure on the data plane: 16 bytes, never allocates, free to copy.
struct Error {
  std::uint16_t code{};  ///< merlon::code::*, stable across releases
  Blame blame{Blame::kInternal};
  bool retryable{false};         ///< true only if no byte reached the upstream
  std::uint32_t offset_bytes{};  ///< position in the input, 0 when it has none
  const char* what{""};          ///< static text only; never peer-controlled bytes
};
static_assert(sizeof(Error) == 16);

template <class T>
using Result = std::expected<T, Error>;

/// Builds the error branch of a Result. `what` must be static text.
[[nodiscard]] constexpr std::unexpected<Error> fail(std::uint16_t code, Blame blame,
                                                    const char* what,
                                                    std::uint32_t offset_bytes = 0) noexcept {
  return std::unexpected(
      Error{.code = code, .blame = blame, .offset_bytes = offset_bytes, .what = what});
}

/// A failure of TLS (100 to 199 in error_codes.def).
[[nodiscard]] constexpr bool is_tls_error(std::uint16_t code) noexcept {
  return code >= 100 && code < 200;
}

/// The stable rule name of a code, such as "bad-content-length"; "unknown" for a number not listed.
[[nodiscard]] std::string_view rule_name(std::uint16_t code) noexcept;

}  // namespace merlon
