#include "base/error.h"

namespace merlon {

// NOLINTNEXTLINE(readability-function-size): a line for each code of the list
std::string_view rule_name(std::uint16_t code) noexcept {
  switch (code) {
#define MERLON_ERROR(number, name, rule) \
  case number:                           \
    return rule;
#include "base/error_codes.def"
#undef MERLON_ERROR
    default:
      return "unknown";
  }
}

}  // namespace merlon
