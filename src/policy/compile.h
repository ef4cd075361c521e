#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "config/schema.h"
#include "io/broker.h"
#include "policy/policy.h"

namespace merlon::policy {

using config::Located;

/// What a policy may look at when it is compiled: its route, the waivers, files. The reader stands
/// at the policy's key; errors go to its diagnostics.
struct CompileInput {
  config::Reader& reader;
  io::Broker& broker;
  std::span<const std::string> methods;  ///< of the route, as listed; HEAD comes with GET
};

/// The judges of one route, in the order in which they are asked.
using Judges = std::vector<std::unique_ptr<const Policy>>;

}  // namespace merlon::policy
