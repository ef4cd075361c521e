#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "audit/finding.h"
#include "config/catalogue.h"

/// The lists that the rules are mapped to, with the names that their publishers give them.
namespace merlon::audit::report {

struct Category {
  std::string_view id;    ///< "API8", "AC-3", "CWE-650"
  std::string_view name;  ///< "Security Misconfiguration"; may be empty
};

struct Taxonomy {
  std::string_view name;     ///< short: "OWASP API Top 10"
  std::string_view version;  ///< "2023"
  std::string_view publisher;
  std::string_view url;
  std::string_view title;                  ///< in full
  std::string_view config::Rule::* field;  ///< where a rule names its categories
  bool complete = false;                   ///< `categories` are all that there are
  std::span<const Category> categories;    ///< empty: known by their ids only
};

/// OWASP API Security Top 10 (2023), CWE, NIST SP 800-53 Rev. 5, in this order.
[[nodiscard]] std::span<const Taxonomy> taxonomies();
/// The categories of `taxonomy` that the list has or a rule names, in their natural order.
[[nodiscard]] std::vector<Category> categories_of(const Taxonomy& taxonomy);

}  // namespace merlon::audit::report
