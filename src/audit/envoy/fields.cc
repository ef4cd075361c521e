#include "audit/envoy/fields.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

#include "audit/envoy/message.h"
#include "base/ascii.h"
#include "base/diagnostics.h"

/// The lines of fields.tsv, sorted by name; made by the build.
extern const std::span<const std::string_view> merlon_envoy_fields;

namespace merlon::audit::envoy {
namespace {

std::string_view name_of(std::string_view line) { return line.substr(0, line.find('\t')); }

template <class F>
void for_each_word(std::string_view text, F&& take) {
  while (!text.empty()) {
    const std::size_t blank = std::min(text.find(' '), text.size());
    if (blank > 0) take(text.substr(0, blank));
    text.remove_prefix(std::min(blank + 1, text.size()));
  }
}

FieldInfo::Holds holds_of(std::string_view kind) {
  using enum FieldInfo::Holds;
  using Kind = std::pair<std::string_view, FieldInfo::Holds>;
  constexpr Kind kKinds[] = {{"", kText},         {"bool", kFlag},   {"int", kInteger},
                             {"uint", kUnsigned}, {"float", kFloat}, {"duration", kDuration},
                             {"any", kAny},       {"*", kFree}};
  const auto* found = std::ranges::find(kKinds, kind, &Kind::first);
  return found == std::end(kKinds) ? kMessage : found->second;
}

FieldInfo field_of(std::string_view word) {
  FieldInfo out;
  const std::size_t equals = word.find('=');
  out.name = word.substr(0, equals);
  if (equals == std::string_view::npos) return out;
  std::string_view holds = word.substr(equals + 1);
  constexpr std::string_view kMap = "map:";
  if (holds.starts_with(kMap)) {
    out.is_map = true;
    holds.remove_prefix(kMap.size());
  }
  out.holds = holds_of(holds);
  if (out.holds == FieldInfo::Holds::kMessage) {
    (void)std::from_chars(holds.data(), holds.data() + holds.size(), out.message);
  }
  return out;
}

/// The next value of an enum: "NAME", or "NAME=5" where numbers are left out.
EnumValue value_of(std::string_view word, const std::vector<EnumValue>& before) {
  const std::size_t equals = word.find('=');
  EnumValue out{word.substr(0, equals), before.empty() ? 0 : before.back().number + 1};
  if (equals != std::string_view::npos) {
    (void)std::from_chars(word.data() + equals + 1, word.data() + word.size(), out.number);
  }
  return out;
}

MessageInfo message_of(std::string_view line) {
  MessageInfo out;
  out.name = name_of(line);
  std::string_view rest = line.substr(std::min(out.name.size() + 1, line.size()));
  constexpr std::string_view kEnum = "enum ";
  if (rest.starts_with(kEnum)) {
    out.is_enum = true;
    for_each_word(rest.substr(kEnum.size()),
                  [&](std::string_view w) { out.values.push_back(value_of(w, out.values)); });
    return out;
  }
  for_each_word(rest, [&](std::string_view word) { out.fields.push_back(field_of(word)); });
  return out;
}

std::optional<std::uint32_t> line_of(std::string_view type) {
  const auto lines = merlon_envoy_fields;
  const auto found = std::ranges::lower_bound(lines, type, {}, name_of);
  if (found == lines.end() || name_of(*found) != type) return std::nullopt;
  return static_cast<std::uint32_t>(found - lines.begin());
}

}  // namespace

std::string_view name_of_value(std::string_view type, std::int64_t number) {
  const auto line = line_of(type);
  if (!line) return {};
  const MessageInfo info = message_of(merlon_envoy_fields[*line]);
  const auto found = std::ranges::find(info.values, number, &EnumValue::number);
  return found == info.values.end() ? std::string_view{} : found->name;
}

const FieldInfo* MessageInfo::field(std::string_view key) const noexcept {
  const auto found =
      std::ranges::find_if(fields, [&](const FieldInfo& f) { return is_field(key, f.name); });
  return found == fields.end() ? nullptr : &*found;
}

std::optional<std::uint32_t> FieldTable::number_of(std::string_view type) const noexcept {
  return line_of(type);
}

const MessageInfo& FieldTable::at(std::uint32_t number) {
  const auto [place, added] = parsed_.try_emplace(number);
  if (added && number < merlon_envoy_fields.size()) {
    place->second = message_of(merlon_envoy_fields[number]);
  }
  return place->second;
}

std::optional<std::uint32_t> FieldTable::message_named(std::string_view kind) {
  if (kind.empty()) return std::nullopt;
  const std::string section = std::string(".").append(kind).append(".v3.");
  std::string plain(kind);
  std::erase(plain, '_');
  for (const std::string_view line : merlon_envoy_fields) {
    const std::string_view name = name_of(line);
    const std::size_t at = name.find(section);
    if (at == std::string_view::npos) continue;
    if (ascii::iequals(name.substr(at + section.size()), plain)) return line_of(name);
  }
  return std::nullopt;
}

std::string_view FieldTable::nearest_type(std::string_view type) {
  std::vector<std::string_view> names;
  constexpr std::size_t kDistanceMax = 3;  // of names of fifty letters
  for (const std::string_view line : merlon_envoy_fields) {
    const std::string_view name = name_of(line);
    // Names of other lengths are farther away than that.
    const std::size_t apart =
        name.size() > type.size() ? name.size() - type.size() : type.size() - name.size();
    if (apart <= kDistanceMax) names.push_back(name);
  }
  return nearest(type, names, kDistanceMax);
}

}  // namespace merlon::audit::envoy
