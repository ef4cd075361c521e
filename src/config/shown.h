#pragma once

#include <string>
#include <string_view>

#include "base/escape.h"

namespace merlon::config {

/// Text of a file for a message: in backticks, cut after 64 bytes, control characters escaped so
/// that no file steers the terminal that shows it.
[[nodiscard]] inline std::string shown(std::string_view text) {
  constexpr std::size_t kShownBytesMax = 64;
  std::string out = "`";
  append_json_escaped(out, text, kShownBytesMax);
  return out + "`";
}

}  // namespace merlon::config
