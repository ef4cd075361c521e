#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace merlon::http {

/// "Not Found" for 404; empty for a status that RFC 9110 and its registry do not name. Static.
[[nodiscard]] std::string_view reason_phrase(unsigned status) noexcept;

/// The status that answers a failure: 400, 405, 408, 413, 414, 417, 421, 431, 501, 505 for what a
/// client did; 502, 503, 504 for an upstream; 500 when it is our own. Blame decides: the same bad
/// field is 400 from a client and 502 from an upstream.
[[nodiscard]] unsigned status_for(const Error& error) noexcept;

}  // namespace merlon::http
