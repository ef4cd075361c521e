#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"

namespace merlon::http {

/// What servers read differently in a path, and a route may waive by name. Bits of PathOddities.
enum class PathOddity : std::uint8_t {
  kEncodedSlash = 1,      ///< %2F: data or separator?
  kEncodedBackslash = 2,  ///< %5C: a separator to some
  kSemicolon = 4,         ///< ; or %3B: parameters, cut off by some
  kEmptySegment = 8,      ///< //: merged by some
};

/// A set of oddities.
class PathOddities {
 public:
  constexpr PathOddities() = default;
  constexpr explicit PathOddities(std::uint8_t bits) noexcept : bits_(bits) {}
  constexpr PathOddities& add(PathOddity oddity) noexcept {
    bits_ |= static_cast<std::uint8_t>(oddity);
    return *this;
  }
  [[nodiscard]] constexpr bool contains(PathOddity oddity) const noexcept {
    return (bits_ & static_cast<std::uint8_t>(oddity)) != 0;
  }
  [[nodiscard]] constexpr PathOddities without(PathOddities other) const noexcept {
    return PathOddities(static_cast<std::uint8_t>(bits_ & ~other.bits_));
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr std::uint8_t bits() const noexcept { return bits_; }
  bool operator==(const PathOddities&) const = default;

 private:
  std::uint8_t bits_ = 0;
};

inline constexpr std::array kPathOddities = {PathOddity::kEncodedSlash,
                                             PathOddity::kEncodedBackslash, PathOddity::kSemicolon,
                                             PathOddity::kEmptySegment};
/// The name under which a waiver lets an oddity pass: "path-encoded-slash".
[[nodiscard]] std::string_view oddity_slug(PathOddity oddity) noexcept;
/// Success when every oddity is waived; else kPathEncodedSlash and its like, client blame: 400.
[[nodiscard]] Result<void> check_oddities(PathOddities found, PathOddities waived) noexcept;

/// The one reading of a path: what is matched, judged, logged and forwarded, byte for byte.
struct CanonicalPath {
  /// Starts with '/'. Unreserved characters are never percent-encoded, the digits of every triplet
  /// are upper case, no segment is "." or "..". Points into the input when that was canonical
  /// already, else into `scratch`.
  std::string_view text;
  PathOddities oddities;
};

/// Reads a path (RFC 3986 §3.3, §6.2.2). `scratch` needs room for `raw.size()` bytes; it must
/// outlive the result and not overlap `raw`. One pass, no allocation. Errors, client blame:
/// kPathDotSegment for a segment that is "." or ".." once decoded, also before a ';' and between
/// waived encoded slashes; kBadPath for anything that is not pchar (raw control, space, backslash,
/// non-ASCII bytes), NUL in any form, a broken triplet, an overlong UTF-8 triplet pair (%C0%AE), a
/// path that does not start with '/', or a `scratch` that is too small. Other encoded control
/// characters stay encoded and pass.
[[nodiscard]] Result<CanonicalPath> canonical_path(std::string_view raw,
                                                   std::span<char> scratch) noexcept;

/// Checks a query, which passes unchanged: characters of RFC 3986 §3.4, whole triplets, and of the
/// rest only []{}|^` which browsers send unencoded. Else kBadTarget, client blame.
[[nodiscard]] Result<void> check_query(std::string_view query) noexcept;

}  // namespace merlon::http
