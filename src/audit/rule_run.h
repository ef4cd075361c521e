#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "audit/audit.h"
#include "audit/finding.h"

/// What the rules for nginx and those for Envoy have in common: how they are listed and run, and
/// how they add findings.
namespace merlon::audit {

/// One rule of a family; `Inspection` is what it sees.
template <class Inspection>
struct Rule {
  std::string_view id;
  void (*check)(Inspection&);  ///< nullptr: judged together with the rule before it
};

/// Adds a finding; what comes back stays where it is. Options.findings_max is a bound for each
/// level, so that many findings of one level never take the place of a graver one: past it, what
/// comes back is thrown away.
Finding& add_finding(AuditResult& out, const Options& options, std::string_view rule, Level level,
                     Mark at, std::string message);

/// Brings the findings, which are sorted, within Options.findings_max in all, and says so.
void cut_findings(AuditResult& out, const Options& options);

/// Says once per rule why it was not judged.
void add_not_checked(AuditResult& out, std::string_view rule, std::string_view why);

/// Says that a rule failed over this configuration: what it would have found is not known, so the
/// audit is incomplete.
void add_failure(AuditResult& out, const Options& options, std::string_view rule,
                 std::string_view what);

/// "a, b and 3 more".
[[nodiscard]] std::string join_some(std::span<const std::string> words, std::size_t shown = 4);

/// Ids of all rules of the families, sorted, each once.
template <class Family>
[[nodiscard]] std::vector<std::string_view> ids_of(std::span<const Family> families) {
  std::vector<std::string_view> out;
  for (const Family family : families) {
    for (const auto& rule : family()) out.push_back(rule.id);
  }
  std::ranges::sort(out);
  const auto repeated = std::ranges::unique(out);
  out.erase(repeated.begin(), repeated.end());
  return out;
}

/// Runs every rule of the families and notes them as judged. A rule that throws is a finding of its
/// own: the others still run.
template <class Family, class Inspection>
void run_families(std::span<const Family> families, Inspection& inspection) {
  for (const Family family : families) {
    for (const auto& rule : family()) {
      if (rule.check == nullptr) continue;
      try {
        rule.check(inspection);
      } catch (const std::exception& error) {
        add_failure(inspection.out, inspection.options, rule.id, error.what());
      }
    }
  }
  note_judged(inspection.out, ids_of(families));
}

/// Gives the findings from `first` on the catalogue's remedy in the words of `kind`, where they
/// have none of their own and the catalogue has such words.
void fill_remedies(AuditResult& out, std::size_t first, Kind kind);

/// Seconds since 1970 UTC as of which an audit judges: the option, or now.
[[nodiscard]] std::int64_t judged_at(const Options& options);

}  // namespace merlon::audit
