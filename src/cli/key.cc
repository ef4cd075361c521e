#include "cli/key.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/print_error.h"
#include "cli/diagnostics_output.h"
#include "config/schema.h"
#include "identity/api_keys.h"
#include "identity/date.h"
#include "identity/identity.h"

namespace merlon::cli {
namespace {

struct Options {
  std::string owner;
  std::vector<std::string> scopes;
  std::string expires;
  std::vector<std::string> networks;
};

std::string list_of(std::string_view name, const std::vector<std::string>& items) {
  std::string text = fmt::format("    {}: [", name);
  for (std::size_t i = 0; i < items.size(); ++i) {
    text += (i == 0 ? "" : ", ") + config::detail::yaml_scalar(items[i]);
  }
  return text + "]\n";
}

/// The entry for the file, such that it can be appended to it as it is.
std::string entry_of(const identity::NewApiKey& key, const Options& options) {
  std::string text = fmt::format("  - id: {}\n    owner: {}\n    hash: {}\n", key.id,
                                 config::detail::yaml_scalar(options.owner), key.hash);
  if (!options.scopes.empty()) text += list_of("scopes", options.scopes);
  if (!options.expires.empty()) text += fmt::format("    expires: {}\n", options.expires);
  if (!options.networks.empty()) text += list_of("networks", options.networks);
  return text;
}

int make_key(const Options& options) {
  const auto expires = identity::parse_date(options.expires);
  if (!options.expires.empty() && !expires.has_value()) {
    print_error("merlon: --expires is a date such as 2027-01-31\n");
    return 2;
  }
  if (expires.has_value() && *expires <= identity::token_time(SystemClock().wall_now())) {
    print_error("merlon: --expires: {} is in the past, so the key would never be valid\n",
                options.expires);
    return 2;
  }
  for (const std::string& network : options.networks) {
    if (Cidr::parse(network).has_value()) continue;
    print_error("merlon: --network is an address or a block such as 10.0.0.0/8\n");
    return 2;
  }
  const auto key = identity::make_api_key();
  if (!key.has_value()) {
    print_error("merlon: the system has no random bytes for a key\n");
    return 1;
  }
  const std::string entry = entry_of(*key, options);
  Diagnostics found;
  static_cast<void>(identity::ApiKeys::read("the entry", "keys:\n" + entry, found));
  for (const Diagnostic& one : found.all()) {
    if (one.severity != Severity::kError) continue;
    print_error("merlon: the entry would be refused: {}\n", one.message);
  }
  if (!found.ok()) return 2;
  print(
      fmt::format("# The key, for {}. It is shown this once and kept nowhere:\n# {}\n"
                  "# The entry for the file that `api_keys` names, under `keys:`:\n{}",
                  config::detail::yaml_scalar(options.owner), key->key.reveal(), entry));
  return 0;
}

}  // namespace

void add_key_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("key", "API keys");
  command->require_subcommand(1);
  CLI::App* fresh = command->add_subcommand(
      "new", "Creates an API key: prints the key, once, and the entry with its hash for the file");
  auto options = std::make_shared<Options>();
  fresh->add_option("--owner", options->owner, "Its owner: `sub` of the identity")->required();
  fresh->add_option("--scope", options->scopes, "A scope that it has; may be repeated");
  fresh->add_option("--expires", options->expires, "When it expires, such as 2027-01-31");
  fresh->add_option("--network", options->networks,
                    "A network that it may be used from, such as 10.0.0.0/8; may be repeated");
  fresh->footer(
      "Exit codes: 0 printed, 1 no randomness, 2 wrong usage.\n"
      "Example: merlon key new --owner billing --scope orders.read --expires 2027-01-31");
  fresh->callback([options, &exit_code] { exit_code = make_key(*options); });
}

}  // namespace merlon::cli
