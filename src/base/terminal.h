#pragma once

namespace merlon {

/// True when colours are wanted on `fd`: a terminal, TERM is not "dumb", NO_COLOR is not set
/// (no-color.org).
[[nodiscard]] bool wants_color(int fd) noexcept;

}  // namespace merlon
