#include "telemetry/json_text.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/escape.h"

namespace merlon::telemetry {
namespace {

constexpr std::string_view kCutMark = "...";
constexpr std::string_view kTruncated = "\"truncated\":true";

constexpr std::uint64_t repeat(unsigned char byte) noexcept { return byte * 0x0101010101010101ULL; }

/// True when all 8 bytes are printable ASCII without '"' and '\\'. The usual tests for a byte below
/// n, or equal to n, on all bytes of a word at once.
bool all_plain(std::uint64_t word) noexcept {
  constexpr std::uint64_t kHigh = repeat(0x80);
  const auto has_zero = [](std::uint64_t w) { return (w - repeat(1)) & ~w; };
  const std::uint64_t below_space = (word - repeat(0x20)) & ~word;
  const std::uint64_t bad = below_space | has_zero(word ^ repeat('"')) |
                            has_zero(word ^ repeat('\\')) | has_zero(word ^ repeat(0x7f)) | word;
  return (bad & kHigh) == 0;
}

bool is_plain(char c) noexcept { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

/// The escaped form of the character at the start of `text`: at most 6 bytes.
struct Escaped {
  std::array<char, 6> bytes;
  std::size_t size;
  std::size_t consumed;
};

Escaped escape_one(std::string_view text) noexcept {
  constexpr char kDigits[] = "0123456789abcdef";
  const char c = text.front();
  const std::size_t length = utf8_length(text);
  if (length == 0) return {{'\\', 'u', 'f', 'f', 'f', 'd'}, 6, 1};
  if (length > 1) {
    Escaped whole{{}, length, length};
    std::memcpy(whole.bytes.data(), text.data(), length);
    return whole;
  }
  if (is_plain(c)) return {{c}, 1, 1};
  if (c == '"' || c == '\\') return {{'\\', c}, 2, 1};
  if (c == '\n') return {{'\\', 'n'}, 2, 1};
  if (c == '\r') return {{'\\', 'r'}, 2, 1};
  if (c == '\t') return {{'\\', 't'}, 2, 1};
  const auto value = static_cast<unsigned char>(c);
  return {{'\\', 'u', '0', '0', kDigits[value >> 4U], kDigits[value & 15U]}, 6, 1};
}

/// Copies the plain ASCII at the start of `text` and returns how much it was.
std::size_t copy_plain(char* out, std::string_view text) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (!all_plain(word)) break;
    std::memcpy(out + i, &word, 8);
  }
  for (; i < text.size() && is_plain(text[i]); ++i) out[i] = text[i];
  return i;
}

/// The part of write_escaped for text that needs care. `begin` is where the whole text began in the
/// output, `end` where it must end; what is written already is plain.
char* escape_rest(char* out, std::string_view text, char* const end) noexcept {
  // The last place at which the mark of a cut still fits.
  char* cut = out;
  while (!text.empty()) {
    const Escaped next = escape_one(text);
    const auto room = static_cast<std::size_t>(end - out);
    if (room >= kCutMark.size()) cut = out;
    if (next.size > room) {
      std::memcpy(cut, kCutMark.data(), kCutMark.size());
      return cut + kCutMark.size();
    }
    std::memcpy(out, next.bytes.data(), next.size);
    out += next.size;
    text.remove_prefix(next.consumed);
  }
  return out;
}

/// Writes two digits of a number below 100.
void write_two(char* out, unsigned value) noexcept {
  out[0] = static_cast<char>('0' + value / 10);
  out[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

char* write_escaped(char* out, std::string_view text, std::size_t bytes_max) noexcept {
  if (bytes_max < kCutMark.size()) return out;
  // Of text that may have to be cut, only as much is copied blindly as leaves room for the mark.
  const std::size_t sure = text.size() <= bytes_max ? text.size() : bytes_max - kCutMark.size();
  std::size_t done = copy_plain(out, text.substr(0, sure));
  if (done == text.size()) return out + done;
  // Step back so that a cut right behind the plain part finds room for its mark.
  done -= done < kCutMark.size() ? done : kCutMark.size();
  return escape_rest(out + done, text.substr(done), out + bytes_max);
}

char* write_decimal(char* out, std::uint64_t value) noexcept {
  return std::to_chars(out, out + 20, value).ptr;
}

JsonLine::JsonLine(char* buffer, std::size_t bytes) noexcept
    : begin_(buffer), out_(buffer), end_(buffer + bytes - kTailBytes) {
  *out_++ = '{';
}

bool JsonLine::begin(std::string_view key, std::size_t value_bytes) noexcept {
  // Each open object keeps one byte for its end.
  const std::size_t needed = key.size() + value_bytes + 4 + depth_;
  if (skipped_depth_ != 0 || needed > static_cast<std::size_t>(end_ - out_)) {
    truncated_ = true;
    return false;
  }
  if (!first_) *out_++ = ',';
  first_ = false;
  *out_++ = '"';
  std::memcpy(out_, key.data(), key.size());
  out_ += key.size();
  *out_++ = '"';
  *out_++ = ':';
  return true;
}

void JsonLine::text(std::string_view key, std::string_view value,
                    std::size_t escaped_bytes_max) noexcept {
  // A short value needs no more room than its worst escape.
  const std::size_t needed =
      value.size() < escaped_bytes_max / 6 ? value.size() * 6 : escaped_bytes_max;
  if (!begin(key, needed + 2)) return;
  *out_++ = '"';
  out_ = write_escaped(out_, value, escaped_bytes_max);
  *out_++ = '"';
}

void JsonLine::number(std::string_view key, std::uint64_t value) noexcept {
  if (begin(key, 20)) out_ = write_decimal(out_, value);
}

void JsonLine::signed_number(std::string_view key, std::int64_t value) noexcept {
  if (begin(key, 20)) out_ = std::to_chars(out_, out_ + 20, value).ptr;
}

void JsonLine::boolean(std::string_view key, bool value) noexcept {
  const std::string_view word = value ? "true" : "false";
  if (!begin(key, word.size())) return;
  std::memcpy(out_, word.data(), word.size());
  out_ += word.size();
}

void JsonLine::time(std::string_view key, WallTime value, Timestamp& cache) noexcept {
  if (!begin(key, Timestamp::kBytes + 2)) return;
  *out_++ = '"';
  cache.write(out_, value);
  out_ += Timestamp::kBytes;
  *out_++ = '"';
}

void JsonLine::open(std::string_view key) noexcept {
  if (!begin(key, 2)) {
    ++skipped_depth_;
    return;
  }
  *out_++ = '{';
  ++depth_;
  first_ = true;
}

void JsonLine::close() noexcept {
  if (skipped_depth_ != 0) {
    --skipped_depth_;
    return;
  }
  *out_++ = '}';
  --depth_;
  first_ = false;
}

std::string_view JsonLine::finish() noexcept {
  while (depth_ != 0) close();
  if (truncated_) {
    if (!first_) *out_++ = ',';
    std::memcpy(out_, kTruncated.data(), kTruncated.size());
    out_ += kTruncated.size();
  }
  *out_++ = '}';
  *out_++ = '\n';
  static_assert(kTruncated.size() + 3 <= kTailBytes);
  return {begin_, static_cast<std::size_t>(out_ - begin_)};
}

void JsonLine::Timestamp::write(char* out, WallTime time) noexcept {
  using namespace std::chrono;
  const auto since = time.time_since_epoch();
  const auto whole = floor<seconds>(since);
  if (whole.count() != second_) {
    second_ = whole.count();
    const auto day = floor<days>(whole);
    const year_month_day date{sys_days{day}};
    const hh_mm_ss clock{whole - day};
    // Years beyond four digits cannot come from a clock; they must only not overflow the buffer.
    const auto year = static_cast<unsigned>(static_cast<int>(date.year())) % 10'000U;
    std::memcpy(text_, "0000-00-00T00:00:00.", sizeof text_);
    write_two(text_, year / 100);
    write_two(text_ + 2, year % 100);
    write_two(text_ + 5, static_cast<unsigned>(date.month()));
    write_two(text_ + 8, static_cast<unsigned>(date.day()));
    write_two(text_ + 11, static_cast<unsigned>(clock.hours().count()));
    write_two(text_ + 14, static_cast<unsigned>(clock.minutes().count()));
    write_two(text_ + 17, static_cast<unsigned>(clock.seconds().count()));
  }
  std::memcpy(out, text_, sizeof text_);
  const auto micros = static_cast<unsigned>(floor<microseconds>(since - whole).count());
  write_two(out + 20, micros / 10'000);
  write_two(out + 22, micros / 100 % 100);
  write_two(out + 24, micros % 100);
  out[26] = 'Z';
}

}  // namespace merlon::telemetry
