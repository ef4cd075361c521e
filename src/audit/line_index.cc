#include "audit/line_index.h"

#include <algorithm>

namespace merlon::audit {
namespace {

std::vector<std::size_t> line_starts(std::string_view text) {
  std::vector<std::size_t> out{0};
  for (std::size_t end = text.find('\n'); end != std::string_view::npos;
       end = text.find('\n', end + 1)) {
    out.push_back(end + 1);
  }
  return out;
}

}  // namespace

std::string_view LineIndex::line(const Source& source, std::uint32_t number) {
  const auto [found, added] = starts_.try_emplace(&source);
  std::vector<std::size_t>& starts = found->second;
  if (added) starts = line_starts(source.text);
  if (number > starts.size()) return {};
  const std::size_t nth = std::max(1U, number) - 1;
  const std::string_view text = source.text;
  const std::size_t end = nth + 1 < starts.size() ? starts[nth + 1] - 1 : text.size();
  std::string_view line = text.substr(starts[nth], end - starts[nth]);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace merlon::audit
