#include "audit/envoy/message.h"

#include "audit/envoy/fields.h"
#include "audit/envoy/scalar.h"
#include "base/ascii.h"

namespace merlon::audit::envoy {
namespace {

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

EnumWord Message::word(std::string_view snake, std::string_view type) const {
  const Node* value = field(snake);
  if (value == nullptr) return {};
  const auto number = as_integer(*value);
  const std::string_view name = number ? name_of_value(type, *number) : std::string_view{};
  return {name.empty() ? value->text() : name};
}

std::optional<bool> Message::flag(std::string_view snake) const noexcept {
  const Node* value = field(snake);
  return value == nullptr ? std::nullopt : as_flag(*value);
}

std::optional<std::uint64_t> Message::number(std::string_view snake) const noexcept {
  const Node* value = field(snake);
  return value == nullptr ? std::nullopt : as_unsigned(*value);
}

std::optional<std::int64_t> Message::duration_ms(std::string_view snake) const noexcept {
  const Node* value = field(snake);
  return value == nullptr ? std::nullopt : as_duration_ms(*value);
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

const Node* untyped_config(const Node& holder) noexcept {
  const Node* config = holder.find("config");
  const bool untyped = config != nullptr && config->is_mapping() && holder.find("@type") == nullptr;
  return untyped && holder.find("name") != nullptr ? config : nullptr;
}

std::optional<double> fraction(const Message& percent) {
  if (!percent) return std::nullopt;
  const Message inner = percent.message("default_value");
  const Message& value = inner ? inner : percent;
  const auto numerator = value.number("numerator");
  const EnumWord denominator = value.word("denominator", enums::kDenominator);
  const double parts = denominator == "MILLION" ? 1e6 : denominator == "TEN_THOUSAND" ? 1e4 : 100;
  return static_cast<double>(numerator.value_or(0)) / parts;
}

}  // namespace merlon::audit::envoy
