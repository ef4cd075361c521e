#include "audit/waive.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "audit/line_index.h"
#include "audit/nginx/lexer.h"
#include "audit/rule_run.h"
#include "audit/yaml_comments.h"
#include "base/ascii.h"
#include "config/catalogue.h"

namespace merlon::audit {
namespace {

constexpr std::string_view kMarker = "merlon: waive ";
constexpr std::size_t kReasonMin = 5;  // fewer say nothing

using Place = std::pair<std::string_view, std::uint32_t>;  ///< file and line

std::string_view next_word(std::string_view& text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  const std::size_t end = std::min(text.find_first_of(" \t\r"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

/// "2027-02-01" as the first second after that day; 0 when it is no date.
std::int64_t end_of_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return 0;
  int parts[3] = {};
  const std::size_t from[3] = {0, 5, 8};
  const std::size_t size[3] = {4, 2, 2};
  for (std::size_t p = 0; p < 3; ++p) {
    for (const char c : text.substr(from[p], size[p])) {
      if (!ascii::is_digit(c)) return 0;
      parts[p] = parts[p] * 10 + (c - '0');
    }
  }
  const std::chrono::year_month_day day{std::chrono::year(parts[0]),
                                        std::chrono::month(static_cast<unsigned>(parts[1])),
                                        std::chrono::day(static_cast<unsigned>(parts[2]))};
  if (!day.ok()) return 0;
  const auto after = std::chrono::sys_days(day) + std::chrono::days(1);
  return std::chrono::duration_cast<std::chrono::seconds>(after.time_since_epoch()).count();
}

Waiver parse_waiver(Mark at, std::string_view text, std::int64_t now) {
  Waiver out;
  out.at = std::move(at);
  out.rule = next_word(text);
  const std::string_view until = next_word(text);
  const config::Rule* rule = config::find_rule_by_id(out.rule);
  if (rule == nullptr) rule = config::find_rule(out.rule);
  if (until == "until") out.expires = next_word(text);
  if (text.ends_with('\r')) text.remove_suffix(1);
  std::string_view reason = text;
  if (next_word(reason) != "reason") reason = text;
  out.reason = ascii::trim_ows(reason);
  const std::int64_t end = end_of_day(out.expires);
  if (rule == nullptr) {
    out.problem = fmt::format("there is no rule \"{}\"", out.rule);
  } else if (end == 0) {
    out.problem = "a waiver ends on a day: \"until YYYY-MM-DD\" must follow the rule";
  } else if (out.reason.size() < kReasonMin) {
    out.problem = fmt::format("a waiver needs a reason of {} letters or more", kReasonMin);
  } else if (end <= now) {
    out.expired = true;
    out.problem = fmt::format("it expired on {}", out.expires);
  }
  return out;
}

/// YAML and nginx begin comments alike, and texts that hide a "#" otherwise.
bool is_yaml(const Source& source, const Options& options) {
  const std::string extension = std::filesystem::path(source.path).extension().string();
  if (extension == ".yaml" || extension == ".yml" || extension == ".json") return true;
  const Kind kind =
      options.kind != Kind::kUnknown ? options.kind : detect_kind(source.path, source.text);
  return kind == Kind::kEnvoy || kind == Kind::kMerlon;
}

void read_waivers(const std::shared_ptr<const Source>& source, const Options& options,
                  std::vector<Waiver>& out) {
  const std::string_view text = source->text;
  if (text.find(kMarker) == std::string_view::npos) return;
  const std::int64_t now = judged_at(options);
  std::uint32_t line = 1;
  std::size_t counted_to = 0;
  for (const std::size_t hash :
       is_yaml(*source, options) ? yaml_comments(text) : nginx::comments_in(text)) {
    const std::size_t end = std::min(text.find('\n', hash), text.size());
    const std::size_t at = text.substr(0, end).find(kMarker, hash);
    if (at == std::string_view::npos) continue;
    line += static_cast<std::uint32_t>(
        std::ranges::count(text.substr(counted_to, hash - counted_to), '\n'));
    counted_to = hash;
    const std::size_t start = text.substr(0, hash).rfind('\n') + 1;  // npos + 1 is 0
    Mark mark{source, line, static_cast<std::uint32_t>(hash - start + 1), 1};
    const std::size_t from = at + kMarker.size();
    out.push_back(parse_waiver(std::move(mark), text.substr(from, end - from), now));
  }
}

/// Of a comment on a line of its own: how many lines further on is what it is about. Several may
/// stand above one line.
std::uint32_t reach_of(const Mark& at, LineIndex& lines) {
  const std::string_view before = lines.line(*at.source, at.line).substr(0, at.column - 1);
  if (before.find_first_not_of(" \t") != std::string_view::npos) return 0;
  std::uint32_t reach = 1;
  while (ascii::trim_ows(lines.line(*at.source, at.line + reach)).starts_with('#')) ++reach;
  return reach;
}

bool is_about(const Waiver& waiver, const Finding& finding) {
  if (waiver.rule == finding.rule) return true;
  const config::Rule* rule = config::find_rule(waiver.rule);
  return rule != nullptr && rule->id == finding.rule;
}

}  // namespace

void apply_waivers(AuditResult& result, const Options& options) {
  std::set<std::string> seen;
  for (const auto& source : result.sources) {
    if (!seen.insert(source->path).second || result.own_files.contains(source->path)) continue;
    read_waivers(source, options, result.waivers);
  }
  std::multimap<Place, Finding*> findings;
  for (Finding& finding : result.findings) {
    if (finding.at.source == nullptr) continue;
    findings.emplace(Place{finding.at.source->path, finding.at.line}, &finding);
  }
  LineIndex lines;
  for (Waiver& waiver : result.waivers) {
    if (!waiver.problem.empty() || waiver.at.source == nullptr) continue;
    const std::string_view path = waiver.at.source->path;
    const auto last = findings.upper_bound({path, waiver.at.line + reach_of(waiver.at, lines)});
    for (auto at = findings.lower_bound({path, waiver.at.line}); at != last; ++at) {
      if (!is_about(waiver, *at->second)) continue;
      at->second->waived = waiver.reason;
      waiver.used = true;
    }
  }
}

}  // namespace merlon::audit
