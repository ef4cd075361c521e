#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace merlon {

/// Formats a message for whoever runs the command, and writes it to standard error. Where that is
/// closed or full nobody reads it, which is no reason to fail.
template <class... Args>
void print_error(fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
}

}  // namespace merlon
