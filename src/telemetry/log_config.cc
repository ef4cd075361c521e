#include "telemetry/log_config.h"

#include <functional>
#include <utility>

namespace merlon::telemetry {
namespace {

/// A file name, or "-": read as one, so that both are judged alike.
config::Type<LogTarget> log_target() {
  return config::converted<LogTarget>(
      config::file(), std::function([](config::FilePath file) {
        if (file.written == "-") return LogTarget{};
        return LogTarget{.written = std::move(file.written), .path = std::move(file.path)};
      }),
      std::function([](const LogTarget& target) {
        return config::FilePath{.written = target.written, .path = target.path};
      }));
}

}  // namespace

const config::Object<LogConfig>& log_schema() {
  static const auto schema =
      config::Object<LogConfig>(
          "log", "Where the two logs go: one JSON object on each line. SIGUSR1 opens files anew.")
          .field("access", &LogConfig::access, log_target(),
                 "File of the access log, one line for each request and each connection refused; "
                 "`\"-\"` is standard output.")
          .field("process", &LogConfig::process, log_target(),
                 "File of the process log, one line for each event; `\"-\"` is standard error.")
          .field("level", &LogConfig::level,
                 config::words<Level>({{"debug", Level::kDebug},
                                       {"info", Level::kInfo},
                                       {"warning", Level::kWarning},
                                       {"error", Level::kError}}),
                 "Least severe events that the process log holds.")
          .mark(&LogConfig::at)
          .check([](const LogConfig& log, Diagnostics& out) {
            if (!log.access.is_standard_stream() && log.access.path == log.process.path)
              out.error(log.at, "the access log and the process log go to the same file",
                        "name two files: lines of both would mix, and rotation needs them apart");
          });
  return schema;
}

}  // namespace merlon::telemetry
