#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/print_error.h"
#include "cli/ask_gateway.h"
#include "cli/diagnostics_output.h"
#include "cli/limits.h"
#include "cli/load_or_tell.h"

namespace merlon::cli {
namespace {

using nlohmann::json;

struct Arguments {
  std::string config;
  std::string format = "text";
  std::size_t top = 20;
};

/// What the gateway behind the socket answers; nullopt, after a message, when none does.
std::optional<std::string> ask(const std::string& path, std::string_view command) {
  const auto broker = io::make_local_broker();
  const io::OsResult<io::Fd> socket = broker->connect_unix(path);
  if (!socket) {
    print_error("merlon limits top: {}: {}; is the gateway running, and may you use its socket?\n",
                path, socket.error().text());
    return std::nullopt;
  }
  constexpr seconds kPatience{10};
  const auto answer = ask_gateway(*socket, command, kPatience);
  if (answer && answer->starts_with("ok\n")) return answer->substr(3);
  print_error("merlon limits top: the gateway gave no answer{}\n",
              answer ? "" : ": it is stopped or hangs");
  return std::nullopt;
}

/// The lines of the answer that are objects.
std::vector<json> lines_of(std::string_view answer) {
  std::vector<json> lines;
  while (!answer.empty()) {
    const std::size_t end = std::min(answer.find('\n'), answer.size());
    json line = json::parse(answer.substr(0, end), nullptr, false);
    if (line.is_object()) lines.push_back(std::move(line));
    answer.remove_prefix(std::min(end + 1, answer.size()));
  }
  return lines;
}

std::string report(std::vector<json> lines, const Arguments& arguments) {
  std::uint64_t others = 0;
  if (!lines.empty() && lines.back().contains("others")) {
    others = lines.back().value("others", std::uint64_t{0});
    lines.pop_back();
  }
  const std::size_t all = lines.size();
  lines.resize(std::min(all, arguments.top));
  if (arguments.format == "json") {
    json out{{"clients", lines}, {"clients_limited", all}, {"others_refused", others}};
    return out.dump(2) + "\n";
  }
  if (all == 0 && others == 0) return "nobody was limited in the last 10 to 20 seconds\n";
  std::string text;
  for (const json& line : lines) {
    const std::string of_class = line.value("class", "");
    text += fmt::format("{:>8}  {}  {}  {}{}\n", line.value("refused", std::uint64_t{0}),
                        line.value("client", ""), line.value("route", ""), line.value("rule", ""),
                        of_class.empty() ? "" : "  class " + of_class);
  }
  if (all > lines.size()) text += fmt::format("and {} more clients\n", all - lines.size());
  if (others > 0)
    text += fmt::format("{:>8}  of further clients, which the table had no room for\n", others);
  return text;
}

int top(const Arguments& arguments) {
  const auto broker = io::make_local_broker();
  const gateway::LoadResult loaded = load_or_tell(arguments.config, *broker);
  if (loaded.plan == nullptr) return 1;
  if (loaded.plan->admin_socket.empty()) {
    print_error("merlon limits top: {} has no `admin: {{ socket: … }}`\n", arguments.config);
    return 2;
  }
  const std::optional<std::string> answer = ask(loaded.plan->admin_socket, "limits\n");
  if (!answer) return 4;
  print(report(lines_of(*answer), arguments));
  return 0;
}

}  // namespace

void add_limits_top_command(CLI::App& limits, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = limits.add_subcommand("top", "Shows which clients this node limits now");
  command->add_option("-c,--config", arguments->config, "The configuration file")->required();
  command->add_option("--format", arguments->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->add_option("--top", arguments->top, "How many clients are listed")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->footer(
      "Refusals of the last 10 to 20 seconds by client, route, rule and class. They are requested "
      "from the\n"
      "running gateway over `admin.socket` of the file.\n"
      "Exit codes: 0 shown, 1 the configuration has errors, 2 wrong usage, 4 no gateway answers.\n"
      "Example: merlon limits top -c /etc/merlon/merlon.yaml");
  command->callback([arguments, &exit_code] { exit_code = top(*arguments); });
}

}  // namespace merlon::cli
