#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// `merlon run`: serves a configuration until it is told to stop.
void add_run_command(CLI::App& app, int& exit_code);
/// `merlon reload`: asks a running gateway to read its configuration again.
void add_reload_command(CLI::App& app, int& exit_code);
/// `merlon demo`: a complete gateway on loopback, without root and without a file.
void add_demo_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
