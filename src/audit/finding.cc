#include "audit/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace merlon::audit {
namespace {

constexpr std::array<std::string_view, 5> kLevels = {"info", "low", "medium", "high", "critical"};
constexpr std::array<std::string_view, 3> kConfidences = {"possible", "likely", "certain"};
constexpr std::array<std::string_view, 7> kKinds = {"unknown", "nginx", "envoy",  "merlon",
                                                    "haproxy", "caddy", "traefik"};

template <std::size_t N, class Enum>
bool find_name(const std::array<std::string_view, N>& names, std::string_view text, Enum& out) {
  const auto found = std::ranges::find(names, text);
  if (found == names.end()) return false;
  out = static_cast<Enum>(found - names.begin());
  return true;
}

bool counts(const Finding& finding) noexcept { return finding.waived.empty() && !finding.baseline; }

std::string_view path_of(const Mark& mark) noexcept {
  return mark.source == nullptr ? std::string_view{} : std::string_view(mark.source->path);
}

void absorb(Finding& into, Finding& from) {
  into.level = std::max(into.level, from.level);
  into.confidence = std::max(into.confidence, from.confidence);
  for (std::string& route : from.affected) into.affected.push_back(std::move(route));
}

}  // namespace

std::string_view name(Level level) noexcept { return kLevels[static_cast<std::size_t>(level)]; }
std::string_view name(Confidence value) noexcept {
  return kConfidences[static_cast<std::size_t>(value)];
}
std::string_view name(Kind kind) noexcept { return kKinds[static_cast<std::size_t>(kind)]; }

bool parse_level(std::string_view text, Level& out) noexcept {
  return find_name(kLevels, text, out);
}

bool parse_kind(std::string_view text, Kind& out) noexcept {
  Kind found = Kind::kUnknown;
  if (!find_name(kKinds, text, found)) return false;
  if (found != Kind::kNginx && found != Kind::kEnvoy && found != Kind::kMerlon) return false;
  out = found;
  return true;
}

std::uint64_t LevelCounts::at_least(Level level) const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = static_cast<std::size_t>(level); i < std::size(of); ++i) sum += of[i];
  return sum;
}

LevelCounts count_levels(const AuditResult& result) noexcept {
  LevelCounts out;
  for (const Finding& finding : result.findings) {
    if (counts(finding)) ++out.of[static_cast<std::size_t>(finding.level)];
  }
  return out;
}

Grade grade(const AuditResult& result) {
  constexpr std::size_t kReasonsMax = 10;
  const LevelCounts levels = count_levels(result);
  Grade out;
  if (result.counts.files == 0) {
    out.letter = '?';
    out.reasons.emplace_back("nothing could be read");
    return out;
  }
  constexpr std::array<char, 5> kLetters = {'A', 'B', 'C', 'D', 'F'};
  std::size_t worst = 0;
  for (std::size_t i = 0; i < kLetters.size(); ++i) {
    if (levels.of[i] != 0) worst = i;
  }
  out.letter = kLetters[worst];
  if (!result.gaps.empty() && out.letter < 'C') out.letter = 'C';
  if (result.findings_cut && out.letter != 'F') out.letter = '?';
  if (!result.gaps.empty()) {
    out.reasons.push_back(
        fmt::format("{} place{} could not be read, and what was not read cannot be vouched for",
                    result.gaps.size(), result.gaps.size() == 1 ? "" : "s"));
  }
  for (const Finding& finding : result.findings) {
    const bool caps =
        worst > 0 && counts(finding) && static_cast<std::size_t>(finding.level) == worst;
    if (caps && out.reasons.size() < kReasonsMax) {
      out.reasons.push_back(
          fmt::format("{} {}: {}", finding.rule, finding.at.file_line(), finding.message));
    }
  }
  return out;
}

void note_judged(AuditResult& result, const std::vector<std::string_view>& ids) {
  for (const std::string_view id : ids) {
    const auto at = std::ranges::lower_bound(result.rules_judged, id);
    if (at == result.rules_judged.end() || *at != id) result.rules_judged.emplace(at, id);
  }
  result.counts.rules = result.rules_judged.size();
}

void normalize(AuditResult& result) {
  std::map<std::tuple<std::string, std::string, std::uint32_t, std::uint32_t, std::string>,
           std::size_t>
      first;
  std::deque<Finding> merged;
  for (Finding& finding : result.findings) {
    const auto [found, added] =
        first.try_emplace({finding.rule, std::string(path_of(finding.at)), finding.at.line,
                           finding.at.column, finding.at.known() ? std::string{} : finding.message},
                          merged.size());
    if (added) {
      merged.push_back(std::move(finding));
    } else {
      absorb(merged[found->second], finding);
    }
  }
  for (Finding& finding : merged) {
    std::ranges::sort(finding.affected);
    const auto repeated = std::ranges::unique(finding.affected);
    finding.affected.erase(repeated.begin(), repeated.end());
  }
  std::ranges::sort(merged, [](const Finding& a, const Finding& b) {
    return std::make_tuple(-static_cast<int>(a.level), path_of(a.at), a.at.line, a.at.column,
                           std::string_view(a.rule), std::string_view(a.message)) <
           std::make_tuple(-static_cast<int>(b.level), path_of(b.at), b.at.line, b.at.column,
                           std::string_view(b.rule), std::string_view(b.message));
  });
  result.findings = std::move(merged);
  std::ranges::sort(result.unknown_directives);
  const auto repeated = std::ranges::unique(result.unknown_directives);
  result.unknown_directives.erase(repeated.begin(), repeated.end());
}

}  // namespace merlon::audit
