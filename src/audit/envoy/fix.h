#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "audit/envoy/message.h"
#include "audit/finding.h"

/// Mechanical changes of a YAML file, as whole lines. Empty wherever the file is not written in the
/// usual way, one key a line: a wrong edit is worse than none.
namespace merlon::audit::envoy {

/// Replaces the value of a field whose key and plain value stand on one line of their own.
[[nodiscard]] std::vector<Edit> set_field(const Message& at, std::string_view field,
                                          std::string_view value);
/// Adds "key: value" to a block mapping, above the first of its keys that starts a line.
[[nodiscard]] std::vector<Edit> add_field(const Message& at, std::string_view field,
                                          std::string_view value);
/// Either of them: what the field has, or has not.
[[nodiscard]] std::vector<Edit> write_field(const Message& at, std::string_view field,
                                            std::string_view value);

}  // namespace merlon::audit::envoy
