#include "one_text.h"

// The nginx reader and all of its rules over arbitrary text: no crash, no endless work. Includes
// are not followed.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  merlon::audit::audit_one_text(merlon::audit::Kind::kNginx, "fuzz.conf", data, size);
  return 0;
}
