#include "cli/run.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/print_error.h"
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

int reload(const std::string& file) {
  const std::unique_ptr<io::Broker> broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(file, *broker);
  if (loaded.plan == nullptr) {
    print_error("merlon reload: {} has errors, so the running gateway was not asked\n", file);
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
    print_error("merlon reload: {}: {}; is the gateway running, and by whom?\n",
                loaded.plan->admin_socket, socket.error().text());
    return 4;
  }
  constexpr std::string_view kCommand = "reload\n";
  std::string answer;
  if (::send(socket->get(), kCommand.data(), kCommand.size(), MSG_NOSIGNAL) ==
      static_cast<ssize_t>(kCommand.size())) {
    char block[4096];
    for (ssize_t n = 0; (n = ::recv(socket->get(), block, sizeof block, 0)) > 0;)
      answer.append(block, static_cast<std::size_t>(n));
  }
  if (answer.starts_with("ok ") && answer != fmt::format("ok {}\n", loaded.plan->hash)) {
    print_error(
        "merlon reload: the gateway behind {} has read its configuration again, but that is not {} "
        "as it stands: it has the hash {}",
        loaded.plan->admin_socket, file, answer.substr(3));
    return 1;
  }
  if (answer.starts_with("ok ")) {
    fmt::print("reloaded: config hash {}", answer.substr(3));
    return 0;
  }
  if (answer.starts_with("late ")) {
    print_error(
        "merlon reload: the new configuration is in force, but {} workers are held up and "
        "take it only when they go on; see `plan_not_taken` in the process log\n",
        std::string_view(answer).substr(5, answer.find('\n') - 5));
    return 3;
  }
  const bool refused = answer.starts_with("refused\n");
  print_error(
      "{}merlon reload: {}\n", refused ? answer.substr(8) : "",
      refused ? "refused; the old configuration stays in force" : "the gateway gave no answer");
  return 1;
}

std::shared_ptr<std::string> add_config_option(CLI::App& command) {
  auto file = std::make_shared<std::string>();
  command.add_option("-c,--config", *file, "The configuration file")->required();
  return file;
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "Serves a configuration");
  const auto file = add_config_option(*command);
  command->footer(
      "SIGTERM drains and stops, SIGHUP reloads, SIGUSR1 reopens the logs.\n"
      "Exit codes: 0 stopped, 1 the configuration or a socket is unusable, 2 wrong usage.\n"
      "Example: merlon run -c /etc/merlon/merlon.yaml");
  command->callback([file, &exit_code] { exit_code = run(*file); });
}

void add_reload_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("reload", "Asks a running gateway to read its configuration again");
  const auto file = add_config_option(*command);
  command->footer(
      "Goes over `admin.socket` of the file. All of the new configuration is taken, or nothing "
      "changes.\n"
      "Exit codes: 0 reloaded, 1 refused, 2 wrong usage, 3 not all workers have it, 4 no gateway "
      "answers.\n"
      "Example: merlon reload -c /etc/merlon/merlon.yaml");
  command->callback([file, &exit_code] { exit_code = reload(*file); });
}

}  // namespace merlon::cli
