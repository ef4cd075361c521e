#include "identity/json.h"

#include <charconv>

#include "base/ascii.h"
#include "base/escape.h"

namespace merlon::identity {

/// Recursive descent over one text; its depth is bounded by the limits.
class JsonReader {
 public:
  JsonReader(JsonDocument& document, std::string_view text, const JsonLimits& limits)
      : document_(document), text_(text), limits_(limits) {}

  Result<void> run() {
    document_.entries_.clear();
    document_.unescaped_.clear();
    if (text_.size() > limits_.bytes_max) return bad("it is too long");
    // A text with escapes becomes shorter by resolving them: views stay valid.
    document_.unescaped_.reserve(text_.size());
    skip_space();
    std::uint32_t root = 0;
    if (!value({}, 0, root)) return std::unexpected(error_);
    skip_space();
    if (at_ != text_.size()) return bad("something follows the value");
    return {};
  }

 private:
  using Entry = JsonDocument::Entry;

  std::unexpected<Error> bad(const char* why) {
    error_ = Error{.code = code::kBadJson,
                   .blame = Blame::kClient,
                   .offset_bytes = static_cast<std::uint32_t>(at_),
                   .what = why};
    return std::unexpected(error_);
  }
  bool no(const char* why) {
    static_cast<void>(bad(why));
    return false;
  }

