#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "audit/report/escape.h"
#include "audit/report/view.h"
#include "audit/report/writers.h"

namespace merlon::audit::report {
namespace {

constexpr std::size_t kShownBytesMax = 160;  // one wide terminal line; longer ones are cut
constexpr std::size_t kAffectedShownMax = 5;
constexpr std::size_t kListShownMax = 20;

constexpr std::string_view kBold = "\033[1m";
constexpr std::string_view kDim = "\033[2m";
constexpr std::string_view kReset = "\033[0m";

std::string_view color_of(Level level) noexcept {
  switch (level) {
    case Level::kCritical:
      return "\033[1;35m";
    case Level::kHigh:
      return "\033[1;31m";
    case Level::kMedium:
      return "\033[1;33m";
    case Level::kLow:
      return "\033[1;36m";
    case Level::kInfo:
      return "\033[1;34m";
  }
  return "";
}

bool is_continuation(char c) noexcept { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80; }

class TextWriter {
 public:
  TextWriter(const AuditResult& result, const RenderOptions& options)
      : result_(result), excerpts_(result), color_(options.color) {}

  std::string write() {
    for (const Finding& finding : result_.findings) {
      if (status_of(finding) == Status::kOpen) this->finding(finding);
    }
    gaps();
    accepted();
    not_checked();
    posture();
    summary();
    return std::move(out_);
  }

 private:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  std::string painted(std::string_view color, std::string_view text) const {
    return color_ ? fmt::format("{}{}{}", color, text, kReset) : std::string(text);
  }

  std::string place_of(const Mark& at) const { return printable(at.to_string()); }

  /// A line below the excerpt: "      = help: …".
  void remark(std::string_view label, std::string_view text) {
    put("      {} {}: {}\n", painted(kDim, "="), painted(kBold, label), printable(text));
  }

  void finding(const Finding& finding) {
    if (finding.at.known()) put("{}: ", painted(kBold, place_of(finding.at)));
    put("{}: {} [{}]\n", painted(color_of(finding.level), name(finding.level)),
        printable(finding.message), printable(finding.rule));
    excerpt(finding);
    for (const TrailStep& step : finding.trail) {
      const std::string place = step.at.known() ? step.at.file_line() + ": " : std::string{};
      remark("trail", place + step.text);
    }
    if (!finding.evidence.empty()) remark("proof", finding.evidence);
    if (!finding.affected.empty()) remark("affects", affected_of(finding));
    if (finding.confidence != Confidence::kCertain) remark("confidence", name(finding.confidence));
    if (const std::string_view remedy = remedy_of(finding); !remedy.empty()) {
      remark("help", remedy);
    }
    if (!finding.fix.empty()) remark("fix", "mechanical; --fix prints it as a patch");
    out_ += '\n';
  }

  static std::string affected_of(const Finding& finding) {
    std::string out;
    for (std::size_t i = 0; i < finding.affected.size() && i < kAffectedShownMax; ++i) {
      out += fmt::format("{}{}", i == 0 ? "" : ", ", finding.affected[i]);
    }
    if (finding.affected.size() > kAffectedShownMax) {
      out += fmt::format(" and {} more", finding.affected.size() - kAffectedShownMax);
    }
    return out;
  }

  /// The source line and, under it, the caret with its tail.
  void excerpt(const Finding& finding) {
    const Mark& at = finding.at;
    if (at.known() && excerpts_.is_secret(*at.source, at.line)) {
      put("{:>5} {} {}\n", at.line, painted(kDim, "|"),
          painted(kDim, "(not shown: the line holds a secret)"));
      return;
    }
    const std::string_view line = excerpts_.line(at);
    if (line.empty()) return;
    const std::size_t column =
        std::min<std::size_t>(at.column == 0 ? 0 : at.column - 1, line.size());
    std::size_t from = column > kShownBytesMax / 2 ? column - kShownBytesMax / 2 : 0;
    while (from < column && is_continuation(line[from])) ++from;
    const std::size_t to = std::min(line.size(), from + kShownBytesMax);
    const std::size_t mark_end = column + std::max<std::uint32_t>(at.length, 1);
    std::string shown = from > 0 ? "..." : "";
    std::string under(shown.size(), ' ');
    std::size_t columns = 0;
    for (std::size_t i = from; i < to;) {
      const std::size_t taken = append_printable(shown, line.substr(i), columns);
      const bool marked = i + taken > column && i < mark_end;
      const std::string_view tail(marked ? "~" : " ");
      for (std::size_t n = 0; n < columns; ++n) under += tail;
      if (i <= column && column < i + taken) under[under.size() - columns] = '^';
      i += taken;
    }
    if (column >= to) under += '^';
    if (to < line.size()) shown += "...";
    under.erase(under.find_last_not_of(' ') + 1);
    put("{:>5} {} {}\n      {} {}\n", at.line, painted(kDim, "|"), shown, painted(kDim, "|"),
        painted(color_of(finding.level), under));
  }

