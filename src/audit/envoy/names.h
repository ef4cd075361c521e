#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "audit/envoy/message.h"
#include "audit/envoy/model.h"

/// Names that Envoy would not know: fields, values of enumerations and types of extensions.
namespace merlon::audit::envoy {

struct UnknownName {
  Mark at;
  std::string what;   ///< a sentence without a full stop
  bool typo = false;  ///< a known name is near: it was meant
};

/// What is wrong with the names below `resource`, in the order of the file; at most 200 entries.
/// Messages of the v2 API, of other vendors and under `!ignore` are not looked into.
[[nodiscard]] std::vector<UnknownName> unknown_names(const Typed& resource, ResourceKind kind);

}  // namespace merlon::audit::envoy
