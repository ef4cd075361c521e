#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// Adds `merlon show`: every value in force with the line, or the default, that it comes from.
/// Leaves in `exit_code`: 0 shown, 1 the configuration has errors, 2 wrong usage.
void add_show_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
