#include "cli/show.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/escape.h"
#include "base/print_error.h"
#include "cli/diagnostics_output.h"
#include "cli/load_or_tell.h"

namespace merlon::cli {
namespace {

constexpr std::size_t kColumnMax = 60;  // longer places push their own line only

struct Arguments {
  std::string config;
  std::string format = "text";
  bool effective = false;
};

std::string text_rows(const std::vector<config::EffectiveRow>& rows) {
  std::size_t place_width = 0;
  std::size_t value_width = 0;
  for (const auto& row : rows) {
    place_width = std::max(place_width, std::min(row.place.size(), kColumnMax));
    value_width = std::max(value_width, std::min(row.value.size(), kColumnMax));
  }
  std::string out;
  for (const auto& row : rows) {
    out += fmt::format("{:<{}}  {:<{}}  {}\n", row.place, place_width, row.value, value_width,
                       row.origin());
  }
  return out;
}

std::string json_rows(const std::string& hash, const std::vector<config::EffectiveRow>& rows) {
  std::string out = "{\n  \"hash\": " + json_quoted(hash) + ",\n  \"values\": [";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    out += fmt::format("{}\n    {{\"place\": {}, \"value\": {}, \"origin\": {}}}",
                       i == 0 ? "" : ",", json_quoted(rows[i].place), json_quoted(rows[i].value),
                       json_quoted(rows[i].origin()));
  }
  return out + "\n  ]\n}\n";
}

int run(const Arguments& arguments) {
  if (!arguments.effective) {
    print_error("merlon show: say what to show: --effective\n");
    return 2;
  }
  const auto broker = io::make_local_broker();
  const gateway::LoadResult result = load_or_tell(arguments.config, *broker);
  if (result.plan == nullptr) return 1;
  const auto rows =
      config::effective(gateway::config_schema(), result.config, &result.tree->root());
  print(arguments.format == "json" ? json_rows(result.plan->hash, rows) : text_rows(rows));
  return 0;
}

}  // namespace

void add_show_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("show", "Shows the values that a configuration puts in force");
  command->add_option("-c,--config", arguments->config, "The configuration file")->required();
  command->add_flag("--effective", arguments->effective,
                    "Every value in force, with the line or the default that it comes from");
  command->add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Exit codes: 0 shown, 1 the configuration has errors, 2 wrong usage.\n"
      "Example: merlon show -c /etc/merlon/merlon.yaml --effective");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace merlon::cli
