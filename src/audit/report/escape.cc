#include "audit/report/escape.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

#include "base/ascii.h"
#include "base/escape.h"

namespace merlon::audit::report {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  ///< 0: not UTF-8 (RFC 3629)
};

/// The character at the start of `text`, which is not empty.
Character decode(std::string_view text) noexcept {
  const std::size_t bytes = utf8_length(text);
  if (bytes == 0) return {};
  const std::uint32_t lead = static_cast<unsigned char>(text[0]);
  std::uint32_t code = bytes == 1 ? lead : lead & (0xFFU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  return {code, bytes};
}

/// Characters that change how the text around them looks, or are not seen: a reader would be
/// shown something else than what the configuration says.
bool deceives(std::uint32_t code) noexcept {
  return (code >= 0x7f && code <= 0x9f) || code == 0xad || code == 0x061c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff || code == 0xfffe || code == 0xffff ||
         (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

/// Appends the visible escape; returns its columns.
std::size_t append_escape(std::string& out, std::string_view text, const Character& character) {
  const std::size_t before = out.size();
  if (character.bytes == 0) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(text[0]));
  } else if (character.code < 0x80) {
    fmt::format_to(std::back_inserter(out), "\\x{:02x}", character.code);
  } else {
    fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", character.code);
  }
  return out.size() - before;
}

}  // namespace

std::size_t append_printable(std::string& out, std::string_view text, std::size_t& columns) {
  if (text.empty()) return 0;
  const Character character = decode(text);
  columns = 1;
  if (text[0] == '\t') {
    out += ' ';
  } else if (character.bytes == 0 || character.code < 0x20 || deceives(character.code)) {
    columns = append_escape(out, text, character);
  } else {
    out += text.substr(0, character.bytes);
  }
  return character.bytes == 0 ? 1 : character.bytes;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t columns = 0;
  while (!text.empty()) text.remove_prefix(append_printable(out, text, columns));
  return out;
}

std::string xml(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  std::size_t columns = 0;
  while (!text.empty()) {
    std::size_t taken = 1;
    switch (text[0]) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
      case '\t':
        out += text[0];
        break;
      default:
        taken = append_printable(out, text, columns);
    }
    text.remove_prefix(taken);
  }
  return out;
}

std::string uri_of_path(std::string_view path) {
  while (path.starts_with("./")) path.remove_prefix(2);
  std::string out = path.starts_with('/') ? "file://" : "";
  for (const char c : path) {
    const bool kept = ascii::is_alpha(c) || ascii::is_digit(c) || c == '-' || c == '.' ||
                      c == '_' || c == '~' || c == '/';
    if (kept) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace merlon::audit::report
