#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "audit/finding.h"

/// The forms that an audit's result can be written in. A writer is a pure function of the result:
/// it reads no file, and every byte that came from a configuration is escaped for its form.
namespace merlon::audit::report {

enum class Format : std::uint8_t { kText, kLines, kJson, kSarif, kJunit, kHtml };

/// The names of all formats, in the order of Format: "text", "lines", "json" …
[[nodiscard]] std::string_view name(Format format) noexcept;
/// Reverse of name(Format); false when `text` names none.
bool parse_format(std::string_view text, Format& out) noexcept;
/// "text, lines, json, sarif, junit or html": for help and messages.
[[nodiscard]] std::string format_names();

struct RenderOptions {
  bool color = false;            ///< ANSI colours; only kText uses them
  std::int64_t now = 0;          ///< seconds since 1970 UTC; 0: the system's clock
  Level fail_on = Level::kHigh;  ///< JUnit: findings below it pass, with their text as output
};

/// `result` written as `format`. UTF-8, whatever the configuration held. A line that a finding
/// marks as holding a secret is shown by no format. Not for the request path.
[[nodiscard]] std::string render(const AuditResult& result, Format format,
                                 const RenderOptions& options = {});

}  // namespace merlon::audit::report
