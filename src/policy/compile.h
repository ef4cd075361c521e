#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "config/schema.h"
#include "io/broker.h"
#include "policy/policy.h"
#include "state/shared_rule.h"

namespace merlon::policy {

using config::Located;

/// What of `shared_state` limits are compiled with.
struct SharedSetup {
  std::uint32_t nodes = 1;
  bool leased = true;
  state::OnFailure on_failure = state::OnFailure::kClosed;
  std::optional<std::size_t> open_waiver{};  ///< of `limit-fail-open`, by index
};

/// What a policy may look at when it is compiled: its route, the waivers, files. The reader stands
/// at the policy's key; errors go to its diagnostics.
struct CompileInput {
  config::Reader& reader;
  io::Broker& broker;
  std::span<const std::string> methods;  ///< of the route, as listed; HEAD comes with GET
  const SharedSetup* shared = nullptr;   ///< null: there is no `shared_state`, or a wrong one
  bool shared_is_wrong = false;          ///< and told of where it stands
};

/// The judges of one route, in the order in which they are asked.
using Judges = std::vector<std::unique_ptr<const Policy>>;

}  // namespace merlon::policy
