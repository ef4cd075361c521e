#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace merlon::policy {

/// Checks that a text is one JSON value (RFC 8259) and how deep it nests, in parts as they come, so
/// that what is wrong ends early. Strict: UTF-8 without byte order mark, surrogates only in pairs,
/// no comments, no NaN. Keeps no text and allocates nothing. Names that an object has twice are not
/// seen here.
class JsonChecker {
 public:
  static constexpr unsigned kDepthMax = 512;

  /// `depth_max` counts arrays and objects: 1 for `[]`, 0 lets only scalars through.
  explicit JsonChecker(unsigned depth_max = kDepthMax) noexcept
      : depth_max_(depth_max < kDepthMax ? depth_max : kDepthMax) {}

  /// Errors: kJsonMalformed and kJsonTooDeep, client blame. After one, nothing more may be given.
  [[nodiscard]] Result<void> take(std::string_view part) noexcept;
  /// The text is over: an error when the value is not.
  [[nodiscard]] Result<void> finish() noexcept;
  /// How many names (of members of objects) there were so far.
  [[nodiscard]] std::size_t names() const noexcept { return names_; }

 private:
  /// Unscoped, so that a switch may take some of them.
  enum State : std::uint8_t {
    kValue,          ///< a value must follow
    kValueOrEnd,     ///< behind `[`
    kNameOrEnd,      ///< behind `{`
    kName,           ///< behind a comma in an object
    kColon,          ///< behind a name
    kAfterValue,     ///< a comma or an end; at the top nothing
    kString,         ///< inside of one, a name or a value
    kUtf8,           ///< inside of a character of several bytes
    kEscape,         ///< behind a backslash
    kHex,            ///< inside of \uXXXX
    kLowSurrogate,   ///< a backslash must follow
    kLowSurrogateU,  ///< and then a `u`
    kLiteral,        ///< inside of true, false, null
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
  };

  const char* structure(const char* at, const char* end) noexcept;
  const char* text(const char* at, const char* end) noexcept;
  const char* number(const char* at, const char* end) noexcept;
  const char* begin_value(const char* at) noexcept;
  const char* close(const char* at, bool object) noexcept;
  void begin_character(unsigned char lead) noexcept;
  void end_hex() noexcept;
  [[nodiscard]] bool push(bool object) noexcept;
  void fail_with(const char* what) noexcept { wrong_ = what; }

  [[nodiscard]] bool in_object() const noexcept {
    return depth_ > 0 && ((objects_[(depth_ - 1) / 64] >> ((depth_ - 1) % 64)) & 1U) != 0;
  }

  State state_ = State::kValue;
  bool is_name_ = false;  ///< the string in progress is a name
  bool too_deep_ = false;
  std::uint8_t left_ = 0;  ///< bytes of a character, digits of an escape, that follow
  std::uint8_t low_ = 0;   ///< range of the next byte of a character
  std::uint8_t high_ = 0;
  bool want_low_ = false;  ///< the escape in progress must be a low surrogate
  std::uint16_t unit_ = 0;
  unsigned depth_ = 0;
  const unsigned depth_max_;
  std::size_t names_ = 0;
  const char* literal_ = nullptr;  ///< what of a literal must follow
  const char* wrong_ = nullptr;
  std::array<std::uint64_t, kDepthMax / 64> objects_{};  ///< a bit for each level: object or array
};

}  // namespace merlon::policy
