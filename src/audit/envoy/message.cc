#include "audit/envoy/message.h"

#include <charconv>

#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

/// The protocol buffers of other languages than ours keep wrappers as plain values.
std::optional<std::uint64_t> whole_number(std::string_view text) noexcept {
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::string_view without_prefix(std::string_view url) noexcept {
  const std::size_t slash = url.rfind('/');
  return slash == std::string_view::npos ? url : url.substr(slash + 1);
}

}  // namespace

bool is_field(std::string_view key, std::string_view snake) noexcept {
  if (key == snake) return true;
  std::size_t k = 0;
  for (std::size_t s = 0; s < snake.size(); ++s, ++k) {
    if (k >= key.size()) return false;
    if (snake[s] == '_' && s + 1 < snake.size()) {
      ++s;
      if (ascii::lower(key[k]) != snake[s] || (ascii::is_alpha(key[k]) && key[k] == snake[s])) {
        return false;
      }
    } else if (key[k] != snake[s]) {
      return false;
    }
  }
  return k == key.size();
}

const Node* Message::field(std::string_view snake) const noexcept {
  if (node_ == nullptr) return nullptr;
  for (const config::Member& member : node_->members()) {
    if (!member.key.ignored() && is_field(member.key.text(), snake)) {
      return member.value.is_null() ? nullptr : &member.value;
    }
  }
  return nullptr;
}

Message Message::path(std::string_view dotted) const noexcept {
  Message out = *this;
  while (!dotted.empty() && out) {
    const std::size_t dot = dotted.find('.');
    out = out.message(dotted.substr(0, dot));
    dotted = dot == std::string_view::npos ? std::string_view{} : dotted.substr(dot + 1);
  }
  return out;
}

std::span<const Node> Message::list(std::string_view snake) const noexcept {
  const Node* value = field(snake);
  if (value == nullptr) return {};
  // Envoy takes a lone entry for a list of one.
  if (value->is_mapping() || value->is_scalar()) return {value, 1};
  return value->items();
}

std::string_view Message::text(std::string_view snake) const noexcept {
  const Node* value = field(snake);
  return value == nullptr ? std::string_view{} : value->text();
}

std::optional<bool> Message::flag(std::string_view snake) const noexcept {
  const std::string_view value = text(snake);
  if (ascii::iequals(value, "true")) return true;
  if (ascii::iequals(value, "false")) return false;
  return std::nullopt;
}

std::optional<std::uint64_t> Message::number(std::string_view snake) const noexcept {
  return whole_number(text(snake));
}

std::optional<std::int64_t> Message::duration_ms(std::string_view snake) const noexcept {
  std::string_view value = text(snake);
  if (!value.ends_with('s')) return std::nullopt;
  value.remove_suffix(1);
  const std::size_t dot = value.find('.');
  const auto seconds = whole_number(value.substr(0, dot));
  constexpr std::uint64_t kSecondsMax = 315'576'000'000;  // of google.protobuf.Duration
  if (!seconds || *seconds > kSecondsMax) return std::nullopt;
  std::int64_t ms = static_cast<std::int64_t>(*seconds) * 1000;
  if (dot == std::string_view::npos) return ms;
  std::int64_t scale = 100;
  for (const char c : value.substr(dot + 1)) {
    if (!ascii::is_digit(c)) return std::nullopt;
    ms += scale * (c - '0');
    scale /= 10;
  }
  // A millionth of a second is little, but it is not the zero that means "never".
  const bool tiny = ms == 0 && value.find_first_of("123456789") != std::string_view::npos;
  return tiny ? 1 : ms;
}

Mark Message::at(std::string_view snake) const {
  if (node_ == nullptr) return {};
  for (const config::Member& member : node_->members()) {
    if (is_field(member.key.text(), snake)) return member.key.at();
  }
  return node_->at();
}

bool Typed::is(std::string_view name) const noexcept {
  return type == name || (type.size() > name.size() && type.ends_with(name) &&
                          type[type.size() - name.size() - 1] == '.');
}

Typed typed(const Message& any) noexcept {
  Typed out{any, {}};
  if (!any) return out;
  const Node* type = any.node()->find("@type");
  if (type != nullptr) out.type = without_prefix(type->text());
  if (out.is("TypedStruct")) {
    out.type = without_prefix(any.text("type_url"));
    out.config = any.message("value");
  }
  return out;
}

Typed typed_config(const Message& holder) noexcept {
  const Message any = holder.message("typed_config");
  return any ? typed(any) : typed(holder.message("config"));
}

std::optional<double> fraction(const Message& percent) noexcept {
  if (!percent) return std::nullopt;
  const Message inner = percent.message("default_value");
  const Message& value = inner ? inner : percent;
  const auto numerator = value.number("numerator");
  const std::string_view denominator = value.text("denominator");
  const double parts = denominator == "MILLION" ? 1e6 : denominator == "TEN_THOUSAND" ? 1e4 : 100;
  return static_cast<double>(numerator.value_or(0)) / parts;
}

}  // namespace merlon::audit::envoy