  void gaps() {
    for (const Gap& gap : result_.gaps) {
      const std::string place = gap.at.known() ? gap.at.to_string() : gap.path;
      put("{}: {}: {}\n", painted(kBold, printable(place)), painted("\033[1;31m", "not read"),
          printable(gap.what));
    }
    if (!result_.gaps.empty()) out_ += '\n';
  }

  void accepted() {
    for (const Finding& finding : result_.findings) {
      if (status_of(finding) != Status::kWaived) continue;
      put("{}: waived: {} {} [{}]: {}\n", place_of(finding.at), name(finding.level),
          printable(finding.message), printable(finding.rule), printable(finding.waived));
    }
    for (const Waiver& waiver : result_.waivers) {
      if (!waiver.problem.empty()) {
        put("{}: waiver of {} is not in force: {}\n", place_of(waiver.at), printable(waiver.rule),
            printable(waiver.problem));
      } else if (!waiver.used) {
        put("{}: waiver of {} covers nothing: it can go\n", place_of(waiver.at),
            printable(waiver.rule));
      }
    }
  }

  /// Merlon's own configuration: who may use what, and what is done about it.
  void posture() {
    if (result_.measures.empty()) return;
    put("Routes:\n");
    for (const ExposureRow& row : result_.exposure) {
      put("  {} {}\n    at {}, TLS {}; auth {}; limits {}; to {}{}\n", printable(row.host),
          painted(kBold, printable(row.route)), printable(row.listener),
          row.tls == "-" ? "none" : printable(row.tls), printable(row.auth),
          row.limit == "-" ? "none" : printable(row.limit), printable(row.upstream),
          row.upstream_tls.empty()  ? ""
          : row.upstream_tls == "-" ? " in clear"
                                    : ", TLS " + printable(row.upstream_tls));
    }
    put("Waivers:{}\n", result_.waivers.empty() ? " none" : "");
    for (const Waiver& waiver : result_.waivers) {
      put("  {} until {}, {}: {}\n", printable(waiver.rule), printable(waiver.expires),
          printable(waiver.owner), printable(waiver.reason));
    }
    put("Measures:\n");
    for (const Measure& measure : result_.measures) {
      const std::string where = measure.total == 0
                                    ? std::string("always")
                                    : fmt::format("{} of {}", measure.covered, measure.total);
      put("  {:<34} {:<8} OWASP {}; NIST {}\n", measure.what, where, measure.owasp, measure.nist);
      for (const std::string& waiver : measure.waived) put("  {:<34} but for {}\n", "", waiver);
    }
  }

  void not_checked() {
    if (!result_.not_checked.empty()) put("Not judged:\n");
    for (std::size_t i = 0; i < result_.not_checked.size() && i < kListShownMax; ++i) {
      const NotChecked& rule = result_.not_checked[i];
      put("  {}: {}\n", printable(rule.rule), printable(rule.why));
    }
    if (result_.not_checked.size() > kListShownMax) {
      put("  and {} more; --format json lists them all\n",
          result_.not_checked.size() - kListShownMax);
    }
  }

  void summary() {
    const LevelCounts levels = count_levels(result_);
    std::string counts;
    for (std::size_t i = std::size(levels.of); i-- > 0;) {
      if (levels.of[i] == 0) continue;
      const auto level = static_cast<Level>(i);
      counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", levels.of[i],
                            painted(color_of(level), name(level)));
    }
    put("{}: {}\n", painted(kBold, fmt::format("Grade {}", grade(result_).letter)),
        counts.empty() ? "no findings" : counts);
    std::uint64_t known = 0;
    for (const Finding& finding : result_.findings) {
      if (status_of(finding) == Status::kKnown) ++known;
    }
    if (known != 0) put("{} known from the baseline\n", counted(known, "finding"));
    const Counts& read = result_.counts;
    put("Read {}, {}, {}, {}; {} judged", counted(read.files, "file"), counted(read.lines, "line"),
        counted(read.directives, "directive"), counted(read.includes, "include"),
        counted(read.rules, "rule"));
    if (read.unknown_directives != 0) {
      put("; {} not known and not judged", counted(read.unknown_directives, "directive"));
    }
    if (!result_.gaps.empty()) put("; {} not read", counted(result_.gaps.size(), "place"));
    out_ += '\n';
  }

  const AuditResult& result_;
  const Excerpts excerpts_;
  const bool color_;
  std::string out_;
};

}  // namespace

std::string render_text(const AuditResult& result, const RenderOptions& options) {
  return TextWriter(result, options).write();
}

}  // namespace merlon::audit::report
