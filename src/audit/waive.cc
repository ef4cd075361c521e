#include "audit/waive.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "base/ascii.h"
#include "config/catalogue.h"

namespace merlon::audit {
namespace {

constexpr std::string_view kMarker = "merlon: waive ";

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
  } else if (out.reason.size() < 5) {
    out.problem = "a waiver needs a reason";
  } else if (end <= now) {
    out.expired = true;
    out.problem = fmt::format("it expired on {}", out.expires);
  }
  return out;
}

/// Where the comment of a line starts: at a "#" that begins a word outside of quotes; npos when it
/// has none.
std::size_t comment_in(std::string_view line) {
  char quote = 0;
  bool word_begins = true;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
      continue;
    }
    if (word_begins && c == '#') return i;
    if (word_begins && (c == '"' || c == '\'')) quote = c;
    word_begins = std::string_view(" \t;{}[](),:").find(c) != std::string_view::npos;
  }
  return std::string_view::npos;
}

void read_waivers(const std::shared_ptr<const Source>& source, std::int64_t now,
                  std::vector<Waiver>& out) {
  const std::string_view text = source->text;
  std::uint32_t line = 1;
  std::size_t counted_to = 0;
  for (std::size_t at = text.find(kMarker); at != std::string_view::npos;
       at = text.find(kMarker, at + 1)) {
    const std::size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;
    line += static_cast<std::uint32_t>(
        std::ranges::count(text.substr(counted_to, at - counted_to), '\n'));
    counted_to = at;
    const std::size_t hash = comment_in(text.substr(start, at - start));
    if (hash == std::string_view::npos) continue;
    const std::size_t end = std::min(text.find('\n', at), text.size());
    Mark mark{source, line, static_cast<std::uint32_t>(hash + 1), 1};
    const std::size_t from = at + kMarker.size();
    out.push_back(parse_waiver(std::move(mark), text.substr(from, end - from), now));
  }
}

bool covers(const Waiver& waiver, const Finding& finding) {
  if (!waiver.problem.empty() || waiver.at.source == nullptr || finding.at.source == nullptr) {
    return false;
  }
  const bool here = finding.at.line == waiver.at.line || finding.at.line == waiver.at.line + 1;
  if (!here || waiver.at.source->path != finding.at.source->path) return false;
  if (waiver.rule == finding.rule) return true;
  const config::Rule* rule = config::find_rule(waiver.rule);
  return rule != nullptr && rule->id == finding.rule;
}

}  // namespace

void apply_waivers(AuditResult& result, const Options& options) {
  const std::int64_t now = options.now != 0
                               ? options.now
                               : std::chrono::duration_cast<std::chrono::seconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count();
  std::set<std::string> seen;
  for (const auto& source : result.sources) {
    if (seen.insert(source->path).second) read_waivers(source, now, result.waivers);
  }
  for (Waiver& waiver : result.waivers) {
    for (Finding& finding : result.findings) {
      if (!covers(waiver, finding)) continue;
      finding.waived = waiver.reason;
      waiver.used = true;
    }
  }
}

}  // namespace merlon::audit
