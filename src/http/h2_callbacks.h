#pragma once

#include <nghttp2/nghttp2.h>

namespace merlon::http {

/// nghttp2's settings and callbacks, the same for every session of a role. Static.
[[nodiscard]] const nghttp2_session_callbacks* h2_callbacks() noexcept;
[[nodiscard]] const nghttp2_option* h2_options() noexcept;
/// How nghttp2 asks for the data of a stream.
[[nodiscard]] nghttp2_data_source_read_callback h2_read_part() noexcept;

}  // namespace merlon::http
