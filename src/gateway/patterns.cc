#include "gateway/patterns.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "http/host.h"

namespace merlon::gateway {
namespace {

constexpr std::size_t kPatternBytesMax = 2048;
constexpr std::size_t kParameterBytesMax = 64;

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> segments;
  std::size_t from = 1;  // after the first slash
  while (from <= path.size()) {
    const std::size_t end = std::min(path.find('/', from), path.size());
    segments.push_back(path.substr(from, end - from));
    from = end + 1;
  }
  return segments;
}

bool is_parameter_name(std::string_view name) {
  static constexpr auto kChars =
      ascii::CharSet("_").add_range('a', 'z').add_range('A', 'Z').add_range('0', '9');
  return !name.empty() && name.size() <= kParameterBytesMax && kChars.contains_all(name) &&
         !ascii::is_digit(name.front());
}

/// "" when the literal parts, put together, are a path as requests have it after canonical_path.
std::string problem_of_literals(const std::string& path, http::PathOddities& oddities) {
  std::vector<char> scratch(path.size());
  const auto canonical = http::canonical_path(path, scratch);
  if (!canonical.has_value()) return canonical.error().what;
  oddities = canonical->oddities;
  if (canonical->text == path) return {};
  return "requests never have this form of the path: write `" + std::string(canonical->text) + "`";
}

/// Reads one segment into `pattern`; "" or what is wrong.
std::string read_segment(std::string_view segment, PathPattern& pattern,
                         std::vector<std::string_view>& parameters) {
  const bool opens = segment.starts_with('{');
  if (opens && segment.ends_with('}')) {
    const std::string_view name = segment.substr(1, segment.size() - 2);
    if (!is_parameter_name(name)) {
      return "the name in `{…}` is made of letters, digits and `_`, and starts with no digit";
    }
    if (std::ranges::find(parameters, name) != parameters.end()) {
      return "two segments have the same name in `{…}`";
    }
    parameters.push_back(name);
    pattern.segments.push_back({.literal = {}, .parameter = true});
    return {};
  }
  if (segment.find_first_of("{}") != std::string_view::npos) {
    return "`{name}` stands for a whole segment";
  }
  if (segment.find('*') != std::string_view::npos) {
    return "`*` is allowed only in a final `/**`; `{name}` is one segment";
  }
  pattern.segments.push_back({.literal = std::string(segment), .parameter = false});
  return {};
}

}  // namespace

bool PathPattern::exact() const noexcept {
  return !rest &&
         std::ranges::none_of(segments, [](const PatternSegment& s) { return s.parameter; });
}

std::expected<PathPattern, std::string> parse_path_pattern(std::string_view text) {
  if (text.empty() || text.front() != '/') return std::unexpected("a path begins with `/`");
  if (text.size() > kPatternBytesMax) return std::unexpected("it is longer than 2048 bytes");
  PathPattern pattern;
  if (text.ends_with("/**")) {
    pattern.rest = true;
    text.remove_suffix(3);
  }
  const auto segments = split(text);
  if (segments.size() > kPatternSegmentsMax) return std::unexpected("it has over 64 segments");
  std::vector<std::string_view> parameters;
  std::string literals;
  for (const std::string_view segment : segments) {
    const std::string problem = read_segment(segment, pattern, parameters);
    if (!problem.empty()) return std::unexpected(problem);
    literals += '/';
    literals += pattern.segments.back().parameter ? "x" : segment;
  }
  if (pattern.rest && text.ends_with('/')) return std::unexpected("there is `//` before `**`");
  if (!literals.empty()) {
    std::string problem = problem_of_literals(literals, pattern.oddities);
    if (!problem.empty()) return std::unexpected(problem);
  }
  return pattern;
}

std::string problem_of_host_pattern(std::string_view text) {
  if (text == "*") return {};
  const bool wildcard = text.starts_with("*.");
  const std::string_view name = wildcard ? text.substr(2) : text;
  if (name.find('*') != std::string_view::npos) {
    return "`*` stands for all of a host, or for its first labels as in `*.example.com`";
  }
  if (text.starts_with('[')) return "an IPv6 address is written without brackets here";
  const auto bare = IpAddress::parse(name);
  if (bare.has_value()) {
    if (wildcard) return "an address has no labels in front";
    if (bare->to_string() != name) return "its canonical form is `" + bare->to_string() + "`";
    return {};
  }
  std::array<char, http::kHostBytesMax> scratch{};
  const auto canonical = http::canonical_host(name, scratch);
  if (!canonical.has_value()) return canonical.error().what;
  if (canonical->port != 0) return "the port is no part of a host: leave it out";
  if (canonical->name != name) {
    return "write it in lower case and without a final dot";
  }
  return {};
}

std::string problem_of_prefix(std::string_view text) {
  if (text.empty() || text.front() != '/') return "a path begins with `/`";
  if (text.size() > kPatternBytesMax) return "it is longer than 2048 bytes";
  if (text.ends_with('/')) return "leave out the final slash";
  if (text.find_first_of("{}*") != std::string_view::npos) return "it is a path, not a pattern";
  http::PathOddities oddities;
  const std::string problem = problem_of_literals(std::string(text), oddities);
  if (!problem.empty()) return problem;
  return oddities.empty() ? "" : "servers read `//`, `;`, `%2F` and `%5C` differently";
}

bool always_starts_with(const PathPattern& pattern, std::string_view prefix) {
  const auto wanted = split(prefix);
  if (wanted.size() > pattern.segments.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const PatternSegment& segment = pattern.segments[i];
    if (segment.parameter || segment.literal != wanted[i]) return false;
  }
  return true;
}

}  // namespace merlon::gateway
