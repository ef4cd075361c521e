#include "cli/limits.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/escape.h"
#include "base/print_error.h"
#include "cli/diagnostics_output.h"
#include "cli/load_or_tell.h"
#include "gateway/limit_simulation.h"

namespace merlon::cli {
namespace {

using gateway::SimulationReport;

constexpr std::size_t kLogBytesMax = 2UL * 1024 * 1024 * 1024;

struct Arguments {
  std::string config;
  std::vector<std::string> logs;
  std::string format = "text";
  std::size_t top = 20;
};

std::string text_report(const SimulationReport& report, std::size_t top) {
  std::string out =
      fmt::format("{} requests replayed, {} of them refused\n", report.requests, report.refused);
  if (report.unrouted > 0)
    out += fmt::format("{} requests that match no route of the configuration\n", report.unrouted);
  if (report.unreadable > 0)
    out += fmt::format("{} lines that are not requests of an access log\n", report.unreadable);
  if (report.anonymous > 0) {
    out += fmt::format(
        "{} requests without an identity in the log: limits and quotas by identity, and "
        "concurrency, were not replayed for them\n",
        report.anonymous);
  }
  for (const auto& limit : report.limits) {
    out +=
        fmt::format("{}  {}  {}{}: {} refused, {} client{}\n", limit.line, limit.route, limit.rule,
                    limit.limit_class.empty() ? "" : " in class " + limit.limit_class,
                    limit.refused, limit.clients, limit.clients == 1 ? "" : "s");
  }
  for (std::size_t i = 0; i < std::min(top, report.clients.size()); ++i) {
    const auto& client = report.clients[i];
    out += fmt::format("  {}: {} of {} refused\n", client.client.to_string(), client.refused,
                       client.requests);
  }
  if (report.clients.size() > top)
    out += fmt::format("  and {} more clients\n", report.clients.size() - top);
  return out;
}

std::string json_report(const SimulationReport& report, std::size_t top) {
  std::string out = fmt::format(
      "{{\n  \"requests\": {},\n  \"refused\": {},\n  \"unrouted\": {},\n  \"unreadable\": {},\n"
      "  \"anonymous\": {},\n  \"limits\": [",
      report.requests, report.refused, report.unrouted, report.unreadable, report.anonymous);
  for (std::size_t i = 0; i < report.limits.size(); ++i) {
    const auto& limit = report.limits[i];
    out += fmt::format(
        "{}\n    {{\"route\": {}, \"rule\": {}, {}\"line\": {}, \"refused\": {}, \"clients\": {}}}",
        i == 0 ? "" : ",", json_quoted(limit.route), json_quoted(limit.rule),
        limit.limit_class.empty() ? ""
                                  : fmt::format("\"class\": {}, ", json_quoted(limit.limit_class)),
        json_quoted(limit.line), limit.refused, limit.clients);
  }
  out += fmt::format("\n  ],\n  \"clients_refused\": {},\n  \"clients\": [", report.clients.size());
  for (std::size_t i = 0; i < std::min(top, report.clients.size()); ++i) {
    const auto& client = report.clients[i];
    out += fmt::format("{}\n    {{\"client\": {}, \"requests\": {}, \"refused\": {}}}",
                       i == 0 ? "" : ",", json_quoted(client.client.to_string()), client.requests,
                       client.refused);
  }
  return out + "\n  ]\n}\n";
}

/// Every line of the file, without its end.
bool replay(const std::string& path, io::Broker& broker, gateway::LimitSimulation& simulation) {
  const io::OsResult<std::string> text = broker.read_file(path, kLogBytesMax);
  if (!text) {
    print_error("merlon limits: {}: {}\n", path, text.error().text());
    return false;
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    simulation.add(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return true;
}

int simulate(const Arguments& arguments) {
  const auto broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(arguments.config, *broker);
  if (loaded.plan == nullptr) return 1;
  gateway::LimitSimulation simulation(*loaded.plan, loaded.config);
  for (const std::string& path : arguments.logs) {
    if (!replay(path, *broker, simulation)) return 2;
  }
  const SimulationReport report = simulation.run();
  print(arguments.format == "json" ? json_report(report, arguments.top)
                                   : text_report(report, arguments.top));
  return 0;
}

}  // namespace

void add_limits_command(CLI::App& app, int& exit_code) {
  CLI::App* limits = app.add_subcommand("limits", "Shows which clients are limited, or would be");
  limits->require_subcommand(1);
  add_limits_top_command(*limits, exit_code);
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = limits->add_subcommand(
      "simulate",
      "Replays access logs and shows whom the limits of a configuration would have refused");
  command->add_option("-c,--config", arguments->config, "The configuration file")->required();
  command->add_option("log", arguments->logs, "Merlon's access logs")->required();
  command->add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->add_option("--top", arguments->top, "How many of the refused clients are listed")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->footer(
      "Uses the gateway's own code, and the times of the log. Requests that the log says were "
      "refused are\n"
      "replayed like all others. Limits in shadow mode count as refusing. Shared limits and quotas "
      "are\n"
      "counted over all given logs, as if one node had served them. Identities are distinguished "
      "by their\n"
      "pseudonyms in the log; where it has none, the report says what was left out.\n"
      "Exit codes: 0 replayed, 1 the configuration has errors, 2 wrong usage or an unreadable "
      "log.\n"
      "Example: merlon limits simulate -c new.yaml /var/log/merlon/access.log");
  command->callback([arguments, &exit_code] { exit_code = simulate(*arguments); });
}

}  // namespace merlon::cli
