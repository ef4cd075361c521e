#include "audit/report/report.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "audit/audit.h"
#include "audit/report/writers.h"

namespace merlon::audit::report {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"text",  "lines", "json",
                                                    "sarif", "junit", "html"};

std::int64_t system_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string_view name(Format format) noexcept { return kNames[static_cast<std::size_t>(format)]; }

bool parse_format(std::string_view text, Format& out) noexcept {
  const auto found = std::ranges::find(kNames, text);
  if (found == kNames.end()) return false;
  out = static_cast<Format>(found - kNames.begin());
  return true;
}

std::string format_names() {
  std::string out;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (i != 0) out += i + 1 == kNames.size() ? " or " : ", ";
    out += kNames[i];
  }
  return out;
}

std::string render(const AuditResult& result, Format format, const RenderOptions& given) {
  RenderOptions options = given;
  if (options.now == 0) options.now = system_seconds();
  switch (format) {
    case Format::kText:
      return render_text(result, options);
    case Format::kLines:
      return render_lines(result);
    case Format::kJson:
      return render_json(result, options);
    case Format::kSarif:
      return render_sarif(result, options);
    case Format::kJunit:
      return render_junit(result, options);
    case Format::kHtml:
      return render_html(result, options);
  }
  return {};
}

}  // namespace merlon::audit::report
