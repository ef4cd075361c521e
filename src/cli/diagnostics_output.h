#pragma once

#include <string>

#include "base/diagnostics.h"

namespace merlon::cli {

/// The findings as a JSON array of objects with `severity`, `message`, and where known `file`,
/// `line`, `column`, `rule` and `help`.
[[nodiscard]] std::string diagnostics_json(const Diagnostics& diagnostics);

/// Writes to standard output. Throws std::system_error, which `main` tells of.
void print(std::string_view text);

}  // namespace merlon::cli
