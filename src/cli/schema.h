#pragma once

namespace CLI {
class App;
}

namespace merlon::cli {

/// Adds `merlon schema`: the JSON Schema of the configuration for editors, or with --markdown the
/// reference page. Leaves 0 in `exit_code`.
void add_schema_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
