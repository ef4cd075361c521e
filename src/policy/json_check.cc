#include "policy/json_check.h"

#include "base/ascii.h"

#ifdef __SSE2__
#include <emmintrin.h>

#include <bit>
#endif

namespace merlon::policy {
namespace {

bool is_space(char c) noexcept { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/// The first byte of a string that ends it, escapes, is a control character or not ASCII.
const char* find_special(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  const __m128i space = _mm_set1_epi8(' ');
  while (end - at >= 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    // Signed: bytes above 0x7f are below a space, as control characters are.
    const __m128i special =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)),
                     _mm_cmplt_epi8(block, space));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(special));
    if (mask != 0) return at + std::countr_zero(mask);
    at += 16;
  }
#endif
  for (; at != end; ++at) {
    const auto byte = static_cast<unsigned char>(*at);
    if (byte == '"' || byte == '\\' || byte < 0x20 || byte >= 0x80) break;
  }
  return at;
}

}  // namespace

bool JsonChecker::push(bool object) noexcept {
  if (depth_ >= depth_max_) {
    too_deep_ = true;
    fail_with("the JSON text nests too deep");
    return false;
  }
  const std::uint64_t bit = 1ULL << (depth_ % 64);
  std::uint64_t& word = objects_[depth_ / 64];
  word = object ? word | bit : word & ~bit;
  ++depth_;
  return true;
}

const char* JsonChecker::begin_value(const char* at) noexcept {
  switch (*at) {
    case '{':
      if (push(true)) state_ = State::kNameOrEnd;
      break;
    case '[':
      if (push(false)) state_ = State::kValueOrEnd;
      break;
    case '"':
      is_name_ = false;
      state_ = State::kString;
      break;
    case 't':
      literal_ = "rue";
      state_ = State::kLiteral;
      break;
    case 'f':
      literal_ = "alse";
      state_ = State::kLiteral;
      break;
    case 'n':
      literal_ = "ull";
      state_ = State::kLiteral;
      break;
    case '-':
      state_ = State::kMinus;
      break;
    case '0':
      state_ = State::kZero;
      break;
    default:
      if (!ascii::is_digit(*at)) fail_with("a JSON value was expected");
      state_ = State::kDigits;
  }
  return at + 1;
}

const char* JsonChecker::close(const char* at, bool object) noexcept {
  if (depth_ == 0 || in_object() != object) {
    fail_with("a bracket of the JSON text has no opening one");
  } else {
    --depth_;
    state_ = State::kAfterValue;
  }
  return at + 1;
}

/// Everything between values.
const char* JsonChecker::structure(const char* at, const char* end) noexcept {
  while (at != end && is_space(*at)) ++at;
  if (at == end) return at;
  const char c = *at;
  switch (static_cast<int>(state_)) {
    case State::kValueOrEnd:
      return c == ']' ? close(at, false) : begin_value(at);
    case State::kNameOrEnd:
      if (c == '}') return close(at, true);
      [[fallthrough]];
    case State::kName:
      if (c != '"') fail_with("a name was expected in a JSON object");
      ++names_;
      is_name_ = true;
      state_ = State::kString;
      return at + 1;
    case State::kColon:
      if (c != ':') fail_with("a colon was expected in a JSON object");
      state_ = State::kValue;
      return at + 1;
    case State::kAfterValue:
      if (c == '}' || c == ']') return close(at, c == '}');
      if (c != ',' || depth_ == 0) fail_with("something follows a JSON value");
      state_ = in_object() ? State::kName : State::kValue;
      return at + 1;
    default:
      return begin_value(at);
  }
}

/// RFC 3629 §4: the ranges that keep out overlong forms, surrogates and what is above U+10FFFF.
void JsonChecker::begin_character(unsigned char lead) noexcept {
  low_ = 0x80;
  high_ = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    left_ = 1;
  } else if ((lead & 0xf0U) == 0xe0) {
    left_ = 2;
    if (lead == 0xe0) low_ = 0xa0;
    if (lead == 0xed) high_ = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    left_ = 3;
    if (lead == 0xf0) low_ = 0x90;
    if (lead == 0xf4) high_ = 0x8f;
  } else {
    fail_with(lead < 0x20 ? "a JSON string holds a control character"
                          : "a JSON string is not UTF-8");
  }
  state_ = State::kUtf8;
}

void JsonChecker::end_hex() noexcept {
  const bool low = unit_ >= 0xdc00 && unit_ <= 0xdfff;
  const bool high = unit_ >= 0xd800 && unit_ <= 0xdbff;
  if (low != want_low_) fail_with("a JSON string holds half of a surrogate pair");
  want_low_ = high;
  state_ = high ? State::kLowSurrogate : State::kString;
}

