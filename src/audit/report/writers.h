#pragma once

#include <string>

#include "audit/report/report.h"

/// One function per form; `render` chooses. `options.now` is set.
namespace merlon::audit::report {

[[nodiscard]] std::string render_text(const AuditResult& result, const RenderOptions& options);
[[nodiscard]] std::string render_json(const AuditResult& result, const RenderOptions& options);
[[nodiscard]] std::string render_sarif(const AuditResult& result, const RenderOptions& options);
[[nodiscard]] std::string render_junit(const AuditResult& result, const RenderOptions& options);
[[nodiscard]] std::string render_html(const AuditResult& result, const RenderOptions& options);

}  // namespace merlon::audit::report
