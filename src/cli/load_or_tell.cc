#include "cli/load_or_tell.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/print_error.h"
#include "base/terminal.h"

namespace merlon::cli {

gateway::LoadResult load_or_tell(const std::string& file, io::Broker& broker) {
  gateway::LoadResult loaded =
      gateway::load_plan(file, broker, SystemClock().wall_now(), gateway::kAtStart);
  if (loaded.plan == nullptr) {
    loaded.diagnostics.sort();
    print_error("{}", loaded.diagnostics.render(wants_color(STDERR_FILENO)));
  }
  return loaded;
}

}  // namespace merlon::cli
