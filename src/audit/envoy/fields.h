#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

/// What messages of Envoy's v3 API there are, what their fields are called and hold: names and
/// kinds only, from fields.tsv (scripts/envoy_fields.py makes it). Envoy refuses a field that it
/// does not know; a reader that overlooked a misspelt one would vouch for a setting that is not
/// there.
namespace merlon::audit::envoy {

struct FieldInfo {
  enum class Holds : std::uint8_t {
    kText,
    kFlag,
    kInteger,
    kUnsigned,
    kFloat,
    kDuration,
    kMessage,  ///< or an enum
    kAny,
    kFree
  };
  std::string_view name;  ///< in snake_case
  Holds holds = Holds::kText;
  bool is_map = false;        ///< its values, under any key, are what it holds
  std::uint32_t message = 0;  ///< of kMessage: number of the message or enum
};

struct EnumValue {
  std::string_view name;
  std::int64_t number = 0;
};

struct MessageInfo {
  std::string_view name;  ///< "envoy.config.listener.v3.Listener"
  bool is_enum = false;
  std::vector<FieldInfo> fields;
  std::vector<EnumValue> values;  ///< of an enum

  /// The field that `key` spells, in snake_case or lowerCamelCase; nullptr when there is none.
  [[nodiscard]] const FieldInfo* field(std::string_view key) const noexcept;
};

/// The name for `number` in the enum called `type`; "" when none is known.
[[nodiscard]] std::string_view name_of_value(std::string_view type, std::int64_t number);

/// The table; parts are parsed when they are asked for. For one audit, on one thread.
class FieldTable {
 public:
  [[nodiscard]] std::optional<std::uint32_t> number_of(std::string_view type) const noexcept;
  [[nodiscard]] const MessageInfo& at(std::uint32_t number);
  /// The message that an extension of this kind is configured with: of "tcp_proxy", TcpProxy.
  [[nodiscard]] static std::optional<std::uint32_t> message_named(std::string_view kind);
  /// The type whose name is nearest to a misspelt one; "" when none is near.
  [[nodiscard]] static std::string_view nearest_type(std::string_view type);

 private:
  std::map<std::uint32_t, MessageInfo> parsed_;
};

}  // namespace merlon::audit::envoy
