#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "audit/nginx/syntax.h"

namespace merlon::audit::nginx {

/// Cuts one text into statements. Bytes in, words out; no knowledge of directives.
class Lexer {
 public:
  enum class End : std::uint8_t { kSemicolon, kBlockOpens, kBlockCloses, kText, kError };

  /// `text` and `pool` outlive every word that is handed out.
  Lexer(std::string_view text, std::deque<std::string>& pool) : text_(text), pool_(pool) {}

  /// The words up to the next `;`, `{` or `}`, and which of them it was. kText: the end of the
  /// text, with the words that nothing ended. kError: error() says what, error_word() where.
  End next(std::vector<Word>& words);

  /// After kBlockOpens: the raw text up to the brace that closes a Lua block (its strings and
  /// comments may hold braces). False when the text ends first.
  bool lua_block(std::string_view& raw);

  [[nodiscard]] std::uint32_t line() const noexcept { return line_; }
  /// Where the comments that were passed over begin, in order.
  [[nodiscard]] const std::vector<std::size_t>& comments() const noexcept { return comments_; }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }
  [[nodiscard]] const Word& error_word() const noexcept { return error_word_; }

 private:
  void skip_blank();
  bool read_word(Word& word);
  bool read_quoted(Word& word, char quote);
  void read_plain(Word& word);
  std::string_view unescape(std::string_view raw);
  void newline(std::size_t at) noexcept;
  void skip_lua_long_bracket(std::size_t equals);
  void skip_lua_string(char quote);
  bool fail(std::string message, std::size_t at);
  [[nodiscard]] std::uint32_t column(std::size_t at) const noexcept {
    return static_cast<std::uint32_t>(at - line_start_ + 1);
  }
  [[nodiscard]] bool done() const noexcept { return at_ >= text_.size(); }

  std::string_view text_;
  std::deque<std::string>& pool_;
  std::size_t at_ = 0;
  std::size_t line_start_ = 0;
  std::uint32_t line_ = 1;
  std::vector<std::size_t> comments_;
  std::string error_;
  Word error_word_;
};

/// Where the comments of a configuration begin, in bytes from the start of its text. A "#" in a
/// quoted text or in a Lua block begins none.
[[nodiscard]] std::vector<std::size_t> comments_in(std::string_view text);

}  // namespace merlon::audit::nginx
