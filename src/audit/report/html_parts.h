#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "audit/report/escape.h"
#include "audit/report/taxonomy.h"
#include "audit/report/view.h"

/// The sections of the HTML report. Each appends one <section> to the page, or nothing when there
/// is nothing to show. Every text that is not ours goes through `xml`.
namespace merlon::audit::report {

/// The page as it grows.
class Page {
 public:
  template <class... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
  }
  void raw(std::string_view markup) { text_ += markup; }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

/// The whole style sheet; refers to nothing outside of the page.
[[nodiscard]] std::string_view style_sheet();

/// "<a …>" for a rule that has findings in the page, by its id.
[[nodiscard]] std::string rule_link(std::string_view id);
/// A level as a small coloured label.
[[nodiscard]] std::string level_badge(Level level);

void write_findings(Page& page, const AuditResult& result, const Excerpts& excerpts);
void write_exposure(Page& page, const AuditResult& result);
void write_measures(Page& page, const AuditResult& result);
void write_matrix(Page& page, const AuditResult& result, const Taxonomy& taxonomy,
                  std::string_view anchor);
void write_certificates(Page& page, const AuditResult& result, std::int64_t now);
void write_accepted(Page& page, const AuditResult& result);
void write_not_checked(Page& page, const AuditResult& result);

}  // namespace merlon::audit::report
