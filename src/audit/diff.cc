#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <tuple>

#include "audit/finding.h"
#include "audit/line_index.h"

namespace merlon::audit {
namespace {

constexpr std::uint32_t kContextLines = 3;

std::uint32_t line_count(const Source& file) {
  const auto ends = static_cast<std::uint32_t>(std::ranges::count(file.text, '\n'));
  return ends + (file.text.empty() || file.text.ends_with('\n') ? 0 : 1);
}

void put(std::string& out, char sign, std::string_view line, std::string_view ending) {
  out += sign;
  out.append(line);
  out.append(ending);
}

/// A line of the file as it stands there: patch compares the carriage return before its end, too,
/// and whether it has an end.
void put_line(std::string& out, char sign, const Source& file, std::string_view line) {
  const char* end = line.data() + line.size();
  const char* file_end = file.text.data() + file.text.size();
  const bool returns = end < file_end && *end == '\r';
  put(out, sign, line, returns ? "\r\n" : "\n");
  if (end == file_end) out += "\\ No newline at end of file\n";
}

/// How the lines of a file end, going by the first.
std::string_view ending_of(const Source& file) {
  const std::size_t end = file.text.find('\n');
  const bool returns = end != std::string::npos && end > 0 && file.text[end - 1] == '\r';
  return returns ? "\r\n" : "\n";
}

/// Edits sorted by line, without those that touch a line that an earlier one changes.
std::vector<const Edit*> compatible(std::vector<const Edit*> edits) {
  std::ranges::sort(edits, [](const Edit* a, const Edit* b) {
    return std::tie(a->first_line, a->last_line, a->replacement) <
           std::tie(b->first_line, b->last_line, b->replacement);
  });
  std::vector<const Edit*> out;
  std::uint32_t used_to = 0;
  for (const Edit* edit : edits) {
    const bool same = !out.empty() && out.back()->first_line == edit->first_line &&
                      out.back()->replacement == edit->replacement;
    const bool insertion = edit->last_line + 1 == edit->first_line;
    if (same || edit->first_line == 0 || (edit->first_line <= used_to && !insertion)) continue;
    if (insertion && !out.empty() && edit->first_line <= used_to) continue;
    out.push_back(edit);
    used_to = std::max({used_to, edit->last_line, insertion ? edit->first_line - 1 : 0U});
  }
  return out;
}

std::uint32_t added_lines(const Edit& edit) {
  return static_cast<std::uint32_t>(std::ranges::count(edit.replacement, '\n'));
}

/// One hunk for edits whose contexts touch.
void hunk(std::string& out, LineIndex& lines, const Source& file,
          std::span<const Edit* const> edits, std::int64_t& shift) {
  const std::uint32_t total = line_count(file);
  const std::uint32_t from =
      edits.front()->first_line > kContextLines ? edits.front()->first_line - kContextLines : 1;
  const std::uint32_t to = std::min(total, edits.back()->last_line + kContextLines);
  std::string body;
  std::int64_t delta = 0;
  std::uint32_t at = from;
  for (const Edit* edit : edits) {
    for (; at < edit->first_line; ++at) put_line(body, ' ', file, lines.line(file, at));
    for (; at <= edit->last_line; ++at) put_line(body, '-', file, lines.line(file, at));
    std::string_view rest = edit->replacement;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      std::string_view line = rest.substr(0, end);
      if (line.ends_with('\r')) line.remove_suffix(1);
      put(body, '+', line, ending_of(file));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    delta += std::int64_t{added_lines(*edit)} -
             (std::int64_t{edit->last_line} - std::int64_t{edit->first_line} + 1);
  }
  for (; at <= to; ++at) put_line(body, ' ', file, lines.line(file, at));
  const std::int64_t before = std::int64_t{to} - from + 1;
  out += fmt::format("@@ -{},{} +{},{} @@\n", from, before, from + shift, before + delta);
  out += body;
  shift += delta;
}

}  // namespace

std::string unified_diff(const AuditResult& result) {
  std::map<std::string, std::vector<const Edit*>> by_file;
  for (const Finding& finding : result.findings) {
    if (!finding.waived.empty() || finding.baseline) continue;
    for (const Edit& edit : finding.fix) {
      if (edit.file != nullptr) by_file[edit.file->path].push_back(&edit);
    }
  }
  LineIndex lines;
  std::string out;
  for (auto& [path, edits] : by_file) {
    const Source& file = *edits.front()->file;
    const std::vector<const Edit*> chosen = compatible(std::move(edits));
    // A tab ends a name that has blanks in it.
    const char* end_of_name = path.find(' ') == std::string::npos ? "" : "\t";
    out += fmt::format("--- {0}{1}\n+++ {0}{1}\n", path, end_of_name);
    std::int64_t shift = 0;
    for (std::size_t i = 0; i < chosen.size();) {
      std::size_t end = i + 1;
      while (end < chosen.size() &&
             chosen[end]->first_line <= chosen[end - 1]->last_line + 2 * kContextLines + 1) {
        ++end;
      }
      hunk(out, lines, file, std::span(chosen).subspan(i, end - i), shift);
      i = end;
    }
  }
  return out;
}

}  // namespace merlon::audit
