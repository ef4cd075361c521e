#include "cli/run.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "base/print_error.h"
#include "cli/ask_gateway.h"
#include "cli/load_or_tell.h"
#include "gateway/server.h"

namespace merlon::cli {
namespace {

int run(const std::string& file) {
  const std::unique_ptr<io::Broker> broker = io::make_local_broker();
  const SystemClock clock;
  gateway::Server server(*broker, clock, {.path = file, .text = {}});
  if (!server.start()) return 1;
  return server.run();
}

struct ReloadArguments {
  std::string file;
  std::int64_t patience_s = 60;
};

int reload(const ReloadArguments& arguments) {
  const std::string& file = arguments.file;
  const std::unique_ptr<io::Broker> broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(file, *broker);
  if (loaded.plan == nullptr) {
    print_error("merlon reload: {} has errors, so the running gateway was not asked to reload\n",
                file);
    return 1;
  }
  if (loaded.plan->admin_socket.empty()) {
    print_error(
        "merlon reload: {} has no `admin: {{ socket: … }}`; send SIGHUP to the process instead\n",
        file);
    return 2;
  }
  const io::OsResult<io::Fd> socket = broker->connect_unix(loaded.plan->admin_socket);
  if (!socket) {
    print_error("merlon reload: {}: {}; is the gateway running, and may you use its socket?\n",
                loaded.plan->admin_socket, socket.error().text());
    return 4;
  }
  const auto asked = ask_gateway(*socket, "reload\n", seconds{arguments.patience_s});
  if (!asked) {
    print_error(
        "merlon reload: the gateway behind {} has not answered for {} s: it is stopped or hangs, "
        "and whether it reloads is not known\n",
        loaded.plan->admin_socket, arguments.patience_s);
    return 4;
  }
  const std::string& answer = *asked;
  if (answer.starts_with("ok ") && answer != fmt::format("ok {}\n", loaded.plan->hash)) {
    print_error(
        "merlon reload: the gateway behind {} has reloaded its configuration, but that is not {} "
        "as it is now: its hash is {}",
        loaded.plan->admin_socket, file, answer.substr(3));
    return 1;
  }
  if (answer.starts_with("ok ")) {
    fmt::print("reloaded: config hash {}", answer.substr(3));
    return 0;
  }
  if (answer.starts_with("late ")) {
    print_error(
        "merlon reload: the new configuration is in force, but {} workers are stuck and take it "
        "only when they continue; see `plan_not_taken` in the process log\n",
        std::string_view(answer).substr(5, answer.find('\n') - 5));
    return 3;
  }
  const bool refused = answer.starts_with("refused\n");
  print_error(
      "{}merlon reload: {}\n", refused ? answer.substr(8) : "",
      refused ? "refused; the old configuration stays in force" : "the gateway gave no answer");
  return 1;
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "Runs the gateway with a configuration");
  auto file = std::make_shared<std::string>();
  command->add_option("-c,--config", *file, "The configuration file")->required();
  command->footer(
      "SIGTERM drains and stops, SIGHUP reloads, SIGUSR1 reopens the logs.\n"
      "Exit codes: 0 stopped, 1 the configuration or a socket is unusable, 2 wrong usage.\n"
      "Example: merlon run -c /etc/merlon/merlon.yaml");
  command->callback([file, &exit_code] { exit_code = run(*file); });
}

void add_reload_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("reload", "Asks a running gateway to read its configuration again");
  auto arguments = std::make_shared<ReloadArguments>();
  command->add_option("-c,--config", arguments->file, "The configuration file")->required();
  command->add_option("--timeout", arguments->patience_s, "How many seconds to wait for its answer")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command->footer(
      "Uses `admin.socket` of the file. Either the whole new configuration takes effect, or "
      "nothing changes.\n"
      "Exit codes: 0 reloaded, 1 refused, 2 wrong usage, 3 not all workers have it, 4 no gateway "
      "answers.\n"
      "Example: merlon reload -c /etc/merlon/merlon.yaml");
  command->callback([arguments, &exit_code] { exit_code = reload(*arguments); });
}

}  // namespace merlon::cli
