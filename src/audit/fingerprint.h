#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "audit/finding.h"
#include "audit/line_index.h"

namespace merlon::audit {

/// fingerprint(finding) for many findings: a line that several of a rule stand on, such as the only
/// one of a JSON file, is found and hashed once. The findings must outlive it.
class Fingerprints {
 public:
  [[nodiscard]] std::string of(const Finding& finding);

 private:
  using Place = std::tuple<std::string_view, const Source*, std::uint32_t>;  ///< rule, file, line

  LineIndex lines_;
  std::map<Place, std::uint64_t> hashes_;
};

}  // namespace merlon::audit
