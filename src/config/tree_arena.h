#pragma once

#include <memory_resource>

#include "config/tree.h"

namespace merlon::config {

/// Where nodes and their texts lie: freed all at once, with the tree.
struct Tree::Arena {
  std::pmr::monotonic_buffer_resource memory;
};

}  // namespace merlon::config
