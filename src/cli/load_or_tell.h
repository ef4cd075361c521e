#pragma once

#include <string>

#include "gateway/load.h"

namespace merlon::cli {

/// The plan of a configuration file, read as a start of the gateway would (a waiver that has run
/// out is no error then). Where it has errors they have been told on standard error, and `plan` is
/// null.
[[nodiscard]] gateway::LoadResult load_or_tell(const std::string& file, io::Broker& broker);

}  // namespace merlon::cli
