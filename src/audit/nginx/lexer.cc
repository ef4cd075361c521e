#include "audit/nginx/lexer.h"

#include <fmt/format.h>

#include <utility>

namespace merlon::audit::nginx {
namespace {

// nginx reads its files through a buffer of 4096 bytes and refuses a word that does not fit.
constexpr std::size_t kWordBytesMax = 4096;

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

void Lexer::newline(std::size_t at) noexcept {
  ++line_;
  line_start_ = at + 1;
}

void Lexer::skip_blank() {
  for (; !done(); ++at_) {
    const char c = text_[at_];
    if (c == '#') {
      comments_.push_back(at_);
      const std::size_t end = text_.find('\n', at_);
      at_ = end == std::string_view::npos ? text_.size() : end;
      if (done()) return;
      newline(at_);
      continue;
    }
    if (!is_blank(c)) return;
    if (c == '\n') newline(at_);
  }
}

bool Lexer::fail(std::string message, std::size_t at) {
  error_ = std::move(message);
  error_word_ = Word{.text = {}, .line = line_, .column = column(at)};
  return false;
}

Lexer::End Lexer::next(std::vector<Word>& words) {
  words.clear();
  for (;;) {
    skip_blank();
    if (done()) return End::kText;
    const char c = text_[at_];
    if (c == ';' || c == '{') {
      if (words.empty()) {
        fail(fmt::format("unexpected \"{}\"", c), at_);
        ++at_;
        return End::kError;
      }
      ++at_;
      return c == ';' ? End::kSemicolon : End::kBlockOpens;
    }
    if (c == '}') {
      if (!words.empty()) {
        fail("unexpected \"}\": the statement before it has no \";\"", at_);
        return End::kError;
      }
      ++at_;
      return End::kBlockCloses;
    }
    Word word;
    if (!read_word(word)) return End::kError;
    words.push_back(word);
  }
}

bool Lexer::read_word(Word& word) {
  word.line = line_;
  word.column = column(at_);
  const std::size_t start = at_;
  const char first = text_[at_];
  if (first == '"' || first == '\'') {
    if (!read_quoted(word, first)) return false;
  } else {
    read_plain(word);
  }
  word.length = static_cast<std::uint32_t>(at_ - start);
  if (word.text.size() > kWordBytesMax) {
    return fail(fmt::format("too long parameter \"{}...\" started", word.text.substr(0, 10)),
                start);
  }
  return true;
}

bool Lexer::read_quoted(Word& word, char quote) {
  const std::size_t start = ++at_;
  bool escaped = false;
  for (; !done(); ++at_) {
    const char c = text_[at_];
    if (c == '\n') newline(at_);
    if (std::exchange(escaped, false)) continue;
    if (c == '\\') escaped = true;
    if (c == quote) break;
  }
  if (done()) {
    error_ = "unexpected end of file: the quoted string is not closed";
    error_word_ = word;
    return false;
  }
  word.quoted = true;
  word.text = unescape(text_.substr(start, at_ - start));
  ++at_;
  if (done()) return true;
  const char after = text_[at_];
  if (is_blank(after) || after == ';' || after == '{' || after == ')') return true;
  const std::size_t where = at_;
  ++at_;
  return fail(fmt::format("unexpected \"{}\" after a quoted string", after), where);
}

void Lexer::read_plain(Word& word) {
  const std::size_t start = at_;
  bool escaped = false;
  bool variable = false;  // "${name}": the brace after "$" opens no block
  for (; !done(); ++at_) {
    const char c = text_[at_];
    if (std::exchange(escaped, false)) {
      if (c == '\n') newline(at_);
      continue;
    }
    if (c == '{' && variable) continue;
    variable = c == '$';
    if (c == '\\') {
      escaped = true;
      continue;
    }
    if (is_blank(c) || c == ';' || c == '{') break;
  }
  word.text = unescape(text_.substr(start, at_ - start));
}

std::string_view Lexer::unescape(std::string_view raw) {
  if (raw.find('\\') == std::string_view::npos) return raw;
  std::string out;
  out.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      out += raw[i];
      continue;
    }
    switch (raw[i + 1]) {
      case '"':
      case '\'':
      case '\\':
        out += raw[++i];
        break;
      case 't':
        out += '\t';
        ++i;
        break;
      case 'r':
        out += '\r';
        ++i;
        break;
      case 'n':
        out += '\n';
        ++i;
        break;
      default:
        out += raw[i];
        break;
    }
  }
  return pool_.emplace_back(std::move(out));
}

bool Lexer::lua_block(std::string_view& raw) {
  const std::size_t start = at_;
  std::size_t depth = 1;
  while (!done()) {
    const char c = text_[at_++];
    if (c == '\n') newline(at_ - 1);
    if (c == '{') ++depth;
    if (c == '}' && --depth == 0) {
      raw = text_.substr(start, at_ - 1 - start);
      return true;
    }
    if (c == '"' || c == '\'') skip_lua_string(c);
    const bool comment = c == '-' && !done() && text_[at_] == '-';
    if (comment) ++at_;
    if (!comment && c != '[') continue;
    // "[[" or "[=[" opens a long string, and so does what follows "--" for a comment.
    std::size_t probe = comment ? at_ + 1 : at_;
    if (comment && (done() || text_[at_] != '[')) probe = std::string_view::npos;
    std::size_t equals = 0;
    while (probe < text_.size() && text_[probe] == '=') ++probe, ++equals;
    if (probe < text_.size() && text_[probe] == '[') {
      at_ = probe + 1;
      skip_lua_long_bracket(equals);
    } else if (comment) {
      const std::size_t end = text_.find('\n', at_);
      at_ = end == std::string_view::npos ? text_.size() : end;
    }
  }
  raw = text_.substr(start);
  return false;
}

void Lexer::skip_lua_string(char quote) {
  for (bool escaped = false; !done(); ++at_) {
    const char c = text_[at_];
    if (c == '\n') {
      if (!escaped) return;  // a Lua string ends with its line
      newline(at_);
    }
    if (std::exchange(escaped, false)) continue;
    if (c == '\\') escaped = true;
    if (c == quote) {
      ++at_;
      return;
    }
  }
}

void Lexer::skip_lua_long_bracket(std::size_t equals) {
  const std::string close = "]" + std::string(equals, '=') + "]";
  const std::size_t found = text_.find(close, at_);
  const std::size_t end = found == std::string_view::npos ? text_.size() : found + close.size();
  for (; at_ < end; ++at_) {
    if (text_[at_] == '\n') newline(at_);
  }
}

std::vector<std::size_t> comments_in(std::string_view text) {
  std::deque<std::string> pool;
  Lexer lexer(text, pool);
  std::vector<Word> words;
  for (Lexer::End end = lexer.next(words); end != Lexer::End::kText; end = lexer.next(words)) {
    std::string_view lua;
    if (end == Lexer::End::kBlockOpens && holds_lua(words.front().text)) lexer.lua_block(lua);
  }
  return lexer.comments();
}

}  // namespace merlon::audit::nginx
