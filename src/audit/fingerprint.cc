#include "audit/fingerprint.h"

#include <fmt/format.h>

namespace merlon::audit {
namespace {

std::uint64_t hash_of(std::string_view text, std::uint64_t hash) noexcept {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return (hash ^ 0xff) * 1099511628211ULL;  // a separator, so that "ab","c" is not "a","bc"
}

std::string_view trimmed(std::string_view line) noexcept {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) {
    line.remove_suffix(1);
  }
  return line;
}

std::uint64_t hash_of_place(const Finding& finding, LineIndex& lines) {
  std::uint64_t hash = hash_of(finding.rule, 1469598103934665603ULL);
  const std::string_view path =
      finding.at.source == nullptr ? std::string_view{} : std::string_view(finding.at.source->path);
  const std::size_t slash = path.rfind('/');
  hash = hash_of(slash == std::string_view::npos ? path : path.substr(slash + 1), hash);
  if (!finding.at.known()) return hash;
  return hash_of(trimmed(lines.line(*finding.at.source, finding.at.line)), hash);
}

}  // namespace

std::string Fingerprints::of(const Finding& finding) {
  const auto [found, added] =
      hashes_.try_emplace({finding.rule, finding.at.source.get(), finding.at.line});
  if (added) found->second = hash_of_place(finding, lines_);
  std::uint64_t hash = found->second;
  if (!finding.affected.empty()) hash = hash_of(finding.affected.front(), hash);
  return fmt::format("{:016x}", hash);
}

std::string fingerprint(const Finding& finding) { return Fingerprints().of(finding); }

}  // namespace merlon::audit
