#include "cli/check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/escape.h"
#include "base/print_error.h"
#include "base/terminal.h"
#include "cli/diagnostics_output.h"
#include "gateway/load.h"

namespace merlon::cli {
namespace {

struct Arguments {
  std::string config;
  std::string format = "text";
};

std::string text_report(const std::string& path, const gateway::LoadResult& result) {
  std::string out = result.diagnostics.render(wants_color(STDOUT_FILENO));
  if (result.plan == nullptr) return out;
  const gateway::Plan& plan = *result.plan;
  const auto count = [](std::size_t number, std::string_view what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
  };
  return out + fmt::format("{}: ok ({}, {}, {})\n", path, count(plan.routes.size(), "route"),
                           count(plan.upstreams.size(), "upstream"),
                           count(plan.listeners.size(), "listener"));
}

std::string json_report(const std::string& path, const gateway::LoadResult& result) {
  std::string out = "{\n  \"file\": " + json_quoted(path);
  out += fmt::format(",\n  \"ok\": {}", result.plan != nullptr);
  if (result.plan != nullptr) {
    out += fmt::format(
        ",\n  \"hash\": {},\n  \"routes\": {},\n  \"upstreams\": {},\n  \"listeners\": {}",
        json_quoted(result.plan->hash), result.plan->routes.size(), result.plan->upstreams.size(),
        result.plan->listeners.size());
  }
  return out + ",\n  \"findings\": " + diagnostics_json(result.diagnostics) + "\n}\n";
}

int run(const Arguments& arguments) {
  const auto broker = io::make_local_broker();
  const gateway::LoadResult result =
      gateway::load_plan(arguments.config, *broker, SystemClock().wall_now(), gateway::kStrict);
  if (::geteuid() == 0) {
    print_error(
        "merlon: checked as root, which can read every file: run it as the gateway's user (such as "
        "`sudo -u merlon`) to find files that the gateway cannot read\n");
  }
  print(arguments.format == "json" ? json_report(arguments.config, result)
                                   : text_report(arguments.config, result));
  return result.plan != nullptr ? 0 : 1;
}

}  // namespace

void add_check_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("check", "Reports every error and violated rule of a configuration");
  command->add_option("-c,--config", arguments->config, "The configuration file")->required();
  command->add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Exit codes: 0 the configuration is valid, 1 it has errors, 2 wrong usage.\n"
      "Example: merlon check -c /etc/merlon/merlon.yaml");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace merlon::cli
