#pragma once

namespace CLI {
class App;
}  // namespace CLI

namespace merlon::cli {

/// `merlon key new`: makes an API key and prints it, once.
void add_key_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
