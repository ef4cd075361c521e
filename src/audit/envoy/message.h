#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "audit/envoy/enums.h"
#include "base/ascii.h"
#include "config/tree.h"

/// Envoy's configuration is protocol buffers written as YAML or JSON. These are views of a parsed
/// tree that know the rules of that mapping; they live as long as the tree.
namespace merlon::audit::envoy {

using config::Node;

/// True when `key` spells the field `snake`, in snake_case or in lowerCamelCase.
[[nodiscard]] bool is_field(std::string_view key, std::string_view snake) noexcept;

/// The value of an enumeration, by name. Envoy takes it in capitals or not: "strict_dns" is
/// STRICT_DNS.
struct EnumWord {
  std::string_view text;
  [[nodiscard]] bool empty() const noexcept { return text.empty(); }
  friend bool operator==(const EnumWord& word, std::string_view other) noexcept {
    return ascii::iequals(word.text, other);
  }
};

/// One message, or nothing: every question to an absent message has the answer of an empty one.
class Message {
 public:
  Message() = default;
  explicit Message(const Node* node) : node_(node) {}
  explicit Message(const Node& node) : node_(&node) {}

  [[nodiscard]] explicit operator bool() const noexcept { return node_ != nullptr; }
  [[nodiscard]] const Node* node() const noexcept { return node_; }

  /// The value of a field under either spelling; nullptr when absent or null.
  [[nodiscard]] const Node* field(std::string_view snake) const noexcept;
  [[nodiscard]] bool has(std::string_view snake) const noexcept { return field(snake) != nullptr; }
  [[nodiscard]] Message message(std::string_view snake) const noexcept {
    return Message(field(snake));
  }
  /// The message at the end of a dotted path of fields.
  [[nodiscard]] Message path(std::string_view dotted) const noexcept;
  [[nodiscard]] std::span<const Node> list(std::string_view snake) const noexcept;
  [[nodiscard]] std::string_view text(std::string_view snake) const noexcept;
  /// The value of a field of type `type`, one of enums.h. Where the file gives its number it is
  /// the name for that, and stays the number when the table has none.
  [[nodiscard]] EnumWord word(std::string_view snake, std::string_view type) const;
  [[nodiscard]] std::optional<bool> flag(std::string_view snake) const noexcept;
  [[nodiscard]] bool is_true(std::string_view snake) const noexcept {
    return flag(snake).value_or(false);
  }
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view snake) const noexcept;
  /// See scalar.h.
  [[nodiscard]] std::optional<std::int64_t> duration_ms(std::string_view snake) const noexcept;

  /// The place of the message, or of the key of one of its fields when that is there.
  [[nodiscard]] Mark at() const { return node_ == nullptr ? Mark{} : node_->at(); }
  [[nodiscard]] Mark at(std::string_view snake) const;

 private:
  const Node* node_ = nullptr;
};

/// A google.protobuf.Any: what stands beside "@type".
struct Typed {
  Message config;  ///< with TypedStruct already unwrapped
  std::string_view
      type;  ///< "envoy.extensions.filters.http.router.v3.Router"; "" when none is said
  /// True when the type is the one called `name`, whichever its package: "Router".
  [[nodiscard]] bool is(std::string_view name) const noexcept;
};
[[nodiscard]] Typed typed(const Message& any) noexcept;
/// The Any in `typed_config` of `holder`, or the old untyped `config`.
[[nodiscard]] Typed typed_config(const Message& holder) noexcept;

/// The `config` of an extension without its type, as Envoy took it up to 1.17; nullptr when
/// `holder` has none.
[[nodiscard]] const Node* untyped_config(const Node& holder) noexcept;

/// A RuntimeFractionalPercent or FractionalPercent as a fraction from 0 to 1; nullopt when absent.
[[nodiscard]] std::optional<double> fraction(const Message& percent);

}  // namespace merlon::audit::envoy
