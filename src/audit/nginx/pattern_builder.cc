#include <algorithm>
#include <optional>
#include <utility>

#include "audit/nginx/pattern.h"
#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t kNoBound = UINT32_MAX;
constexpr std::size_t kBytesMax = 4096;
constexpr std::size_t kDepthMax = 64;

std::size_t index_of(char c) noexcept { return static_cast<unsigned char>(c); }

void add_range(Pattern::Chars& set, char from, char to) {
  for (std::size_t c = index_of(from); c <= index_of(to); ++c) set.set(c);
}

/// The set of \d, \w, \s, \h, \v and their complements; nullopt for another letter.
std::optional<Pattern::Chars> class_of(char letter) {
  Pattern::Chars set;
  switch (ascii::lower(letter)) {
    case 'd':
      add_range(set, '0', '9');
      break;
    case 'w':
      add_range(set, '0', '9');
      add_range(set, 'a', 'z');
      add_range(set, 'A', 'Z');
      set.set('_');
      break;
    case 's':
      for (const char c : {' ', '\t', '\n', '\r', '\f', '\v'}) set.set(index_of(c));
      break;
    case 'h':
      set.set(' ');
      set.set('\t');
      break;
    case 'v':
      for (const char c : {'\n', '\r', '\f', '\v'}) set.set(index_of(c));
      break;
    default:
      return std::nullopt;
  }
  const bool complement = letter >= 'A' && letter <= 'Z';
  return complement ? ~set : set;
}

}  // namespace

/// Parses the text of a pattern into the nodes of `out`, by recursive descent.
class Pattern::Builder {
 public:
  Builder(Pattern& out, std::string_view text, bool ignore_case)
      : out_(out), text_(text), ignore_case_(ignore_case) {}

  bool run() {
    if (text_.size() > kBytesMax) return false;
    out_.root_ = choice(0);
    return good_ && at_ == text_.size();
  }

 private:
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  [[nodiscard]] char peek() const { return done() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (!text_.substr(std::min(at_, text_.size())).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  std::uint32_t fail() {
    good_ = false;
    at_ = text_.size();
    return make(Op::kFail);
  }
  std::uint32_t make(Op op) {
    out_.nodes_.push_back(Node{});
    out_.nodes_.back().op = op;
    return static_cast<std::uint32_t>(out_.nodes_.size() - 1);
  }
  std::uint32_t make_chars(const Chars& set) {
    const std::uint32_t node = make(Op::kChars);
    Chars all = set;
    if (ignore_case_) {
      for (char c = 'a'; c <= 'z'; ++c) {
        const auto upper = static_cast<char>(c - 'a' + 'A');
        const bool either = all[index_of(c)] || all[index_of(upper)];
        all[index_of(c)] = either;
        all[index_of(upper)] = either;
      }
    }
    out_.nodes_[node].chars = all;
    return node;
  }

  std::uint32_t choice(std::size_t depth) {
    if (depth > kDepthMax) return fail();
    std::vector<std::uint32_t> parts{sequence(depth)};
    while (take('|')) parts.push_back(sequence(depth));
    if (parts.size() == 1) return parts.front();
    const std::uint32_t node = make(Op::kChoice);
    out_.nodes_[node].parts = std::move(parts);
    return node;
  }

  std::uint32_t sequence(std::size_t depth) {
    std::vector<std::uint32_t> parts;
    while (!done() && peek() != '|' && peek() != ')') {
      parts.push_back(repeated(atom(depth)));
    }
    note_loose_dots(parts);
    const std::uint32_t node = make(Op::kSequence);
    out_.nodes_[node].parts = std::move(parts);
    return node;
  }

  // "example.com": the dot has no repeat and letters on both sides, so a literal one was meant.
  void note_loose_dots(const std::vector<std::uint32_t>& parts) {
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const Node& node = out_.nodes_[parts[i]];
      if (node.op != Op::kChars || !node.wild) continue;
      const Node& after = out_.nodes_[parts[i + 1]];
      const bool literal_after = after.op == Op::kChars && after.chars.count() <= 2;
      if (literal_after) out_.loose_dot_ = true;
    }
  }

  std::uint32_t repeated(std::uint32_t inner) {
    for (;;) {
      std::uint32_t min = 0;
      std::uint32_t max = kNoBound;
      if (take('*')) {
      } else if (take('+')) {
        min = 1;
      } else if (take('?')) {
        max = 1;
      } else if (!bounds(min, max)) {
        return inner;
      }
      if (!take('?')) take('+');
      const std::uint32_t node = make(Op::kRepeat);
      out_.nodes_[node].parts = {inner};
      out_.nodes_[node].min = min;
      out_.nodes_[node].max = max;
      inner = node;
    }
  }

  /// "{2}", "{2,}", "{2,5}"; anything else is a literal brace.
  bool bounds(std::uint32_t& min, std::uint32_t& max) {
    if (peek() != '{') return false;
    const std::size_t start = at_++;
    const auto number = [&](std::uint32_t& value) {
      const std::size_t from = at_;
      value = 0;
      for (; !done() && ascii::is_digit(peek()) && value < 100'000; ++at_) {
        value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      }
      return at_ > from;
    };
    bool good = number(min);
    max = min;
    if (good && take(',')) {
      if (!number(max)) max = kNoBound;
    }
    good = good && take('}');
    if (!good) at_ = start;
    return good;
  }

  std::uint32_t atom(std::size_t depth) {
    const char c = text_[at_++];
    Chars set;
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return char_class();
      case '^':
        return make(Op::kBegin);
      case '$':
        return make(Op::kEnd);
      case '.': {
        set.set();
        set.reset('\n');  // nginx compiles without PCRE_DOTALL
        const std::uint32_t node = make_chars(set);
        out_.nodes_[node].wild = true;
        return node;
      }
      case '\\':
        return escape();
      case '*':
      case '+':
      case '?':
        return fail();
      default:
        set.set(index_of(c));
        return make_chars(set);
    }
  }

