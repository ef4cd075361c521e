#include "audit/report/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/ascii.h"

namespace merlon::audit::report {

const config::Rule* rule_of(std::string_view id) { return config::find_rule_by_id(id); }

std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view part = ascii::trim_ows(text.substr(0, end));
    if (!part.empty()) out.push_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string_view remedy_of(const Finding& finding) {
  if (!finding.remediation.empty()) return finding.remediation;
  const config::Rule* rule = rule_of(finding.rule);
  return rule == nullptr ? std::string_view{} : rule->remediation;
}

Status status_of(const Finding& finding) noexcept {
  if (!finding.waived.empty()) return Status::kWaived;
  return finding.baseline ? Status::kKnown : Status::kOpen;
}

std::string_view name(Status status) noexcept {
  switch (status) {
    case Status::kOpen:
      return "open";
    case Status::kWaived:
      return "waived";
    case Status::kKnown:
      return "known";
  }
  return "open";
}

std::string date_of(std::int64_t seconds) {
  const std::chrono::sys_seconds at{std::chrono::seconds(seconds)};
  const std::chrono::year_month_day day{std::chrono::floor<std::chrono::days>(at)};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

std::string date_time_of(std::int64_t seconds) {
  const std::chrono::sys_seconds at{std::chrono::seconds(seconds)};
  const std::chrono::hh_mm_ss time{at - std::chrono::floor<std::chrono::days>(at)};
  return fmt::format("{}T{:02}:{:02}:{:02}Z", date_of(seconds), time.hours().count(),
                     time.minutes().count(), time.seconds().count());
}

std::string counted(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

Excerpts::Excerpts(const AuditResult& result) {
  for (const Finding& finding : result.findings) {
    if (finding.hide_source && finding.at.known()) {
      secret_.emplace(finding.at.source->path, finding.at.line);
    }
  }
}

bool Excerpts::is_secret(const Source& file, std::uint32_t line) const {
  return secret_.contains({file.path, line});
}

bool Excerpts::may_show(const Mark& at) const { return !line(at).empty(); }

bool Excerpts::may_show(const Edit& edit) const {
  if (edit.file == nullptr) return false;
  const auto first = secret_.lower_bound({edit.file->path, edit.first_line});
  return first == secret_.end() || first->first != edit.file->path ||
         first->second > edit.last_line;
}

std::string_view Excerpts::line(const Mark& at) const {
  constexpr std::size_t kLineBytesMax = 2000;
  if (!at.known() || is_secret(*at.source, at.line)) return {};
  return lines_.line(*at.source, at.line).substr(0, kLineBytesMax);
}

}  // namespace merlon::audit::report
