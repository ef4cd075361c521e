#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"

namespace merlon::config {

/// The key that names other files of the configuration. They are part of the tree before a schema
/// reads it, so that schemas have it by `Object::read_apart`.
inline constexpr std::string_view kIncludeKey = "include";
inline constexpr std::string_view kIncludeDoc =
    "Other configuration files, in or below this directory. Their lists are appended and their "
    "mappings merged; any other key may be given only once.";
inline constexpr std::size_t kIncludedMax = 256;
inline constexpr std::size_t kIncludedNameBytesMax = 255;

[[nodiscard]] inline Type<std::vector<std::string>> include_list() {
  return list_of(text(1, kIncludedNameBytesMax), 0, kIncludedMax);
}

}  // namespace merlon::config
