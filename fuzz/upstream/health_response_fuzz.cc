// What a server says of its health by gRPC: one status or none, and only of a message that is
// whole.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "upstream/health_probe.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using merlon::upstream::health_response_status;
  const std::string message(reinterpret_cast<const char*>(bytes), size);
  const int status = health_response_status(message);
  require(status >= -1 && status <= 3);
  // Our own requests are messages of the same form, whose only field means nothing here.
  require(health_response_status(merlon::upstream::health_request("")) == 0);
  if (status < 0) return 0;
  require(health_response_status(message + '\0') == -1);
  require(health_response_status(message.substr(0, message.size() - 1)) == -1);
  return 0;
}
