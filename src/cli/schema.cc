#include "cli/schema.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/diagnostics_output.h"
#include "gateway/config.h"

namespace merlon::cli {

void add_schema_command(CLI::App& app, int& exit_code) {
  auto markdown = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("schema", "Prints the JSON Schema of the configuration, for editors");
  command->add_flag("--markdown", *markdown, "Print the reference page instead");
  command->footer(
      "Exit codes: 0 printed, 2 wrong usage.\nExample: merlon schema > merlon.schema.json");
  command->callback([markdown, &exit_code] {
    const auto& schema = gateway::config_schema();
    print(*markdown ? config::reference_markdown(schema) : config::json_schema(schema));
    exit_code = 0;
  });
}

}  // namespace merlon::cli
