#include "audit/nginx/pattern.h"

#include <algorithm>
#include <functional>

#include "base/ascii.h"

namespace merlon::audit::nginx {
namespace {

constexpr std::uint32_t kNoBound = UINT32_MAX;
constexpr std::size_t kBytesMax = 4096;
constexpr std::size_t kDepthMax = 64;
constexpr std::size_t kStepsMax = 200'000;
constexpr std::size_t kRecursionMax = 4000;

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

/// Backtracking with a budget of steps and of recursion.
class Pattern::Search {
 public:
  using Then = std::function<bool(std::size_t)>;
  Search(const Pattern& pattern, std::string_view text) : pattern_(pattern), text_(text) {}

  bool from(std::size_t at) {
    return step(pattern_.root_, at, [](std::size_t) { return true; });
  }
  [[nodiscard]] bool exhausted() const { return exhausted_; }

 private:
  bool step(std::uint32_t index, std::size_t at, const Then& then) {
    if (++steps_ > kStepsMax || depth_ > kRecursionMax) {
      exhausted_ = true;
      return false;
    }
    ++depth_;
    const bool matched = dispatch(pattern_.nodes_[index], at, then);
    --depth_;
    return matched;
  }

  bool dispatch(const Node& node, std::size_t at, const Then& then) {
    switch (node.op) {
      case Op::kEmpty:
        return then(at);
      case Op::kChars:
        return at < text_.size() && node.chars[index_of(text_[at])] && then(at + 1);
      case Op::kSequence:
        return sequence(node, 0, at, then);
      case Op::kChoice:
        return std::ranges::any_of(node.parts,
                                   [&](std::uint32_t part) { return step(part, at, then); });
      case Op::kRepeat:
        return repeat(node, 0, at, then);
      case Op::kGroup:
        return step(node.parts.front(), at, then);
      case Op::kBegin:
        return at == 0 && then(at);
      case Op::kEnd:
        return (at == text_.size() || (at + 1 == text_.size() && text_[at] == '\n')) && then(at);
      case Op::kWordEdge:
        return (word_at(at) != (at > 0 && word_at(at - 1))) != node.negative && then(at);
      case Op::kLook:
        return look(node, at) != node.negative && then(at);
      case Op::kFail:
        return false;
    }
    return false;
  }

  bool sequence(const Node& node, std::size_t part, std::size_t at, const Then& then) {
    if (part == node.parts.size()) return then(at);
    return step(node.parts[part], at,
                [&, part](std::size_t next) { return sequence(node, part + 1, next, then); });
  }

  bool repeat(const Node& node, std::uint32_t count, std::size_t at, const Then& then) {
    if (++steps_ > kStepsMax || exhausted_) {
      exhausted_ = true;
      return false;
    }
    if (count < node.max) {
      const bool more = step(node.parts.front(), at, [&, count, at](std::size_t next) {
        return (next > at || count < node.min) && repeat(node, count + 1, next, then);
      });
      if (more) return true;
    }
    return count >= node.min && then(at);
  }

  bool look(const Node& node, std::size_t at) {
    if (!node.behind) return step(node.parts.front(), at, [](std::size_t) { return true; });
    for (std::size_t from = 0; from <= at; ++from) {
      if (step(node.parts.front(), from, [&](std::size_t end) { return end == at; })) return true;
    }
    return false;
  }

  [[nodiscard]] bool word_at(std::size_t at) const {
    return at < text_.size() && (ascii::is_alnum(text_[at]) || text_[at] == '_');
  }

  const Pattern& pattern_;
  std::string_view text_;
  std::size_t steps_ = 0;
  std::size_t depth_ = 0;
  bool exhausted_ = false;
};

std::optional<bool> Pattern::search(std::string_view text) const {
  if (!ok_ || text.size() > kBytesMax) return std::nullopt;
  Search search(*this, text);
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (search.from(at)) return true;
    if (search.exhausted()) return std::nullopt;
  }
  return false;
}

std::optional<std::uint32_t> Pattern::find_group(std::size_t number) const {
  if (!ok_) return std::nullopt;
  if (number == 0) return root_;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].op == Op::kGroup && nodes_[i].group == number) return i;
  }
  return std::nullopt;
}

void Pattern::collect(std::uint32_t index, Chars& out) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kChars) out |= node.chars;
  if (node.op == Op::kLook) return;
  for (const std::uint32_t part : node.parts) collect(part, out);
}

Pattern::Chars Pattern::group_chars(std::size_t number) const {
  Chars out;
  const auto found = find_group(number);
  if (!found) return out.set();
  collect(*found, out);
  return out;
}

bool Pattern::finite(std::uint32_t index) const {
  const Node& node = nodes_[index];
  if (node.op == Op::kChars) return node.chars.count() <= 2;  // one letter, either case
  if (node.op == Op::kRepeat && node.max > 1) return false;
  return std::ranges::all_of(node.parts, [&](std::uint32_t part) { return finite(part); });
}

bool Pattern::group_is_finite(std::size_t number) const {
  const auto found = find_group(number);
  return found && finite(*found);
}

