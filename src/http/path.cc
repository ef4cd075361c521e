#include "http/path.h"

#include <array>

#include "base/ascii.h"

namespace merlon::http {
namespace {

constexpr ascii::CharSet kUnreserved =
    ascii::CharSet("-._~").add_range('0', '9').add_range('a', 'z').add_range('A', 'Z');

/// What a byte of a path asks for.
enum Class : std::uint8_t { kPlain = 0, kBad = 1, kPercent = 2, kSemicolon = 4 };

constexpr auto kClasses = [] {
  std::array<std::uint8_t, 256> classes{};
  classes.fill(kBad);
  const auto set = [&](std::string_view members, Class value) {
    for (const char c : members) classes[static_cast<unsigned char>(c)] = value;
  };
  // pchar and '/', RFC 3986 §3.3.
  for (int c = 0; c < 128; ++c) {
    if (kUnreserved.contains(static_cast<char>(c))) classes[static_cast<std::size_t>(c)] = kPlain;
  }
  set("/!$&'()*+,=:@", kPlain);
  set("%", kPercent);
  set(";", kSemicolon);
  return classes;
}();

std::unexpected<Error> bad(const char* what, std::size_t offset,
                           std::uint16_t code = code::kBadPath) noexcept {
  return fail(code, Blame::kClient, what, static_cast<std::uint32_t>(offset));
}

/// The byte that the triplet at `at` stands for, or -1 when it is broken.
int triplet_value(std::string_view text, std::size_t at) noexcept {
  if (text.size() - at < 3) return -1;
  const int high = ascii::hex_value(text[at + 1]);
  const int low = ascii::hex_value(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/// How many bytes at `at` separate segments, for whoever decodes before splitting: "/", "%2F",
/// "%5C".
std::size_t separator_size(std::string_view canonical, std::size_t at) noexcept {
  if (canonical[at] == '/') return 1;
  if (canonical[at] != '%') return 0;
  const std::string_view triplet = canonical.substr(at, 3);
  return triplet == "%2F" || triplet == "%5C" ? 3 : 0;
}

/// A segment as a server sees it that cuts parameters off: "..;x" is "..".
bool is_dot_segment(std::string_view segment) noexcept {
  std::size_t end = segment.find(';');
  if (const std::size_t encoded = segment.find("%3B"); encoded < end) end = encoded;
  segment = segment.substr(0, end);
  return segment == "." || segment == "..";
}

bool has_dot_segment(std::string_view canonical) noexcept {
  std::size_t start = 0;
  for (std::size_t i = 0; i < canonical.size();) {
    const std::size_t separator = separator_size(canonical, i);
    if (separator == 0) {
      ++i;
      continue;
    }
    if (is_dot_segment(canonical.substr(start, i - start))) return true;
    i += separator;
    start = i;
  }
  return is_dot_segment(canonical.substr(start));
}

/// An encoding of an ASCII character in too many bytes, which lax decoders take for it
/// (RFC 3629 §3): %C0%AE is '.' to them. `lead` is the byte before the triplet at `next`.
bool is_overlong(int lead, std::string_view raw, std::size_t next) noexcept {
  if (lead != 0xc0 && lead != 0xc1 && lead != 0xe0 && lead != 0xf0) return false;
  if (next >= raw.size() || raw[next] != '%') return false;
  const int follow = triplet_value(raw, next);
  if (follow < 0x80 || follow > 0xbf) return false;
  if (lead == 0xe0) return follow < 0xa0;
  if (lead == 0xf0) return follow < 0x90;
  return true;
}

/// Writes the canonical form of one triplet and notes what is odd in it. Returns the new end.
char* put_triplet(int value, std::string_view raw, std::size_t at, char* out,
                  PathOddities& oddities) noexcept {
  const char byte = static_cast<char>(value);
  if (kUnreserved.contains(byte)) {
    *out++ = byte;
    return out;
  }
  if (byte == '/') oddities.add(PathOddity::kEncodedSlash);
  if (byte == '\\') oddities.add(PathOddity::kEncodedBackslash);
  if (byte == ';') oddities.add(PathOddity::kSemicolon);
  const auto upper = [](char c) { return c >= 'a' ? static_cast<char>(c - ('a' - 'A')) : c; };
  *out++ = '%';
  *out++ = upper(raw[at + 1]);
  *out++ = upper(raw[at + 2]);
  return out;
}

Result<std::string_view> rewrite_triplets(std::string_view raw, std::span<char> scratch,
                                          PathOddities& oddities) noexcept {
  if (scratch.size() < raw.size()) return bad("no room for the path", 0);
  char* out = scratch.data();
  for (std::size_t i = 0; i < raw.size();) {
    if (raw[i] != '%') {
      *out++ = raw[i++];
      continue;
    }
    const int value = triplet_value(raw, i);
    if (value < 0) return bad("percent sign without two hexadecimal digits", i);
    if (value == 0) return bad("encoded NUL", i);
    if (is_overlong(value, raw, i + 3)) return bad("overlong UTF-8", i);
    out = put_triplet(value, raw, i, out, oddities);
    i += 3;
  }
  return std::string_view(scratch.data(), static_cast<std::size_t>(out - scratch.data()));
}

}  // namespace

std::string_view oddity_slug(PathOddity oddity) noexcept {
  switch (oddity) {
    case PathOddity::kEncodedSlash:
      return "path-encoded-slash";
    case PathOddity::kEncodedBackslash:
      return "path-encoded-backslash";
    case PathOddity::kSemicolon:
      return "path-semicolon";
    case PathOddity::kEmptySegment:
      return "path-empty-segment";
  }
  return {};
}

Result<void> check_oddities(PathOddities found, PathOddities waived) noexcept {
  const PathOddities left = found.without(waived);
  if (left.empty()) return {};
  if (left.contains(PathOddity::kEncodedSlash)) {
    return bad("path has an encoded slash", 0, code::kPathEncodedSlash);
  }
  if (left.contains(PathOddity::kEncodedBackslash)) {
    return bad("path has an encoded backslash", 0, code::kPathEncodedBackslash);
  }
  if (left.contains(PathOddity::kSemicolon)) {
    return bad("path has a semicolon", 0, code::kPathSemicolon);
  }
  return bad("path has an empty segment", 0, code::kPathEmptySegment);
}

Result<CanonicalPath> canonical_path(std::string_view raw, std::span<char> scratch) noexcept {
  if (raw.empty() || raw.front() != '/') return bad("path does not begin with a slash", 0);
  CanonicalPath path{.text = raw, .oddities = {}};
  unsigned seen = 0;
  bool dot_after_separator = false;
  char previous = 0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const char c = raw[i];
    const unsigned kind = kClasses[static_cast<unsigned char>(c)];
    if (kind == kBad) return bad("character that a path cannot have", i);
    seen |= kind;
    if (previous == '/' && c == '/') path.oddities.add(PathOddity::kEmptySegment);
    if (previous == '/' && c == '.') dot_after_separator = true;
    previous = c;
  }
  if ((seen & kSemicolon) != 0) path.oddities.add(PathOddity::kSemicolon);
  if ((seen & kPercent) != 0) {
    const Result<std::string_view> text = rewrite_triplets(raw, scratch, path.oddities);
    if (!text) return std::unexpected(text.error());
    path.text = *text;
  }
  if ((dot_after_separator || (seen & kPercent) != 0) && has_dot_segment(path.text)) {
    return bad("path has a dot segment", 0, code::kPathDotSegment);
  }
  return path;
}

Result<void> check_query(std::string_view query) noexcept {
  // RFC 3986 §3.4, and what the URL Standard leaves unencoded in queries.
  constexpr ascii::CharSet kQueryChars = ascii::CharSet("-._~!$&'()*+,;=:@/?[]{}|^`")
                                             .add_range('0', '9')
                                             .add_range('a', 'z')
                                             .add_range('A', 'Z');
  for (std::size_t i = 0; i < query.size(); ++i) {
    if (kQueryChars.contains(query[i])) continue;
    if (query[i] != '%') {
      return bad("character that a query cannot have", i, code::kBadTarget);
    }
    if (triplet_value(query, i) < 0) {
      return bad("percent sign without two hexadecimal digits", i, code::kBadTarget);
    }
    i += 2;
  }
  return {};
}

}  // namespace merlon::http
