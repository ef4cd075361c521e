#pragma once

namespace CLI {
class App;
}  // namespace CLI

namespace merlon::cli {

/// `merlon token inspect`: why a token would be accepted or refused.
void add_token_command(CLI::App& app, int& exit_code);

}  // namespace merlon::cli