bool Pattern::starts_with(std::uint32_t index, char c) const {
  const Node& node = nodes_[index];
  switch (node.op) {
    case Op::kChars:
      return node.chars.count() == 1 && node.chars[index_of(c)];
    case Op::kGroup:
      return starts_with(node.parts.front(), c);
    case Op::kRepeat:
      return node.min > 0 && starts_with(node.parts.front(), c);
    case Op::kChoice:
      return std::ranges::all_of(node.parts,
                                 [&](std::uint32_t part) { return starts_with(part, c); });
    case Op::kSequence:
      for (const std::uint32_t part : node.parts) {
        const Op op = nodes_[part].op;
        if (op == Op::kBegin || op == Op::kEmpty || op == Op::kLook) continue;
        return starts_with(part, c);
      }
      return false;
    case Op::kEmpty:
    case Op::kBegin:
    case Op::kEnd:
    case Op::kWordEdge:
    case Op::kLook:
    case Op::kFail:
      return false;
  }
  return false;
}

bool Pattern::group_starts_with(std::size_t number, char c) const {
  const auto found = find_group(number);
  return found && starts_with(*found, c);
}

std::size_t Pattern::group_named(std::string_view name) const {
  for (const auto& [known, number] : names_) {
    if (known == name) return number;
  }
  return 0;
}

bool Pattern::anchored(std::uint32_t index, bool start) const {
  const Node& node = nodes_[index];
  switch (node.op) {
    case Op::kBegin:
      return start;
    case Op::kEnd:
      return !start;
    case Op::kGroup:
      return anchored(node.parts.front(), start);
    case Op::kRepeat:
      return node.min > 0 && anchored(node.parts.front(), start);
    case Op::kChoice:
      return std::ranges::all_of(node.parts,
                                 [&](std::uint32_t part) { return anchored(part, start); });
    case Op::kSequence: {
      const auto zero_width = [&](std::uint32_t part) {
        return nodes_[part].op == Op::kLook || nodes_[part].op == Op::kEmpty;
      };
      std::vector<std::uint32_t> parts = node.parts;
      if (!start) std::ranges::reverse(parts);
      for (const std::uint32_t part : parts) {
        if (anchored(part, start)) return true;
        if (!zero_width(part)) return false;
      }
      return false;
    }
    case Op::kEmpty:
    case Op::kChars:
    case Op::kWordEdge:
    case Op::kLook:
    case Op::kFail:
      return false;
  }
  return false;
}

void Pattern::sample_into(std::uint32_t index, bool swap_wild, std::string& out) const {
  constexpr std::size_t kSampleMax = 512;
  if (out.size() > kSampleMax) return;
  const Node& node = nodes_[index];
  if (node.op == Op::kLook) return;
  if (node.op == Op::kChoice) return sample_into(node.parts.front(), swap_wild, out);
  if (node.op == Op::kRepeat) {
    // An optional group is left out, an optional repeat of a class is shown once.
    const bool once = node.min > 0 || (node.max > 1 && nodes_[node.parts.front()].op == Op::kChars);
    const bool wild = nodes_[node.parts.front()].wild;
    for (std::uint32_t i = 0; i < std::max(node.min, once && !wild ? 1U : 0U) && i < 64; ++i) {
      sample_into(node.parts.front(), swap_wild && !wild, out);
      if (wild) out.back() = 'a';
    }
    return;
  }
  if (node.op == Op::kChars) {
    if (node.wild) {
      out += swap_wild ? 'x' : '.';
      return;
    }
    for (const char c : {'a', '0', '.', '/'}) {
      if (node.chars[index_of(c)]) {
        out += c;
        return;
      }
    }
    for (std::size_t c = 0x20; c < 0x7f; ++c) {
      if (node.chars[c]) {
        out += static_cast<char>(c);
        return;
      }
    }
    return;
  }
  for (const std::uint32_t part : node.parts) sample_into(part, swap_wild, out);
}

std::string Pattern::sample(bool swap_wild) const {
  std::string out;
  if (ok_) sample_into(root_, swap_wild, out);
  const std::optional<bool> matches = search(out);
  return matches.value_or(false) ? out : std::string{};
}

std::string Pattern::explosive() const {
  if (!ok_) return {};
  for (const Node& outer : nodes_) {
    if (outer.op != Op::kRepeat || outer.max != kNoBound) continue;
    // (x+)+ and (x*)*: the body of a repeat is nothing but a repeat of the same bytes.
    std::uint32_t body = outer.parts.front();
    while (nodes_[body].op == Op::kGroup ||
           (nodes_[body].op == Op::kSequence && nodes_[body].parts.size() == 1)) {
      body = nodes_[body].parts.front();
    }
    const Node& inner = nodes_[body];
    if (inner.op != Op::kRepeat || inner.max != kNoBound) continue;
    const Node& what = nodes_[inner.parts.front()];
    if (what.op != Op::kChars) continue;
    char fill = '\0';
    for (std::size_t c = 0x7e; c > 0x20; --c) {
      if (what.chars[c]) fill = static_cast<char>(c);
    }
    if (what.chars[index_of('a')]) fill = 'a';
    if (fill == '\0') continue;
    // Prove it: the search must run out of steps on a short text.
    const std::string lead = sample();
    const std::string before = lead.substr(0, std::min(lead.find(fill), lead.size()));
    for (const std::string& prefix : {before, std::string("/"), std::string()}) {
      for (const char* tail : {"!", "\x01"}) {
        const std::string text = prefix + std::string(30, fill) + tail;
        if (!search(text).has_value()) return text;
      }
    }
  }
  return {};
}

}  // namespace merlon::audit::nginx
