#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// `merlon limits simulate`. Leaves in `exit_code` what its --help lists.
void add_limits_command(CLI::App& app, int& exit_code);

/// `merlon limits top`, below `limits`.
void add_limits_top_command(CLI::App& limits, int& exit_code);

}  // namespace merlon::cli
