#pragma once

#include <fmt/format.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"

/// For tests that are tables of configuration and findings.
namespace merlon::audit::nginx {

/// What `http` within its frame is told for the rules in `only`, as "RULE:level RULE:level", each
/// once and sorted; "" when nothing is.
inline std::string findings_in(std::string_view http, const std::vector<std::string>& only) {
  Options options;
  options.kind = Kind::kNginx;
  options.only_rules = only;
  const AuditResult result =
      audit_text("nginx.conf", fmt::format("events {{}}\nhttp {{\n{}\n}}\n", http), options);
  std::set<std::string> found;
  for (const Finding& one : result.findings) {
    found.insert(fmt::format("{}:{}", one.rule, name(one.level)));
  }
  return fmt::format("{}", fmt::join(found, " "));
}

/// One row: what the rules say of a configuration.
struct RuleCase {
  const char* name;
  std::vector<std::string> only;
  const char* http;
  const char* want;
};

}  // namespace merlon::audit::nginx
