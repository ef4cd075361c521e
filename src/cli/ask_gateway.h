#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "io/fd.h"

namespace merlon::cli {

/// Sends a command to a running gateway by its `admin.socket`, and returns all that it answers, ""
/// when it closes without a word. nullopt when nothing came for `patience`: it is stopped, or
/// hangs.
[[nodiscard]] std::optional<std::string> ask_gateway(const io::Fd& socket, std::string_view command,
                                                     seconds patience);

}  // namespace merlon::cli
