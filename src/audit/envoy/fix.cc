#include "audit/envoy/fix.h"

#include <fmt/format.h>

namespace merlon::audit::envoy {
namespace {

/// An edit holds the whole line: of a file that is one line, each would hold the file.
constexpr std::size_t kLineBytesMax = 2048;

/// The bytes of a line, without its end; "" when the text has no such line.
std::string_view line_of(std::string_view text, std::uint32_t number) {
  for (std::uint32_t at = 1; at < number; ++at) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

/// The blanks in front of a key that starts its line; npos when something else stands before it.
std::size_t indent_of(const Node& key) {
  const Mark at = key.at();
  if (at.source == nullptr || at.column == 0) return std::string_view::npos;
  const std::string_view before = line_of(at.source->text, at.line).substr(0, at.column - 1);
  return before.find_first_not_of(' ') == std::string_view::npos ? before.size()
                                                                 : std::string_view::npos;
}

const config::Member* member_of(const Message& at, std::string_view field) {
  if (!at) return nullptr;
  for (const config::Member& member : at.node()->members()) {
    if (is_field(member.key.text(), field)) return &member;
  }
  return nullptr;
}

}  // namespace

std::vector<Edit> set_field(const Message& at, std::string_view field, std::string_view value) {
  const config::Member* member = member_of(at, field);
  if (member == nullptr || !member->value.is_scalar()) return {};
  const Mark key = member->key.at();
  const Mark old = member->value.at();
  if (old.source == nullptr || key.line != old.line || old.source->path.ends_with(".json"))
    return {};
  const std::string_view line = line_of(old.source->text, old.line);
  const std::string_view written = member->value.text();
  if (member->value.quoted() || old.column == 0 || line.size() > kLineBytesMax ||
      line.substr(old.column - 1, written.size()) != written) {
    return {};
  }
  std::string text(line.substr(0, old.column - 1));
  text += value;
  text += line.substr(old.column - 1 + written.size());
  return {{old.source, old.line, old.line, text + "\n"}};
}

std::vector<Edit> add_field(const Message& at, std::string_view field, std::string_view value) {
  if (!at || member_of(at, field) != nullptr) return {};
  for (const config::Member& member : at.node()->members()) {
    const std::size_t indent = indent_of(member.key);
    const Mark key = member.key.at();
    if (indent == std::string_view::npos || indent == 0) continue;
    if (key.source->path.ends_with(".json") || member.key.quoted()) continue;
    return {{key.source, key.line, key.line - 1,
             fmt::format("{}{}: {}\n", std::string(indent, ' '), field, value)}};
  }
  return {};
}

std::vector<Edit> write_field(const Message& at, std::string_view field, std::string_view value) {
  return at.has(field) ? set_field(at, field, value) : add_field(at, field, value);
}

}  // namespace merlon::audit::envoy