  [[nodiscard]] bool more() const noexcept { return at_ < text_.size(); }
  void skip_space() noexcept {
    while (more() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  bool take(char c) noexcept {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool value(std::string_view name, std::uint32_t depth, std::uint32_t& index) {
    if (!more()) return no("it ends where a value should be");
    if (document_.entries_.size() == limits_.values_max) return no("it has too many values");
    index = static_cast<std::uint32_t>(document_.entries_.size());
    document_.entries_.push_back(Entry{.text = {}, .name = name});
    const char c = text_[at_];
    if (c == '{' || c == '[') {
      if (depth == limits_.depth_max) return no("it is nested too deeply");
      ++at_;
      return c == '{' ? object(index, depth + 1) : array(index, depth + 1);
    }
    if (c == '"') {
      document_.entries_[index].kind = JsonKind::kString;
      return string(document_.entries_[index].text);
    }
    if (c == '-' || ascii::is_digit(c)) return number(document_.entries_[index]);
    return word("true", JsonKind::kTrue, index) || word("false", JsonKind::kFalse, index) ||
           word("null", JsonKind::kNull, index) || no("a value is expected here");
  }

  bool word(std::string_view expected, JsonKind kind, std::uint32_t index) {
    if (!text_.substr(at_).starts_with(expected)) return false;
    at_ += expected.size();
    document_.entries_[index].kind = kind;
    return true;
  }

  bool object(std::uint32_t self, std::uint32_t depth) {
    document_.entries_[self].kind = JsonKind::kObject;
    skip_space();
    if (take('}')) return true;
    std::uint32_t last = 0;
    for (std::uint32_t members = 0;; ++members) {
      if (members == limits_.members_max) return no("an object has too many members");
      std::string_view name;
      if (!more() || text_[at_] != '"') return no("a name is expected here");
      if (!string(name)) return false;
      if (has_member(self, name)) return no("a name is given twice");
      skip_space();
      if (!take(':')) return no("a colon is expected here");
      if (!child(self, name, depth, last)) return false;
      if (take('}')) return true;
      if (!take(',')) return no("a comma or the end of the object is expected here");
      skip_space();
    }
  }

  bool array(std::uint32_t self, std::uint32_t depth) {
    document_.entries_[self].kind = JsonKind::kArray;
    skip_space();
    if (take(']')) return true;
    std::uint32_t last = 0;
    for (;;) {
      if (!child(self, {}, depth, last)) return false;
      if (take(']')) return true;
      if (!take(',')) return no("a comma or the end of the list is expected here");
    }
  }

  bool child(std::uint32_t self, std::string_view name, std::uint32_t depth, std::uint32_t& last) {
    skip_space();
    std::uint32_t index = 0;
    if (!value(name, depth, index)) return false;
    Entry& before = document_.entries_[last == 0 ? self : last - 1];
    (last == 0 ? before.first : before.next) = index + 1;
    last = index + 1;
    skip_space();
    return true;
  }

  [[nodiscard]] bool has_member(std::uint32_t self, std::string_view name) const noexcept {
    for (std::uint32_t i = document_.entries_[self].first; i != 0;
         i = document_.entries_[i - 1].next) {
      if (document_.entries_[i - 1].name == name) return true;
    }
    return false;
  }

  bool number(Entry& entry) {
    const std::size_t begin = at_;
    take('-');
    if (take('0')) {
      if (more() && ascii::is_digit(text_[at_])) return no("a number begins with 0");
    } else if (!digits()) {
      return false;
    }
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) return false;
    }
    entry.kind = JsonKind::kNumber;
    entry.text = text_.substr(begin, at_ - begin);
    return true;
  }
  bool digits() {
    const std::size_t begin = at_;
    while (more() && ascii::is_digit(text_[at_])) ++at_;
    return at_ != begin || no("a digit is expected here");
  }

  /// The reader stands at the quote. A string without escapes is a view into the text.
  bool string(std::string_view& out) {
    ++at_;
    const std::size_t begin = at_;
    const std::size_t unescaped_begin = document_.unescaped_.size();
    bool escaped = false;
    for (;;) {
      if (!more()) return no("a string does not end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') break;
      if (c < 0x20) return no("a string has a control character");
      if (c == '\\') {
        if (!escaped) document_.unescaped_.append(text_.substr(begin, at_ - begin));
        escaped = true;
        if (!escape()) return false;
        continue;
      }
      const std::size_t length = c < 0x80 ? 1 : utf8_length(text_.substr(at_));
      if (length == 0) return no("it is not UTF-8");
      if (escaped) document_.unescaped_.append(text_.substr(at_, length));
      at_ += length;
    }
    out = escaped ? std::string_view(document_.unescaped_).substr(unescaped_begin)
                  : text_.substr(begin, at_ - begin);
    ++at_;
    return true;
  }

  bool escape() {
    ++at_;
    if (!more()) return no("a string does not end");
    const char c = text_[at_++];
    constexpr std::string_view kShort = "\"\\/bfnrt";
    constexpr std::string_view kMeaning = "\"\\/\b\f\n\r\t";
    if (const auto i = kShort.find(c); i != std::string_view::npos) {
      document_.unescaped_ += kMeaning[i];
      return true;
    }
    if (c != 'u') return no("no such escape");
    std::uint32_t point = 0;
    if (!hex4(point)) return false;
    if (point >= 0xDC00 && point <= 0xDFFF) return no("half a surrogate pair");
    if (point >= 0xD800 && point <= 0xDBFF) {
      std::uint32_t low = 0;
      if (!take('\\') || !take('u') || !hex4(low) || low < 0xDC00 || low > 0xDFFF) {
        return no("half a surrogate pair");
      }
      point = 0x10000 + ((point - 0xD800) << 10U) + (low - 0xDC00);
    }
    // C strings behind us would end here.
    if (point == 0) return no("a string has U+0000");
    append_utf8(point);
    return true;
  }

  bool hex4(std::uint32_t& out) {
    out = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = more() ? ascii::hex_value(text_[at_]) : -1;
      if (digit < 0) return no("four hexadecimal digits are expected here");
      out = out << 4U | static_cast<std::uint32_t>(digit);
      ++at_;
    }
    return true;
  }

  void append_utf8(std::uint32_t point) {
    std::string& to = document_.unescaped_;
    const auto tail = [&](unsigned shift) {
      to += static_cast<char>(0x80U | (point >> shift & 0x3FU));
    };
    if (point < 0x80) {
      to += static_cast<char>(point);
    } else if (point < 0x800) {
      to += static_cast<char>(0xC0U | point >> 6U);
      tail(0);
    } else if (point < 0x10000) {
      to += static_cast<char>(0xE0U | point >> 12U);
      tail(6);
      tail(0);
    } else {
      to += static_cast<char>(0xF0U | point >> 18U);
      tail(12);
      tail(6);
      tail(0);
    }
  }

  JsonDocument& document_;
  const std::string_view text_;
  const JsonLimits& limits_;
  std::size_t at_ = 0;
  Error error_{};
};

Result<JsonValue> JsonDocument::read(std::string_view text, const JsonLimits& limits) {
  const Result<void> done = JsonReader(*this, text, limits).run();
  if (!done) return std::unexpected(done.error());
  return JsonValue(this, 0);
}

JsonKind JsonValue::kind() const noexcept {
  return exists() ? document_->entries_[index_].kind : JsonKind::kNull;
}

bool JsonValue::is(JsonKind kind) const noexcept { return exists() && this->kind() == kind; }

std::string_view JsonValue::text() const noexcept {
  return exists() ? document_->entries_[index_].text : std::string_view();
}

std::string_view JsonValue::name() const noexcept {
  return exists() ? document_->entries_[index_].name : std::string_view();
}

std::optional<std::int64_t> JsonValue::integer() const noexcept {
  if (!is(JsonKind::kNumber)) return std::nullopt;
  const std::string_view digits = text();
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return out;
}

JsonValue JsonValue::first() const noexcept {
  if (!exists() || document_->entries_[index_].first == 0) return {};
  return {document_, document_->entries_[index_].first - 1};
}

JsonValue JsonValue::next() const noexcept {
  if (!exists() || document_->entries_[index_].next == 0) return {};
  return {document_, document_->entries_[index_].next - 1};
}

JsonValue JsonValue::find(std::string_view name) const noexcept {
  if (!is(JsonKind::kObject)) return {};
  for (JsonValue member = first(); member; member = member.next()) {
    if (member.name() == name) return member;
  }
  return {};
}

namespace {

/// True when `escaped`, a part of a pointer, stands for `name`: ~1 is a slash, ~0 a tilde.
bool part_is(std::string_view escaped, std::string_view name) noexcept {
  std::size_t at = 0;
  for (std::size_t i = 0; i < escaped.size(); ++i, ++at) {
    char c = escaped[i];
    if (c == '~' && i + 1 < escaped.size()) c = escaped[++i] == '1' ? '/' : '~';
    if (at >= name.size() || name[at] != c) return false;
  }
  return at == name.size();
}

}  // namespace

JsonValue JsonValue::at(std::string_view pointer) const noexcept {
  JsonValue here = *this;
  while (here && !pointer.empty()) {
    pointer.remove_prefix(1);
    const std::string_view part = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(part.size());
    if (!here.is(JsonKind::kObject)) return {};
    JsonValue member = here.first();
    while (member && !part_is(part, member.name())) member = member.next();
    here = member;
  }
  return here;
}

}  // namespace merlon::identity
