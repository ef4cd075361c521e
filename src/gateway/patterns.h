#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "http/path.h"

/// What routes match by: patterns of hosts and paths, written in the canonical form of what they
/// match, so that a pattern that no request can have is seen when it is read.
namespace merlon::gateway {

/// More segments than any API needs; bounds how deep a match can go.
inline constexpr std::size_t kPatternSegmentsMax = 64;

/// One segment of a path pattern.
struct PatternSegment {
  std::string literal;     ///< empty for a parameter; a literal may be empty, too ("/a/")
  bool parameter = false;  ///< `{name}`: any one segment that is not empty
};

/// `/users/{id}/orders` or `/api/**`.
struct PathPattern {
  std::vector<PatternSegment> segments;  ///< without the final `**`
  bool rest = false;            ///< ends in `/**`: the path before it, and everything below
  http::PathOddities oddities;  ///< of its literal parts

  /// True when only one path fits.
  [[nodiscard]] bool exact() const noexcept;
};

/// Reads a pattern; the error says what is wrong with it, without quoting it.
[[nodiscard]] std::expected<PathPattern, std::string> parse_path_pattern(std::string_view text);

/// Judges a host pattern: an exact name or address in canonical form, `*.` before a name, or `*`.
/// "" when it is right, else what is wrong.
[[nodiscard]] std::string problem_of_host_pattern(std::string_view text);

/// Judges a prefix for `rewrite`: a canonical path without oddities and without a final slash.
[[nodiscard]] std::string problem_of_prefix(std::string_view text);

/// True when every path that fits `pattern` starts with the segments of `prefix`.
[[nodiscard]] bool always_starts_with(const PathPattern& pattern, std::string_view prefix);

}  // namespace merlon::gateway
