#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// Adds `merlon audit` to `app`. When it is the command that was given, it runs while `app` parses
/// and leaves its result in `exit_code`: 0 clean, 1 findings at or above --fail-on, 2 wrong usage,
/// 3 something could not be read. Prints to standard output; errors to standard error.
void add_audit_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
