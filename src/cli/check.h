#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// Adds `merlon check`. When it is the command that was given, it runs while `app` parses and
/// leaves its result in `exit_code`: 0 the configuration is right, 1 it has errors, 2 wrong usage.
/// Prints to standard output.
void add_check_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
