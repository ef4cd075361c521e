#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace merlon {

/// A text that findings point into: a configuration file, held whole so that lines can be shown.
struct Source {
  std::string path;  ///< as the user named it
  std::string text;  ///< its bytes when it was read
  /// Line `number` (1-based) without its line end; empty when there is none.
  [[nodiscard]] std::string_view line(std::uint32_t number) const noexcept;
};

/// A place in a source. Cheap to copy; keeps its source alive. Empty: no place is known.
struct Mark {
  std::shared_ptr<const Source> source;
  std::uint32_t line = 0;    ///< 1-based; 0 when unknown
  std::uint32_t column = 0;  ///< 1-based, in bytes
  std::uint32_t length = 1;  ///< bytes to underline, at least 1

  [[nodiscard]] bool known() const noexcept { return source != nullptr && line != 0; }
  /// True when both stand at the same place of the same text.
  [[nodiscard]] bool same_place(const Mark& other) const noexcept {
    return source == other.source && line == other.line && column == other.column;
  }
  /// "file:line:column", "file:line" or "".
  [[nodiscard]] std::string to_string() const;
  /// "file:line", the form that logs and `explain` use; "" when unknown.
  [[nodiscard]] std::string file_line() const;
};

enum class Severity : std::uint8_t { kNote, kWarning, kError };
/// "note", "warning" or "error".
[[nodiscard]] std::string_view severity_name(Severity severity);

/// One thing to say about a configuration: what is wrong, where, and what to do about it.
struct Diagnostic {
  Severity severity = Severity::kError;
  Mark at;
  std::string message;  ///< what is wrong, as a sentence without a full stop
  std::string help;     ///< what to do; may be empty
  std::string rule;     ///< slug of the rule that was violated; empty for plain errors
};

/// Collects every finding instead of stopping at the first. Not thread-safe.
class Diagnostics {
 public:
  void add(Diagnostic diagnostic);
  void error(const Mark& at, std::string message, std::string help = {});
  void warning(const Mark& at, std::string message, std::string help = {});
  void note(const Mark& at, std::string message, std::string help = {});

  [[nodiscard]] bool ok() const noexcept { return errors_ == 0; }
  [[nodiscard]] std::size_t error_count() const noexcept { return errors_; }
  [[nodiscard]] const std::vector<Diagnostic>& all() const noexcept { return all_; }

  /// Orders by file, then line and column; findings without a place come last.
  void sort();
  /// Compiler-like text with the line and a caret; `color` uses ANSI escapes.
  /// Control characters of the source are shown escaped, long lines are cut around the column.
  [[nodiscard]] std::string render(bool color = false) const;

 private:
  std::vector<Diagnostic> all_;
  std::size_t errors_ = 0;
};

/// The candidate nearest to `word` by edit distance, or "" when none is near enough to suggest: a
/// third of the word's letters, and never more than `distance_max`.
[[nodiscard]] std::string_view nearest(std::string_view word,
                                       const std::vector<std::string_view>& candidates,
                                       std::size_t distance_max = SIZE_MAX);

}  // namespace merlon
