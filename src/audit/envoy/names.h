#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "audit/envoy/message.h"
#include "audit/envoy/model.h"

/// What Envoy would not take: names of fields, of values of enumerations and of types that it does
/// not know, and values that are not of their field's type.
namespace merlon::audit::envoy {

struct Misfit {
  /// What it means for the verdict.
  enum class Weight : std::uint8_t {
    kNewer,   ///< a name that this table lacks: Envoy may know it
    kUnread,  ///< a number that this table has no name for: what it sets is not judged
    kRefused  ///< Envoy refuses the whole
  };
  Mark at;
  std::string what;  ///< a sentence without a full stop
  Weight weight = Weight::kNewer;
};

/// What does not fit below `resource`, in the order of the file; at most 200 entries.
/// Messages of the v2 API, of other vendors and under `!ignore` are not looked into.
[[nodiscard]] std::vector<Misfit> misfits(const Typed& resource, ResourceKind kind);

}  // namespace merlon::audit::envoy
