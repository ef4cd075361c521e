#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/diagnostics.h"

namespace merlon::audit {

/// The lines of texts, for those who ask for many: Source::line goes through the text from its
/// start each time, and a report has something to say of every line. Not thread-safe.
class LineIndex {
 public:
  /// Source::line(number). Every `source` that was asked about must outlive the index.
  [[nodiscard]] std::string_view line(const Source& source, std::uint32_t number);

 private:
  std::unordered_map<const Source*, std::vector<std::size_t>> starts_;  ///< where each line starts
};

}  // namespace merlon::audit
