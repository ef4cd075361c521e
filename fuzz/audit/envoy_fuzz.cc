#include "one_text.h"

// The Envoy reader and all of its rules over arbitrary text: no crash, no endless work. Files that
// it names are not read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  merlon::audit::audit_one_text(merlon::audit::Kind::kEnvoy, "fuzz.yaml", data, size);
  return 0;
}
