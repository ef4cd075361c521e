#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/diagnostics.h"
#include "base/print_error.h"
#include "cli/audit.h"
#include "cli/check.h"
#include "cli/explain.h"
#include "cli/key.h"
#include "cli/limits.h"
#include "cli/run.h"
#include "cli/schema.h"
#include "cli/show.h"
#include "cli/token.h"
#include "config/shown.h"

namespace {

/// What is opened later must not become one of the standard streams that whoever started this has
/// closed. Writing to what stands there now fails, as it did.
void hold_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0) static_cast<void>(::open("/dev/null", O_RDONLY));
  }
}

/// A report that did not reach its file whole must not end well. Says so when it did not.
bool written_whole() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  merlon::print_error("merlon: standard output could not be written: {}\n",
                      errno == 0 ? "an earlier write failed" : std::strerror(errno));
  return false;
}

/// What is wrong when a word stands in the place of a command and names none; "" otherwise.
std::string unknown_command(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  const std::vector<std::string> left = at->remaining();
  if (at->get_require_subcommand_min() == 0 || left.empty() || left.front().starts_with('-'))
    return {};
  std::vector<std::string_view> known;
  for (const CLI::App* command : at->get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  const std::string_view near = merlon::nearest(left.front(), known);
  return fmt::format("there is no command {}{}", merlon::config::shown(left.front()),
                     near.empty() ? "" : fmt::format("; did you mean `{}`?", near));
}

}  // namespace

int main(int argc, char** argv) {
  hold_standard_streams();
  CLI::App app(
      "Merlon: an API gateway that is hardened by default, and an auditor of configuration");
  app.require_subcommand(1);
  app.footer(
      "Every command has --help with an example. Exit code 2 is wrong usage, and output that could "
      "not be written.");
  int exit_code = 0;
  merlon::cli::add_run_command(app, exit_code);
  merlon::cli::add_demo_command(app, exit_code);
  merlon::cli::add_check_command(app, exit_code);
  merlon::cli::add_show_command(app, exit_code);
  merlon::cli::add_explain_command(app, exit_code);
  merlon::cli::add_schema_command(app, exit_code);
  merlon::cli::add_reload_command(app, exit_code);
  merlon::cli::add_limits_command(app, exit_code);
  merlon::cli::add_audit_command(app, exit_code);
  merlon::cli::add_key_command(app, exit_code);
  merlon::cli::add_token_command(app, exit_code);
  CLI::App* const version = app.add_subcommand("version", "Prints the version");
  version->callback([] { fmt::print("merlon {}\n", MERLON_VERSION); });
  version->footer("Exit codes: 0 printed, 2 wrong usage.\nExample: merlon version");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // 2 is wrong usage, whatever was wrong; --help and its like are 0.
    if (const std::string unknown = unknown_command(app); !unknown.empty()) {
      merlon::print_error("merlon: {}\nRun with --help for more information.\n", unknown);
      return 2;
    }
    if (app.exit(error) != 0) return 2;
  } catch (const std::system_error& error) {
    merlon::print_error("merlon: {}\n", error.what());
    return 2;
  }
  return written_whole() ? exit_code : 2;
}
