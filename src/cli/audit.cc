#include "cli/audit.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "audit/baseline.h"
#include "audit/report/report.h"
#include "base/print_error.h"
#include "base/terminal.h"
#include "cli/diagnostics_output.h"
#include "config/catalogue.h"

namespace merlon::cli {
namespace {

constexpr int kUsage = 2;

struct Arguments {
  std::vector<std::string> paths;
  std::string kind;
  std::string format = "text";
  std::string fail_on = "high";
  std::string rule;
  std::vector<std::string> only;
  std::vector<std::string> allow_roots;
  std::string baseline;
  bool rules = false;
  bool fix = false;
  bool strict = false;
  bool write_baseline = false;
};

const config::Rule* find_rule(std::string_view name) {
  const config::Rule* rule = config::find_rule_by_id(name);
  return rule != nullptr ? rule : config::find_rule(name);
}

int list_rules() {
  for (const config::Rule& rule : config::rules()) {
    print(fmt::format("{:<7} {:<8} {:<32} {}\n", rule.id, config::to_string(rule.severity),
                      rule.slug, rule.title));
  }
  return 0;
}

int unknown_rule(std::string_view name) {
  const std::string_view near = config::nearest_slug(name);
  print_error("merlon audit: there is no rule \"{}\"{}\n", name,
              near.empty() ? "" : fmt::format("; is \"{}\" meant?", near));
  return kUsage;
}

int describe_rule(std::string_view name) {
  const config::Rule* rule = find_rule(name);
  if (rule == nullptr) return unknown_rule(name);
  print(fmt::format("{} {} ({})\n{}\n\n", rule->id, rule->slug, config::to_string(rule->severity),
                    rule->title));
  const std::array<std::pair<std::string_view, std::string_view>, 12> facts = {{
      {"seen in nginx", rule->nginx_trigger},
      {"seen in Envoy", rule->envoy_trigger},
      {"seen in Merlon", rule->merlon_trigger},
      {"from outside", rule->probe_sees},
      {"not reported", rule->fp_guard},
      {"what to do", rule->remediation},
      {"  in nginx", rule->nginx_remedy},
      {"  in Envoy", rule->envoy_remedy},
      {"OWASP API 2023", rule->owasp},
      {"NIST SP 800-53", rule->nist},
      {"CWE", rule->cwe},
      {"CIS NGINX", rule->cis},
  }};
  for (const auto& [label, text] : facts) {
    if (!text.empty()) print(fmt::format("{:<15} {}\n", label, text));
  }
  return 0;
}

/// Fills `options` from the command line; false, with a message, when a word is not known.
bool read_options(const Arguments& arguments, audit::Options& options) {
  if (!arguments.kind.empty() && !audit::parse_kind(arguments.kind, options.kind)) {
    print_error("merlon audit: --kind is nginx, envoy or merlon, not \"{}\"\n", arguments.kind);
    return false;
  }
  for (const std::string& name : arguments.only) {
    const config::Rule* rule = find_rule(name);
    if (rule == nullptr) return unknown_rule(name), false;
    options.only_rules.emplace_back(rule->id);
  }
  options.strict = arguments.strict;
  options.baseline_path = arguments.baseline;
  options.allow_roots = arguments.allow_roots;
  return true;
}

int run(const Arguments& arguments) {
  if (arguments.rules) return list_rules();
  if (!arguments.rule.empty()) return describe_rule(arguments.rule);
  if (arguments.paths.empty()) {
    print_error("merlon audit: name a file or folder to audit, such as /etc/nginx\n");
    return kUsage;
  }
  audit::Level fail_on = audit::Level::kHigh;
  if (!audit::parse_level(arguments.fail_on, fail_on)) {
    print_error("merlon audit: --fail-on is info, low, medium, high or critical, not \"{}\"\n",
                arguments.fail_on);
    return kUsage;
  }
  audit::report::Format format = audit::report::Format::kText;
  if (!audit::report::parse_format(arguments.format, format)) {
    print_error("merlon audit: --format is {}, not \"{}\"\n", audit::report::format_names(),
                arguments.format);
    return kUsage;
  }
  audit::Options options;
  if (!read_options(arguments, options)) return kUsage;
  const audit::AuditResult result = audit::audit(arguments.paths, options);
  if (arguments.write_baseline) {
    print(audit::render_baseline(result));
  } else if (arguments.fix) {
    print(audit::unified_diff(result));
  } else {
    print(audit::report::render(result, format,
                                {.color = wants_color(STDOUT_FILENO), .fail_on = fail_on}));
  }
  return audit::exit_code(result, fail_on);
}

}  // namespace

void add_audit_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "audit", "Finds misconfiguration in nginx, Envoy and Merlon configuration");
  command->add_option("PATH", arguments->paths, "Files or folders to read; - is standard input");
  command->add_option("--kind", arguments->kind, "nginx, envoy or merlon; detected by default");
  command
      ->add_option("--format", arguments->format,
                   "Format of the report: " + audit::report::format_names())
      ->capture_default_str();
  command
      ->add_option("--fail-on", arguments->fail_on,
                   "Exit with 1 if a finding has at least this severity")
      ->capture_default_str();
  command->add_flag("--rules", arguments->rules, "List the rules");
  command->add_option("--rule", arguments->rule, "Explain one rule, by id or slug");
  command->add_option("--only", arguments->only, "Report only these rules, as ID,ID")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--fix", arguments->fix,
                    "Print the mechanical fixes as a patch for patch -p0 (with -d / if its paths "
                    "begin at /); no file is changed");
  command->add_option("--baseline", arguments->baseline,
                      "A file of known findings, which do not fail the audit");
  command
      ->add_flag("--write-baseline", arguments->write_baseline,
                 "Print the current findings as a baseline")
      ->excludes("--fix");
  command
      ->add_option("--allow-root", arguments->allow_roots,
                   "Another folder that includes may read; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--strict", arguments->strict,
                    "Also demand 256-bit ciphers and authentication");
  command->footer(
      "Exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong usage, 3 something could not "
      "be read.\nExample: merlon audit /etc/nginx --fail-on medium");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace merlon::cli
