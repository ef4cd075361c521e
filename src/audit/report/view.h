#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "audit/finding.h"
#include "audit/line_index.h"
#include "config/catalogue.h"

/// What all writers ask of a result: the same answer in every form.
namespace merlon::audit::report {

/// The catalogue's entry of `id`; nullptr when it has none.
[[nodiscard]] const config::Rule* rule_of(std::string_view id);
/// "API8,API5" in parts, without blanks and empty ones.
[[nodiscard]] std::vector<std::string_view> split_list(std::string_view text);
/// What to do: the finding's own words, or the catalogue's.
[[nodiscard]] std::string_view remedy_of(const Finding& finding);

/// Whether a finding counts, and if not, why.
enum class Status : std::uint8_t { kOpen, kWaived, kKnown };
[[nodiscard]] Status status_of(const Finding& finding) noexcept;
[[nodiscard]] std::string_view name(Status status) noexcept;  ///< "open", "waived", "known"

/// "2027-02-01", UTC.
[[nodiscard]] std::string date_of(std::int64_t seconds);
/// "2027-02-01T12:00:00Z".
[[nodiscard]] std::string date_time_of(std::int64_t seconds);

/// "1 finding", "2 findings".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view what);

/// The lines of the sources that may be shown: all but those that some finding marks as secret.
class Excerpts {
 public:
  explicit Excerpts(const AuditResult& result);
  /// False when the place is unknown, or its line is empty or secret.
  [[nodiscard]] bool may_show(const Mark& at) const;
  /// True when no line that the edit touches is secret.
  [[nodiscard]] bool may_show(const Edit& edit) const;
  /// The line's text, or "" when it may not be shown. Cut after 2000 bytes.
  [[nodiscard]] std::string_view line(const Mark& at) const;
  [[nodiscard]] bool is_secret(const Source& file, std::uint32_t line) const;

 private:
  std::set<std::pair<std::string_view, std::uint32_t>> secret_;
  mutable LineIndex lines_;
};

}  // namespace merlon::audit::report
