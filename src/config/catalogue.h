#pragma once

#include <span>
#include <string_view>

/// The catalogue of rules: one list, one id per rule, used by `check`, `audit` and the posture
/// report. Compiled in from rules.tsv.
namespace merlon::config {

/// How bad a violation is. Ordered: `--fail-on` compares.
enum class RuleSeverity : unsigned char { kInfo, kLow, kMedium, kHigh, kCritical };

[[nodiscard]] std::string_view to_string(RuleSeverity severity) noexcept;

/// One rule. All views are static. A lone "-" in the catalogue is an empty view here.
struct Rule {
  std::string_view id;     ///< "MTH-01"; stable, for reports
  std::string_view slug;   ///< "methods-unrestricted"; stable, for waivers
  std::string_view title;  ///< what is wrong, in one line
  RuleSeverity severity = RuleSeverity::kInfo;
  std::string_view nginx_trigger;   ///< what shows it in nginx configuration
  std::string_view envoy_trigger;   ///< what shows it in Envoy configuration
  std::string_view probe_sees;      ///< what shows it from outside
  std::string_view merlon_trigger;  ///< what violates it in Merlon's own configuration
  std::string_view remediation;     ///< what to do, in one line, whatever the product
  std::string_view nginx_remedy;    ///< the same in nginx's words; empty: there are no better ones
  std::string_view envoy_remedy;    ///< in Envoy's
  std::string_view owasp;           ///< OWASP API Security Top 10 (2023), "API8,API5"
  std::string_view nist;            ///< NIST SP 800-53 Rev. 5 controls, "CM-7,AC-3"
  std::string_view cwe;             ///< "CWE-650"
  std::string_view cis;             ///< CIS NGINX Benchmark 2.1 section
  std::string_view source;          ///< where the rule comes from
  std::string_view fp_guard;        ///< when it must not be reported
  std::string_view tier;            ///< "A" first, then "B", "C"
};

/// Every rule, in the order of the catalogue.
[[nodiscard]] std::span<const Rule> rules();
/// nullptr when there is no such rule.
[[nodiscard]] const Rule* find_rule(std::string_view slug);
[[nodiscard]] const Rule* find_rule_by_id(std::string_view id);
/// The slug nearest to a mistyped one, or "".
[[nodiscard]] std::string_view nearest_slug(std::string_view slug);

}  // namespace merlon::config