/// Inside of a string.
const char* JsonChecker::text(const char* at, const char* end) noexcept {
  const auto byte = static_cast<unsigned char>(*at);
  switch (static_cast<int>(state_)) {
    case State::kString:
      at = find_special(at, end);
      if (at == end) return at;
      if (*at == '"') {
        state_ = is_name_ ? State::kColon : State::kAfterValue;
      } else if (*at == '\\') {
        state_ = State::kEscape;
      } else {
        begin_character(static_cast<unsigned char>(*at));
      }
      return at + 1;
    case State::kUtf8:
      if (byte < low_ || byte > high_) fail_with("a JSON string is not UTF-8");
      low_ = 0x80;
      high_ = 0xbf;
      if (--left_ == 0) state_ = State::kString;
      return at + 1;
    case State::kEscape:
      state_ = State::kString;
      if (byte == 'u') {
        left_ = 4;
        unit_ = 0;
        state_ = State::kHex;
      } else if (std::string_view("\"\\/bfnrt").find(*at) == std::string_view::npos) {
        fail_with("a JSON string holds an unknown escape");
      }
      return at + 1;
    case State::kHex: {
      const int value = ascii::hex_value(*at);
      if (value < 0) fail_with("a JSON string holds a broken escape");
      unit_ = static_cast<std::uint16_t>((unsigned{unit_} << 4U) |
                                         (static_cast<unsigned>(value) & 0xfU));
      if (--left_ == 0) end_hex();
      return at + 1;
    }
    case State::kLowSurrogate:
    case State::kLowSurrogateU:
      if (*at != (state_ == State::kLowSurrogate ? '\\' : 'u'))
        fail_with("a JSON string holds half of a surrogate pair");
      left_ = 4;
      unit_ = 0;
      state_ = state_ == State::kLowSurrogate ? State::kLowSurrogateU : State::kHex;
      return at + 1;
    default:  // kLiteral
      if (*at != *literal_) fail_with("a JSON value was expected");
      if (*++literal_ == '\0') state_ = State::kAfterValue;
      return at + 1;
  }
}

/// Inside of a number; what ends it is looked at again.
const char* JsonChecker::number(const char* at, const char* end) noexcept {
  const char c = *at;
  const bool digit = ascii::is_digit(c);
  const bool exponent = c == 'e' || c == 'E';
  const auto need_digit = [&](State next) {
    if (!digit) fail_with("a JSON number lacks a digit");
    state_ = next;
    return at + 1;
  };
  switch (static_cast<int>(state_)) {
    case State::kMinus:
      return need_digit(c == '0' ? State::kZero : State::kDigits);
    case State::kPoint:
      return need_digit(State::kFraction);
    case State::kExponent:
      if (c != '+' && c != '-') return need_digit(State::kExponentDigits);
      state_ = State::kExponentSign;
      return at + 1;
    case State::kExponentSign:
      return need_digit(State::kExponentDigits);
    case State::kZero:
      if (digit) fail_with("a JSON number begins with a zero");
      break;
    default:
      while (at != end && ascii::is_digit(*at)) ++at;
      if (at == end) return at;
      if (state_ == State::kExponentDigits) {
        state_ = State::kAfterValue;
        return at;
      }
  }
  if (*at == '.' && state_ != State::kFraction) {
    state_ = State::kPoint;
    return at + 1;
  }
  if (exponent || *at == 'e' || *at == 'E') {
    state_ = State::kExponent;
    return at + 1;
  }
  state_ = State::kAfterValue;
  return at;
}

Result<void> JsonChecker::take(std::string_view part) noexcept {
  const char* at = part.data();
  const char* const end = at + part.size();
  while (at != end && wrong_ == nullptr) {
    if (state_ <= State::kAfterValue) {
      at = structure(at, end);
    } else if (state_ <= State::kLiteral) {
      at = text(at, end);
    } else {
      at = number(at, end);
    }
  }
  if (wrong_ == nullptr) return {};
  return fail(too_deep_ ? code::kJsonTooDeep : code::kJsonMalformed, Blame::kClient, wrong_);
}

Result<void> JsonChecker::finish() noexcept {
  const bool number_over = state_ == State::kZero || state_ == State::kDigits ||
                           state_ == State::kFraction || state_ == State::kExponentDigits;
  if (depth_ == 0 && (state_ == State::kAfterValue || number_over)) return {};
  return fail(code::kJsonMalformed, Blame::kClient, "the JSON text ends early");
}

}  // namespace merlon::policy
