#include "audit/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string_view>
#include <system_error>
#include <tuple>

#include "audit/line_index.h"

namespace merlon::audit {
namespace {

namespace fs = std::filesystem;

std::uint64_t hash_of(std::string_view text, std::uint64_t hash) noexcept {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return (hash ^ 0xff) * 1099511628211ULL;  // a separator, so that "ab","c" is not "a","bc"
}

/// The words of a line, with one blank between them.
std::string with_single_blanks(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  std::string out;
  while (true) {
    line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
    if (line.empty()) return out;
    const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
    if (!out.empty()) out += ' ';
    out += word;
    line.remove_prefix(word.size());
  }
}

/// From the root on: "..", "." and the folder's name are one place.
fs::path whole(const std::string& path) {
  std::error_code error;
  const fs::path out = fs::absolute(path, error);
  return (error ? fs::path(path) : out).lexically_normal();
}

/// `path` as seen from `folder`; "" when it lies elsewhere.
std::string inside(const fs::path& path, const fs::path& folder) {
  std::string out = path.lexically_relative(folder).string();
  return out == "." || out.starts_with("..") ? std::string{} : out;
}

/// Hashes findings of one result. A line that several of a rule stand on, such as the only one of a
/// JSON file, is found and hashed once.
class Hasher {
 public:
  explicit Hasher(const std::vector<std::string>& inputs) {
    for (const std::string& input : inputs) {
      if (input != "-") folders_.push_back(whole(input + "/").parent_path());
    }
    // An input may be a file: it, and what it includes, stand in the folder around it.
    const std::size_t count = folders_.size();
    for (std::size_t i = 0; i < count; ++i) folders_.push_back(folders_[i].parent_path());
  }

  std::uint64_t of(const Finding& finding) {
    const auto [found, added] =
        places_.try_emplace({finding.rule, finding.at.source.get(), finding.at.line});
    if (added) found->second = of_place(finding);
    return found->second;
  }

 private:
  using Place = std::tuple<std::string_view, const Source*, std::uint32_t>;  ///< rule, file, line

  std::uint64_t of_place(const Finding& finding) {
    std::uint64_t hash = hash_of(finding.rule, 1469598103934665603ULL);
    const Source* source = finding.at.source.get();
    hash = hash_of(source == nullptr ? std::string_view{} : name_of(*source), hash);
    if (!finding.at.known()) return hash;
    return hash_of(with_single_blanks(lines_.line(*source, finding.at.line)), hash);
  }

  /// The same wherever the tree lies: files of one name in different folders stay apart.
  std::string_view name_of(const Source& source) {
    const auto [found, added] = names_.try_emplace(&source, source.path);
    if (!added) return found->second;
    const fs::path path = whole(source.path);
    for (const fs::path& folder : folders_) {
      const std::string name = inside(path, folder);
      if (name.empty()) continue;
      found->second = name;
      break;
    }
    return found->second;
  }

  std::vector<fs::path> folders_;
  LineIndex lines_;
  std::map<const Source*, std::string> names_;
  std::map<Place, std::uint64_t> places_;
};

}  // namespace

std::vector<std::string> fingerprints(const AuditResult& result) {
  Hasher hasher(result.inputs);
  std::map<std::uint64_t, std::size_t> seen;
  std::vector<std::string> out;
  out.reserve(result.findings.size());
  for (const Finding& finding : result.findings) {
    const std::uint64_t hash = hasher.of(finding);
    const std::size_t nth = ++seen[hash];
    out.push_back(nth == 1 ? fmt::format("{:016x}", hash) : fmt::format("{:016x}:{}", hash, nth));
  }
  return out;
}

}  // namespace merlon::audit
