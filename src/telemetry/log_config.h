#pragma once

#include <string>

#include "base/diagnostics.h"
#include "config/schema.h"
#include "telemetry/events.h"

namespace merlon::telemetry {

/// Where a log goes: a file, or "-" for the standard stream of its kind.
struct LogTarget {
  std::string written = "-";
  std::string path = "-";  ///< to open: relative names are relative to the configuration
  [[nodiscard]] bool is_standard_stream() const noexcept { return written == "-"; }
};

/// `log:` of the configuration.
struct LogConfig {
  LogTarget access;   ///< "-": standard output
  LogTarget process;  ///< "-": standard error
  Level level = Level::kInfo;
  Mark at;
};

[[nodiscard]] const config::Object<LogConfig>& log_schema();

}  // namespace merlon::telemetry
