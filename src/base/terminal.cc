#include "base/terminal.h"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace merlon {

bool wants_color(int fd) noexcept {
  const char* refused = std::getenv("NO_COLOR");
  if (refused != nullptr && *refused != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term == nullptr || std::string_view(term) == "dumb") return false;
  return ::isatty(fd) == 1;
}

}  // namespace merlon
