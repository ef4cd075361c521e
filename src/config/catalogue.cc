#include "config/catalogue.h"

#include <array>
#include <cstdlib>
#include <unordered_map>
#include <vector>

#include "base/diagnostics.h"

/// The lines of rules.tsv, the first one its heading; made by the build.
extern const std::span<const std::string_view> merlon_rules_tsv;

namespace merlon::config {
namespace {

constexpr std::size_t kColumns = 18;

RuleSeverity severity_of(std::string_view word) {
  if (word == "critical") return RuleSeverity::kCritical;
  if (word == "high") return RuleSeverity::kHigh;
  if (word == "medium") return RuleSeverity::kMedium;
  if (word == "low") return RuleSeverity::kLow;
  return RuleSeverity::kInfo;
}

std::array<std::string_view, kColumns> columns_of(std::string_view line) {
  std::array<std::string_view, kColumns> columns;
  for (std::string_view& column : columns) {
    const std::size_t tab = line.find('\t');
    column = line.substr(0, tab);
    if (column == "-") column = {};
    line = tab == std::string_view::npos ? std::string_view{} : line.substr(tab + 1);
  }
  return columns;
}

Rule rule_of(std::string_view line) {
  const auto c = columns_of(line);
  return {.id = c[0],
          .slug = c[1],
          .title = c[2],
          .severity = severity_of(c[3]),
          .nginx_trigger = c[4],
          .envoy_trigger = c[5],
          .probe_sees = c[6],
          .merlon_trigger = c[7],
          .remediation = c[8],
          .nginx_remedy = c[9],
          .envoy_remedy = c[10],
          .owasp = c[11],
          .nist = c[12],
          .cwe = c[13],
          .cis = c[14],
          .source = c[15],
          .fp_guard = c[16],
          .tier = c[17]};
}

struct Catalogue {
  std::vector<Rule> rules;
  std::vector<std::string_view> slugs;
  std::unordered_map<std::string_view, std::size_t> by_slug;
  std::unordered_map<std::string_view, std::size_t> by_id;

  Catalogue() {
    for (const std::string_view line : merlon_rules_tsv.subspan(1)) {
      by_slug.try_emplace(rules.emplace_back(rule_of(line)).slug, rules.size() - 1);
      by_id.try_emplace(rules.back().id, rules.size() - 1);
      slugs.push_back(rules.back().slug);
    }
  }
};

const Catalogue& catalogue() {
  static const Catalogue instance;
  return instance;
}

}  // namespace

std::string_view to_string(RuleSeverity severity) noexcept {
  switch (severity) {
    case RuleSeverity::kInfo:
      return "info";
    case RuleSeverity::kLow:
      return "low";
    case RuleSeverity::kMedium:
      return "medium";
    case RuleSeverity::kHigh:
      return "high";
    case RuleSeverity::kCritical:
      return "critical";
  }
  return "info";
}

std::span<const Rule> rules() { return catalogue().rules; }

const Rule* find_rule(std::string_view slug) {
  const auto found = catalogue().by_slug.find(slug);
  return found == catalogue().by_slug.end() ? nullptr : &catalogue().rules[found->second];
}

const Rule* find_rule_by_id(std::string_view id) {
  const auto found = catalogue().by_id.find(id);
  return found == catalogue().by_id.end() ? nullptr : &catalogue().rules[found->second];
}

std::string_view nearest_slug(std::string_view slug) {
  constexpr std::size_t kSlugBytesMax = 64;  // edit distance is quadratic
  return slug.size() <= kSlugBytesMax ? nearest(slug, catalogue().slugs) : std::string_view{};
}

}  // namespace merlon::config
