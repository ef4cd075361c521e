#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// Adds `merlon explain`: which step decides a request, why, and by which line. Leaves in
/// `exit_code`: 0 the request would be let through or answered, 1 it would be refused, 2 wrong
/// usage, 3 the configuration has errors, 4 only a running gateway could tell. Prints to standard
/// output; errors to standard error.
void add_explain_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
