#include "audit/yaml_comments.h"

#include <algorithm>
#include <optional>

#include "audit/envoy/reader.h"

namespace merlon::audit {
namespace {

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view without_blanks_at_end(std::string_view text) {
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::size_t indent_of(std::string_view line) {
  return std::min(line.find_first_not_of(' '), line.size());
}

/// Looks for comments line by line; what is open at the end of a line goes on in the next.
class LineScan {
 public:
  /// Where the comment of the line starts; its size when it has none.
  std::size_t comment_in(std::string_view line) {
    begins_ = true;
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (quote_ != 0) {
        i = in_quotes(line, i);
      } else if (line[i] == '#' && (i == 0 || is_blank(line[i - 1]))) {
        return i;
      } else if (!is_blank(line[i])) {
        i = outside(line, i);
      }
    }
    return line.size();
  }

  /// True where a line ends outside of quotes and brackets.
  [[nodiscard]] bool is_plain() const noexcept { return quote_ == 0 && depth_ == 0; }

 private:
  std::size_t in_quotes(std::string_view line, std::size_t i) {
    const bool doubled = quote_ == '\'' && line.substr(i).starts_with("''");
    if (doubled || (quote_ == '"' && line[i] == '\\')) return i + 1;
    if (line[i] == quote_) quote_ = 0;
    return i;
  }

  std::size_t outside(std::string_view line, std::size_t i) {
    const char c = line[i];
    const bool ends = i + 1 == line.size() || is_blank(line[i + 1]);
    if (begins_ && (c == '!' || c == '&')) {  // a tag or anchor: its scalar follows
      while (i + 1 < line.size() && !is_blank(line[i + 1])) ++i;
      return i;
    }
    if (begins_ && (c == '"' || c == '\'')) {
      quote_ = c;
      begins_ = false;
      return i;
    }
    const bool opens = begins_ && (c == '[' || c == '{');
    if (opens) ++depth_;
    if (depth_ > 0 && (c == ']' || c == '}')) --depth_;
    const bool after_key = c == ':' && (ends || depth_ > 0);
    const bool entry = begins_ && ends && (c == '-' || c == '?');
    begins_ = opens || after_key || entry || (c == ',' && depth_ > 0);
    return i;
  }

  char quote_ = 0;
  std::size_t depth_ = 0;
  bool begins_ = true;  ///< a scalar may begin here
};

/// How far the lines of a block scalar are indented: at least so, or exactly where it says so
/// itself ("|2").
struct BlockIndent {
  std::size_t spaces = 0;
  bool exact = false;
};

/// What follows a line is a block scalar when it ends with "|" or ">".
std::optional<BlockIndent> block_indent(std::string_view line) {
  line = without_blanks_at_end(line);
  const std::size_t sign = line.find_last_of("|>");
  if (sign == std::string_view::npos || line.size() - sign > 3) return std::nullopt;
  if (line.find_first_not_of("0123456789+-", sign + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view before = without_blanks_at_end(line.substr(0, sign));
  if (before.size() == sign && sign != 0) return std::nullopt;
  const std::size_t digit = line.find_first_of("123456789", sign);
  const std::size_t more =
      digit == std::string_view::npos ? 1 : static_cast<std::size_t>(line[digit] - '0');
  const bool exact = digit != std::string_view::npos;
  if (before.empty() || before == "---")
    return BlockIndent{.spaces = exact ? more : 0, .exact = exact};
  const std::size_t word = before.find_last_of(" \t") + 1;
  const bool begins =
      before.ends_with(':') || before.ends_with('-') || before[word] == '!' || before[word] == '&';
  if (!begins) return std::nullopt;
  // In "- - key: |" the scalar stands below the key, in "- |" below the dash.
  std::size_t parent = indent_of(before);
  for (std::size_t at = parent; before.substr(at).starts_with("- ");) {
    at = std::min(before.find_first_not_of(' ', at + 1), before.size());
    if (at < before.size() && before[at] != '!' && before[at] != '&') parent = at;
  }
  return BlockIndent{.spaces = parent + more, .exact = exact};
}

/// The end of the block scalar that begins at `from`. Its first line says how far all are indented.
std::size_t end_of_block(std::string_view text, std::size_t from, BlockIndent indent) {
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string_view line = without_blanks_at_end(text.substr(from, end - from));
    if (!line.empty() && indent_of(line) < indent.spaces) break;
    if (!line.empty() && !indent.exact) {
      indent = {.spaces = indent_of(line), .exact = true};
    }
    from = std::min(end + 1, text.size());
  }
  return from;
}

void scan(std::string_view text, std::size_t offset, bool holds_files,
          std::vector<std::size_t>& out) {
  LineScan lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const std::size_t comment = lines.comment_in(line);
    if (comment < line.size()) out.push_back(offset + at + comment);
    at = end + 1;
    const auto indent = lines.is_plain() ? block_indent(line.substr(0, comment)) : std::nullopt;
    if (!indent || at >= text.size()) continue;
    const std::size_t stop = end_of_block(text, at, *indent);
    const std::string_view block = text.substr(at, stop - at);
    if (holds_files && envoy::looks_like_envoy(block)) scan(block, offset + at, false, out);
    at = stop;
  }
}

}  // namespace

std::vector<std::size_t> yaml_comments(std::string_view text) {
  std::vector<std::size_t> out;
  scan(text, 0, text.find("kind: ConfigMap") != std::string_view::npos, out);
  return out;
}

}  // namespace merlon::audit