  std::uint32_t escape() {
    if (done()) return fail();
    const char c = text_[at_++];
    if (const auto known = class_of(c)) return make_chars(*known);
    switch (c) {
      case 'b':
      case 'B': {
        const std::uint32_t node = make(Op::kWordEdge);
        out_.nodes_[node].negative = c == 'B';
        return node;
      }
      case 'A':
        return make(Op::kBegin);
      case 'z':
      case 'Z':
        return make(Op::kEnd);
      default:
        break;
    }
    char literal = c;
    if (!escaped_byte(c, literal)) return fail();
    Chars set;
    set.set(index_of(literal));
    return make_chars(set);
  }

  bool escaped_byte(char c, char& out) {
    switch (c) {
      case 'n':
        out = '\n';
        return true;
      case 'r':
        out = '\r';
        return true;
      case 't':
        out = '\t';
        return true;
      case 'f':
        out = '\f';
        return true;
      case '0':
        out = '\0';
        return true;
      case 'x': {
        if (at_ + 1 >= text_.size()) return false;
        const int high = ascii::hex_value(text_[at_]);
        const int low = ascii::hex_value(text_[at_ + 1]);
        if (high < 0 || low < 0) return false;
        at_ += 2;
        out = static_cast<char>(high * 16 + low);
        return true;
      }
      default:
        out = c;
        return !ascii::is_alnum(c);  // back references and the rest: not known
    }
  }

  std::uint32_t char_class() {
    Chars set;
    const bool complement = take('^');
    for (bool first = true;; first = false) {
      if (done()) return fail();
      if (peek() == ']' && !first) break;
      if (take("[:")) {
        if (!posix_class(set)) return fail();
        continue;
      }
      char from = text_[at_++];
      if (from == '\\') {
        if (done()) return fail();
        const char letter = text_[at_++];
        if (const auto known = class_of(letter)) {
          set |= *known;
          continue;
        }
        if (letter == 'b') {
          from = '\b';
        } else if (!escaped_byte(letter, from)) {
          return fail();
        }
      }
      char to = from;
      const bool range = peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
      if (range) {
        ++at_;
        to = text_[at_++];
        if (to == '\\') {
          if (done() || !escaped_byte(text_[at_++], to)) return fail();
        }
        if (index_of(to) < index_of(from)) return fail();
      }
      add_range(set, from, to);
    }
    ++at_;
    // A complement is taken after case folding, as PCRE does.
    const std::uint32_t node = make_chars(set);
    if (complement) out_.nodes_[node].chars = ~out_.nodes_[node].chars;
    return node;
  }

  bool posix_class(Chars& set) {
    constexpr std::pair<std::string_view, char> kKnown[] = {
        {"digit:]", 'd'}, {"word:]", 'w'}, {"space:]", 's'}};
    for (const auto& [word, letter] : kKnown) {
      if (take(word)) {
        set |= *class_of(letter);
        return true;
      }
    }
    const bool alnum = take("alnum:]");
    const bool alpha = !alnum && take("alpha:]");
    const bool lower = !alnum && !alpha && take("lower:]");
    const bool upper = !alnum && !alpha && !lower && take("upper:]");
    if (take("xdigit:]")) {
      add_range(set, '0', '9');
      add_range(set, 'a', 'f');
      add_range(set, 'A', 'F');
      return true;
    }
    if (alnum) add_range(set, '0', '9');
    if (alnum || alpha || lower) add_range(set, 'a', 'z');
    if (alnum || alpha || upper) add_range(set, 'A', 'Z');
    return alnum || alpha || lower || upper;
  }

  std::uint32_t group(std::size_t depth) {
    Node made;
    made.op = Op::kGroup;
    const bool case_before = ignore_case_;
    if (take("?:") || take("?>")) {
    } else if (take("?i)")) {
      ignore_case_ = true;
      return make(Op::kEmpty);
    } else if (take("?i:")) {
      ignore_case_ = true;
    } else if (take("?=") || take("?!") || take("?<=") || take("?<!")) {
      made.op = Op::kLook;
      made.negative = text_[at_ - 1] == '!';
      made.behind = text_[at_ - 2] == '<';
    } else if (take("?P<") || take("?<") || take("?'")) {
      const std::size_t end = text_.find_first_of(">'", at_);
      if (end == std::string_view::npos) return fail();
      made.group = static_cast<std::uint32_t>(++out_.groups_);
      out_.names_.emplace_back(text_.substr(at_, end - at_), made.group);
      at_ = end + 1;
    } else if (peek() == '?') {
      return fail();
    } else {
      made.group = static_cast<std::uint32_t>(++out_.groups_);
    }
    made.parts = {choice(depth + 1)};
    ignore_case_ = case_before;
    if (!take(')')) return fail();
    out_.nodes_.push_back(std::move(made));
    return static_cast<std::uint32_t>(out_.nodes_.size() - 1);
  }

  Pattern& out_;
  std::string_view text_;
  std::size_t at_ = 0;
  bool ignore_case_;
  bool good_ = true;
};

Pattern::Pattern(std::string_view text, bool ignore_case) {
  ok_ = Builder(*this, text, ignore_case).run();
}

}  // namespace merlon::audit::nginx
