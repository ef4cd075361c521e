#pragma once

#include <cstdint>
#include <string_view>

/// What a Content-Security-Policy lets a browser do (CSP Level 3).
namespace merlon::audit {

/// The source by which a script that somebody injected runs in spite of the policy, such as
/// "'unsafe-inline'"; "" when there is none. Beside a nonce, a hash or 'strict-dynamic' browsers
/// pass over 'unsafe-inline', and beside 'strict-dynamic' over hosts and schemes (CSP 6.7.3.2,
/// 8.2).
[[nodiscard]] std::string_view script_weakness(std::string_view policy);

enum class Framing : std::uint8_t { kUnsaid, kEveryone, kSome };

/// Who may frame a page, by the policy's frame-ancestors. Browsers heed that, and X-Frame-Options
/// where it is unsaid only.
[[nodiscard]] Framing framing_of(std::string_view policy);

}  // namespace merlon::audit
