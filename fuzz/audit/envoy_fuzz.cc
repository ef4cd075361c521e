#include <cstddef>
#include <cstdint>
#include <string>

#include "audit/audit.h"

// The Envoy reader and all of its rules over arbitrary text: no crash, no endless work, and the
// verdict is never clean when something could not be read. Files that it names are not read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  merlon::audit::Options options;
  options.kind = merlon::audit::Kind::kEnvoy;
  options.now = 1'780'272'000;
  const merlon::audit::AuditResult result = merlon::audit::audit_text(
      "fuzz.yaml", std::string(reinterpret_cast<const char*>(data), size), options);
  if (!result.gaps.empty() &&
      merlon::audit::exit_code(result, merlon::audit::Level::kCritical) != 3) {
    __builtin_trap();
  }
  (void)merlon::audit::render_lines(result);
  (void)merlon::audit::unified_diff(result);
  (void)merlon::audit::grade(result);
  return 0;
}
